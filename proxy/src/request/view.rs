//! What the directory says of keys and tenants, as one worker heard it last.
//!
//! Every call asks it nearly the same. A lock that all workers take and references that all of them count go from
//! one processor to the other each time, so a worker keeps what it heard until anything in the directory changes,
//! and counts references of its own.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use farebox_pricing::id::TenantId;
use farebox_pricing::rate_card::CardSet;
use foldhash::quality::RandomState;

use super::credential::Chosen;
use crate::admission::Admission;
use crate::directory::{Directory, KeyRow, Limit, Tenant, TenantSettings};

/// Keys that a worker keeps, and tenants, of those asked for lately; as many again of those asked for before.
const KEPT_MAX: usize = 4_096;

/// A worker's view of the directory.
pub(crate) struct View {
    directory: Arc<Directory>,
    admission: Arc<Admission>,
    heard: Mutex<Heard>,
}

/// What was heard while the directory stood as it was.
#[derive(Default)]
struct Heard {
    generation: u64,
    keys: Lately<Box<str>, KeyView>,
    tenants: Lately<TenantId, TenantView>,
    /// For calls without a tenant.
    nobody: Option<Arc<TenantView>>,
}

/// What was asked for lately. One that is full becomes the one before, and what nobody asks for again goes with it.
struct Lately<K, V> {
    new: HashMap<K, Arc<V>, RandomState>,
    old: HashMap<K, Arc<V>, RandomState>,
}

/// A virtual key.
pub(crate) struct KeyView {
    row: Arc<KeyRow>,
    /// The tenant it belongs to.
    pub(super) own: Option<Arc<TenantView>>,
}

/// A tenant, or the absence of one, and what holds for its calls.
pub(crate) struct TenantView {
    generation: u64,
    /// `None`: of calls that have none.
    pub(super) tenant_id: Option<TenantId>,
    /// `None` where the directory does not know it.
    pub(super) row: Option<Arc<Tenant>>,
    /// The limits that may bind its calls; `None`: there are none.
    pub(super) limits: Option<Arc<[Arc<Limit>]>>,
    /// Rate cards and selling rules in force.
    pub(crate) cards: CardSet,
    /// By the upstream's place in the pools. At most as many as there are upstreams.
    credentials: Mutex<Vec<(usize, Arc<Chosen>)>>,
}

impl View {
    /// Nothing was heard yet.
    pub(crate) fn new(directory: Arc<Directory>, admission: Arc<Admission>) -> Self {
        Self {
            directory,
            admission,
            heard: Mutex::default(),
        }
    }

    /// The virtual key with this prefix.
    pub(super) fn key(&self, prefix: &str) -> Option<Arc<KeyView>> {
        self.with(|heard| self.key_in(heard, prefix))
    }

    /// The virtual key of a row that the directory has given. It may have changed since, so the row itself is
    /// not kept.
    pub(super) fn key_of_row(&self, row: Arc<KeyRow>) -> Arc<KeyView> {
        self.with(|heard| match self.key_in(heard, &row.prefix) {
            Some(key) if Arc::ptr_eq(&key.row, &row) => key,
            _ => self.made(heard, row),
        })
    }

    /// The tenant of this name; `None`: of calls that have none.
    pub(super) fn tenant(&self, tenant: Option<&TenantId>) -> Arc<TenantView> {
        self.with(|heard| self.tenant_in(heard, tenant))
    }

    /// What holds for a tenant's calls by now.
    pub(super) fn present(&self, view: &Arc<TenantView>) -> Arc<TenantView> {
        match view.generation == self.directory.generation() {
            true => Arc::clone(view),
            false => self.tenant(view.tenant_id.as_ref()),
        }
    }

    /// Lets go of what no longer holds; a worker without calls would keep it.
    pub(crate) fn refresh(&self) {
        self.with(|_| ());
    }

    /// Works on what was heard, unless the directory has changed since: then on nothing.
    fn with<T>(&self, work: impl FnOnce(&mut Heard) -> T) -> T {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked for before the directory is: what comes of it is of this generation or a later one.
        let generation = self.directory.generation();
        if heard.generation != generation {
            *heard = Heard {
                generation,
                ..Heard::default()
            };
        }
        work(&mut heard)
    }

    fn key_in(&self, heard: &mut Heard, prefix: &str) -> Option<Arc<KeyView>> {
        if let Some(key) = heard.keys.find(prefix) {
            return Some(key);
        }
        let row = self.directory.key_by_prefix(prefix)?;
        let key = self.made(heard, row);
        heard.keys.keep(prefix.into(), Arc::clone(&key));
        Some(key)
    }

    fn made(&self, heard: &mut Heard, row: Arc<KeyRow>) -> Arc<KeyView> {
        let tenant = row.tenant_id.as_ref();
        Arc::new(KeyView {
            own: tenant.map(|tenant| self.tenant_in(heard, Some(tenant))),
            row,
        })
    }

    fn tenant_in(&self, heard: &mut Heard, tenant: Option<&TenantId>) -> Arc<TenantView> {
        let known = match tenant {
            Some(tenant) => heard.tenants.find(tenant),
            None => heard.nobody.clone(),
        };
        if let Some(known) = known {
            return known;
        }
        let name = tenant.map(TenantId::as_str);
        let view = Arc::new(TenantView {
            generation: heard.generation,
            tenant_id: tenant.map(TenantId::apart),
            row: name.and_then(|name| self.directory.tenant(name)),
            limits: self.admission.limits_of(name),
            cards: self.directory.cards(),
            credentials: Mutex::default(),
        });
        match tenant {
            Some(tenant) => {
                heard.tenants.keep(tenant.clone(), Arc::clone(&view));
            }
            None => heard.nobody = Some(Arc::clone(&view)),
        }
        view
    }
}

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self {
            new: HashMap::default(),
            old: HashMap::default(),
        }
    }
}

impl<K: Eq + Hash, V> Lately<K, V> {
    fn find<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        if let Some(found) = self.new.get(key) {
            return Some(Arc::clone(found));
        }
        let (key, found) = self.old.remove_entry(key)?;
        self.keep(key, Arc::clone(&found));
        Some(found)
    }

    fn keep(&mut self, key: K, value: Arc<V>) {
        if self.new.len() >= KEPT_MAX {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, value);
    }
}

impl KeyView {
    /// The row of the directory.
    pub(super) fn row(&self) -> &KeyRow {
        &self.row
    }
}

impl Deref for KeyView {
    type Target = KeyRow;

    fn deref(&self) -> &KeyRow {
        &self.row
    }
}

impl TenantView {
    /// The tenant's choices; the defaults where the directory does not know it.
    pub(super) fn settings(&self) -> TenantSettings {
        let row = self.row.as_ref();
        row.map(|row| *row.settings()).unwrap_or_default()
    }

    /// The credential for the upstream at this place, as it was chosen before. A refusal is not kept.
    pub(super) fn credential<E>(
        &self,
        upstream: usize,
        choose: impl FnOnce() -> Result<Chosen, E>,
    ) -> Result<Arc<Chosen>, E> {
        let mut known = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, chosen)) = known.iter().find(|(place, _)| *place == upstream) {
            return Ok(Arc::clone(chosen));
        }
        let chosen = Arc::new(choose()?);
        known.push((upstream, Arc::clone(&chosen)));
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use farebox_pricing::event::PaidBy;
    use uuid::Uuid;

    use super::*;
    use crate::config::{Limits, Secret};
    use crate::directory::tests::{key_row, limit};
    use crate::directory::{Change, Content, TenantStatus, WindowKind};

    const PREFIX: &str = "vk_ABCDE";

    fn view() -> (Arc<Directory>, View) {
        let directory = Arc::new(Directory::new());
        let admission = Admission::new(Limits::On, Arc::clone(&directory));
        let view = View::new(Arc::clone(&directory), Arc::new(admission));
        (directory, view)
    }

    fn tenant(status: TenantStatus) -> Change {
        let id = TenantId::new("acme").unwrap();
        let tenant = Tenant::new(id.clone(), status, serde_json::json!({}));
        Change::Tenant(id, Some(tenant))
    }

    #[test]
    fn what_is_kept_is_kept_until_the_directory_changes() {
        let (directory, view) = view();
        assert!(view.key(PREFIX).is_none());
        let row = key_row(PREFIX, "hash");
        directory.apply(vec![Change::Key(row.key_id, Some(row.clone()))]);
        let key = view.key(PREFIX).unwrap();
        let own = key.own.as_ref().unwrap();
        assert!(own.row.is_none() && own.limits.is_none());
        assert!(Arc::ptr_eq(&key, &view.key(PREFIX).unwrap()));
        let listed = directory.key_by_prefix(PREFIX).unwrap();
        assert!(Arc::ptr_eq(&key, &view.key_of_row(listed)));
        assert!(Arc::ptr_eq(own, &view.tenant(row.tenant_id.as_ref())));

        directory.apply(vec![tenant(TenantStatus::Active)]);
        let known = view.tenant(row.tenant_id.as_ref());
        assert!(known.row.as_ref().is_some_and(|row| row.is_active()));
        directory.apply(vec![tenant(TenantStatus::Suspended)]);
        let key = view.key(PREFIX).unwrap();
        let own = key.own.as_ref().and_then(|own| own.row.as_ref());
        assert!(own.is_some_and(|row| !row.is_active()));
        // A call that runs keeps what held when it began.
        assert!(known.row.as_ref().is_some_and(|row| row.is_active()));

        let limit = limit(1, Some("acme"), 5, WindowKind::Minute);
        directory.apply(vec![Change::Limit(limit.limit_id, Some(limit))]);
        let limits = view.tenant(row.tenant_id.as_ref());
        assert_eq!(limits.limits.as_ref().map(|limits| limits.len()), Some(1));
        assert!(view.tenant(None).limits.is_none());

        directory.apply(vec![Change::Key(row.key_id, None)]);
        assert!(view.key(PREFIX).is_none());
        directory.replace(Content::default(), 1);
        assert!(view.tenant(row.tenant_id.as_ref()).row.is_none());
    }

    #[test]
    fn a_row_that_the_directory_gave_before_a_change_is_not_taken_for_the_present_one() {
        let (directory, view) = view();
        let row = key_row(PREFIX, "hash");
        directory.apply(vec![Change::Key(row.key_id, Some(row.clone()))]);
        let before = directory.key_by_prefix(PREFIX).unwrap();
        let other = KeyRow {
            key_id: Uuid::from_u128(8),
            ..row.clone()
        };
        directory.apply(vec![Change::Key(row.key_id, None)]);
        directory.apply(vec![Change::Key(other.key_id, Some(other.clone()))]);
        assert_eq!(view.key_of_row(before).key_id, row.key_id);
        assert_eq!(view.key(PREFIX).unwrap().key_id, other.key_id);
    }

    #[test]
    fn a_credential_is_chosen_once_and_a_refusal_each_time() {
        let (_, view) = view();
        let tenant = view.tenant(None);
        let choose = |secret: &str| Chosen {
            secret: Secret::new(secret.to_owned()),
            credential_id: "openai".to_owned(),
            paid_by: PaidBy::Operator,
        };
        let secret = |chosen: Result<Arc<Chosen>, ()>| {
            chosen.map(|chosen| chosen.secret.expose().to_owned())
        };
        assert!(tenant.credential(3, || Err(())).is_err());
        let first = tenant.credential::<()>(3, || Ok(choose("three")));
        assert_eq!(secret(first), Ok("three".to_owned()));
        assert_eq!(
            secret(tenant.credential(3, || Err(()))),
            Ok("three".to_owned())
        );
        assert!(tenant.credential(4, || Err(())).is_err());
    }

    #[test]
    fn names_without_end_are_not_all_kept_and_those_in_use_are() {
        let (_, view) = view();
        let in_use = TenantId::new("acme").unwrap();
        let kept = view.tenant(Some(&in_use));
        for number in 0..3 * KEPT_MAX {
            let name = TenantId::new(&format!("t{number}")).unwrap();
            assert!(view.tenant(Some(&name)).row.is_none());
            if number % (KEPT_MAX / 2) == 0 {
                assert!(Arc::ptr_eq(&kept, &view.tenant(Some(&in_use))));
            }
            let halves =
                view.with(|heard| [&heard.tenants.new, &heard.tenants.old].map(HashMap::len));
            assert!(halves.into_iter().all(|half| half <= KEPT_MAX));
        }
    }

    #[test]
    fn what_no_longer_holds_is_let_go_without_a_call() {
        let (directory, view) = view();
        let row = key_row(PREFIX, "hash");
        directory.apply(vec![Change::Key(row.key_id, Some(row.clone()))]);
        let key = Arc::downgrade(&view.key(PREFIX).unwrap());
        view.refresh();
        assert!(key.upgrade().is_some());
        let before = view.tenant(row.tenant_id.as_ref());
        assert!(Arc::ptr_eq(&before, &view.present(&before)));
        directory.apply(vec![tenant(TenantStatus::Active)]);
        view.refresh();
        assert!(key.upgrade().is_none());
        assert!(view.present(&before).row.is_some());
    }
}
