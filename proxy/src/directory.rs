//! Tenants, virtual keys and limits in memory, kept current in the background.
//!
//! Requests read and never wait: every answer is a look-up under a read lock that no one holds
//! across I/O, and what a worker was told it may keep while [`Directory::generation`] stays the same
//! (`request/view.rs`). [`follow`] keeps the content current from Postgres, [`copy`] keeps the last good
//! one on disk, so that a proxy starts and serves while Postgres is down.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farebox_pricing::id::TenantId;
use farebox_pricing::rate_card::CardSet;
// Who may look up what is not in them does not choose what is: nobody can fill them with names that collide.
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::failure::Code;

mod cards;
pub mod copy;
mod credential;
mod exchange;
pub mod follow;
mod journal;
pub mod leases;
mod limits;
mod models;
mod network;
mod read;
mod rows;

pub use credential::{CredentialRow, Unusable};
pub use exchange::Exchange;
pub use limits::{Basis, Counted, Dimension, Fail, Limit, LimitAction, Scope, Subject, WindowKind};
pub(crate) use models::ModelRule;
pub use network::Network;
pub use rows::{
    KeyRow, MayAttribute, Remembered, RevokeStreams, SecretHash, Tenant, TenantLists,
    TenantSettings, TenantStatus, TimeZones, UnpricedModels, is_tool_listed,
};

/// Everything the directory holds, by value: one load, one copy on disk.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Every tenant.
    pub tenants: Vec<Tenant>,
    /// Every key.
    pub keys: Vec<KeyRow>,
    /// Every limit.
    pub limits: Vec<Limit>,
    /// Every provider credential, sealed.
    pub credentials: Vec<CredentialRow>,
    /// The rate cards and selling rules in force; `None`: those that are there stay.
    pub cards: Option<CardSet>,
}

/// Everything the directory holds, shared with it.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Every tenant.
    pub tenants: Vec<Arc<Tenant>>,
    /// Every key.
    pub keys: Vec<Arc<KeyRow>>,
    /// Every limit.
    pub limits: Vec<Arc<Limit>>,
    /// Every provider credential, sealed.
    pub credentials: Vec<Arc<CredentialRow>>,
    /// The rate cards and selling rules in force.
    pub cards: Option<CardSet>,
}

/// One entity as it is now; `None` behind an id: it is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A tenant.
    Tenant(TenantId, Option<Tenant>),
    /// A virtual key.
    Key(Uuid, Option<KeyRow>),
    /// A limit.
    Limit(Uuid, Option<Limit>),
    /// A provider credential.
    Credential(Uuid, Option<CredentialRow>),
}

#[derive(Default)]
struct State {
    tenants: HashMap<TenantId, Arc<Tenant>, RandomState>,
    keys: HashMap<Uuid, Arc<KeyRow>>,
    prefixes: HashMap<String, Arc<KeyRow>, RandomState>,
    limits: HashMap<Uuid, Arc<Limit>>,
    /// Limits of each tenant that has any, with those of everybody.
    limits_of: HashMap<TenantId, Arc<[Arc<Limit>]>, RandomState>,
    /// Limits of everybody alone.
    limits_of_all: Arc<[Arc<Limit>]>,
    credentials: credential::Credentials,
}

/// The directory. One for the process; every worker reads it.
pub struct Directory {
    state: RwLock<State>,
    cards: RwLock<CardSet>,
    is_loaded: AtomicBool,
    /// Unix milliseconds at which the content was last known to be current; 0: never.
    current_at: AtomicI64,
    generation: AtomicU64,
    revocations: watch::Sender<u64>,
    exchange: Exchange,
    has_limits: watch::Sender<bool>,
    unsaved: journal::Unsaved,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// An empty directory that is not loaded.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: RwLock::default(),
            cards: RwLock::new(CardSet::built_in().clone()),
            is_loaded: AtomicBool::new(false),
            current_at: AtomicI64::new(0),
            generation: AtomicU64::new(0),
            revocations: watch::Sender::new(0),
            exchange: Exchange::default(),
            has_limits: watch::Sender::new(false),
            unsaved: journal::Unsaved::default(),
        }
    }

    /// The tenant, when the directory knows it.
    #[must_use]
    pub fn tenant(&self, tenant: &str) -> Option<Arc<Tenant>> {
        self.read().tenants.get(tenant).cloned()
    }

    /// The virtual key with this prefix.
    #[must_use]
    pub fn key_by_prefix(&self, prefix: &str) -> Option<Arc<KeyRow>> {
        self.read().prefixes.get(prefix).cloned()
    }

    /// The virtual key with this identity.
    #[must_use]
    pub fn key(&self, key_id: Uuid) -> Option<Arc<KeyRow>> {
        self.read().keys.get(&key_id).cloned()
    }

    /// The limit with this identity.
    #[must_use]
    pub fn limit(&self, limit_id: Uuid) -> Option<Arc<Limit>> {
        self.read().limits.get(&limit_id).cloned()
    }

    /// Returns once the limits are known, whether or not anything is served by them yet.
    pub async fn limits_known(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .has_limits
            .subscribe()
            .wait_for(|is_known| *is_known)
            .await;
    }

    /// Makes limits known ahead of the rest of the first load.
    fn learn_limits(&self, limits: &[Limit]) {
        if !self.is_loaded() {
            let mut state = self.write();
            for limit in limits {
                let limit = Arc::new(limit.clone());
                state.limits.insert(limit.limit_id, limit);
            }
        }
        self.has_limits.send_replace(true);
    }

    /// Whether there is any limit.
    #[must_use]
    pub fn has_any_limit(&self) -> bool {
        !self.read().limits.is_empty()
    }

    /// The limits that a call of this tenant meets, those of the whole deployment among them, the
    /// shortest window first.
    #[must_use]
    pub fn limits_of(&self, tenant: Option<&str>) -> Arc<[Arc<Limit>]> {
        let state = self.read();
        let own = tenant.and_then(|tenant| state.limits_of.get(tenant));
        Arc::clone(own.unwrap_or(&state.limits_of_all))
    }

    /// The provider credential of the vault for a call: the tenant's own, else the operator's.
    #[must_use]
    pub fn credential(&self, upstream: &str, tenant: Option<&str>) -> Option<Arc<CredentialRow>> {
        self.read().credentials.find(upstream, tenant).cloned()
    }

    /// What is exchanged with other proxies and the operator.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Whether there is any content, of whatever age.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// How long ago the content was last known to be current; `None`: nothing was loaded yet.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let current_at = self.current_at.load(Ordering::Relaxed);
        let millis = unix_millis().saturating_sub(current_at).max(0);
        (current_at > 0).then(|| Duration::from_millis(millis.unsigned_abs()))
    }

    /// Goes up with every change of the content.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Wakes whenever a key was revoked or a tenant stopped; ask [`Self::cut_for`] then.
    #[must_use]
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.revocations.subscribe()
    }

    /// Whether a running stream of this key and tenant has to end, and why. A key that is gone is
    /// a revoked one; a key with `revoke_streams = finish` lets its streams finish either way.
    #[must_use]
    pub fn cut_for(&self, key_id: Option<Uuid>, tenant: Option<&str>) -> Option<Code> {
        let state = self.read();
        if let Some(key_id) = key_id {
            let Some(key) = state.keys.get(&key_id) else {
                return Some(Code::RevokedKey);
            };
            if key.revoke_streams == RevokeStreams::Finish {
                return None;
            }
            if key.revoked_at.is_some() {
                return Some(Code::RevokedKey);
            }
        }
        let tenant = state.tenants.get(tenant?)?;
        (tenant.is_cut()).then_some(Code::TenantSuspended)
    }

    /// Everything, for the copy on disk; shared, so that a large directory is not there twice.
    #[must_use]
    pub fn held(&self) -> Held {
        let state = self.read();
        Held {
            tenants: state.tenants.values().cloned().collect(),
            keys: state.keys.values().cloned().collect(),
            limits: state.limits.values().cloned().collect(),
            credentials: state.credentials.rows().cloned().collect(),
            cards: Some(self.cards()),
        }
    }

    /// Replaces the content. What was verified of an unchanged key stays verified.
    pub fn replace(&self, content: Content, current_at_millis: i64) {
        let mut next = State::default();
        {
            let state = self.read();
            for tenant in content.tenants {
                next.tenants
                    .insert(tenant.tenant_id.clone(), Arc::new(tenant));
            }
            for key in content.keys {
                next.put_key(state.keys.get(&key.key_id), key);
            }
            for limit in content.limits {
                let limit = kept(state.limits.get(&limit.limit_id), limit);
                next.limits.insert(limit.limit_id, limit);
            }
        }
        for credential in content.credentials {
            next.credentials.put(credential);
        }
        next.index_limits();
        *self.write() = next;
        self.unsaved.note_whole();
        if let Some(cards) = content.cards {
            self.put_cards(cards);
        }
        self.is_loaded.store(true, Ordering::Release);
        self.mark_current(current_at_millis);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.revocations.send_modify(|count| *count += 1);
        self.has_limits.send_replace(true);
    }

    /// Applies changes of single entities; only what they touch is built anew.
    pub fn apply(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.unsaved.note(&changes);
        let mut limits_changed = false;
        let mut somebody_stopped = false;
        {
            let mut state = self.write();
            for change in changes {
                match change {
                    Change::Tenant(tenant_id, Some(tenant)) => {
                        somebody_stopped |= !tenant.is_active();
                        state.tenants.insert(tenant_id, Arc::new(tenant));
                    }
                    Change::Tenant(tenant_id, None) => {
                        state.tenants.remove(&tenant_id);
                    }
                    Change::Key(key_id, row) => {
                        let before = state.remove_key(key_id);
                        somebody_stopped |= row.as_ref().is_none_or(|row| row.revoked_at.is_some());
                        if let Some(row) = row {
                            state.put_key(before.as_ref(), row);
                        }
                    }
                    Change::Limit(limit_id, Some(limit)) => {
                        limits_changed = true;
                        let limit = kept(state.limits.get(&limit_id), limit);
                        state.limits.insert(limit_id, limit);
                    }
                    Change::Limit(limit_id, None) => {
                        limits_changed = true;
                        state.limits.remove(&limit_id);
                    }
                    Change::Credential(_, Some(credential)) => state.credentials.put(credential),
                    Change::Credential(credential_id, None) => {
                        state.credentials.remove(credential_id);
                    }
                }
            }
            if limits_changed {
                state.index_limits();
            }
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        if somebody_stopped {
            self.revocations.send_modify(|count| *count += 1);
        }
    }

    /// Says that the content was current at this instant.
    pub fn mark_current(&self, at_millis: i64) {
        self.current_at.store(at_millis, Ordering::Relaxed);
    }

    /// When the content was last known to be current, in Unix milliseconds.
    #[must_use]
    pub fn current_at_millis(&self) -> i64 {
        self.current_at.load(Ordering::Relaxed)
    }

    // A panic while the lock was held can only have come from an allocation; the maps are whole.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put_key(&mut self, before: Option<&Arc<KeyRow>>, mut key: KeyRow) {
        if let Some(before) = before
            && before.secret_hash == key.secret_hash
            && before.prefix == key.prefix
        {
            key.remembered = before.remembered.clone();
        }
        let key = Arc::new(key);
        self.prefixes.insert(key.prefix.clone(), Arc::clone(&key));
        self.keys.insert(key.key_id, key);
    }

    fn remove_key(&mut self, key_id: Uuid) -> Option<Arc<KeyRow>> {
        let key = self.keys.remove(&key_id)?;
        // A prefix freed by one key may already be another's.
        if self
            .prefixes
            .get(&key.prefix)
            .is_some_and(|row| row.key_id == key_id)
        {
            self.prefixes.remove(&key.prefix);
        }
        Some(key)
    }

    fn index_limits(&mut self) {
        let mut all = Vec::new();
        let mut own: HashMap<TenantId, Vec<Arc<Limit>>> = HashMap::new();
        for limit in self.limits.values() {
            match &limit.tenant_id {
                Some(tenant) => own
                    .entry(tenant.clone())
                    .or_default()
                    .push(Arc::clone(limit)),
                None => all.push(Arc::clone(limit)),
            }
        }
        let sorted = |mut limits: Vec<Arc<Limit>>| -> Arc<[Arc<Limit>]> {
            limits.sort_by_key(|limit| (limit.window, limit.limit_id));
            limits.into()
        };
        self.limits_of = own
            .into_iter()
            .map(|(tenant, mut limits)| {
                limits.extend(all.iter().cloned());
                (tenant, sorted(limits))
            })
            .collect();
        self.limits_of_all = sorted(all);
    }
}

/// The limit as it stood when nothing about it changed, so that its counting goes on.
fn kept(before: Option<&Arc<Limit>>, limit: Limit) -> Arc<Limit> {
    match before {
        Some(before) if **before == limit => Arc::clone(before),
        _ => Arc::new(limit),
    }
}

/// The wall clock in Unix milliseconds.
pub(crate) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
pub(crate) mod tests;
