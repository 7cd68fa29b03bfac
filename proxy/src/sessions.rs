//! What a session's calls share: the tenant of its first attributed call and the labels that later
//! calls need not repeat.
//!
//! A session is known by (virtual key, session id), so one id with two keys is two sessions. The
//! first attribution stays; a call that says otherwise keeps what it says, changes nothing and is
//! counted. Labels are inherited within one tenant only. What is learnt here is told to other
//! proxies by [`crate::directory`] and theirs comes back the same way. Sessions and the bytes they
//! take are bounded; the oldest go first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use farebox_pricing::id::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::attribution::{Labels, METADATA_BYTES_MAX, METADATA_KEYS_MAX};

/// Sessions that a proxy remembers.
pub const SESSIONS_MAX: usize = 100_000;
/// Bytes that their labels may take.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Sessions that wait to be told to other proxies; a further one stays known here alone.
const UNTOLD_MAX: usize = 10_000;

/// Whose session and which.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct SessionKey {
    /// The virtual key; `None`: callers without one.
    pub key_id: Option<Uuid>,
    /// The session's id.
    pub session_id: String,
}

/// Labels that later calls inherit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inherited {
    /// See the event's fields of the same names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// See the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// See the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// See the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// See the event.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
}

/// What is known of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// Its tenant; `None`: no call of it had one yet.
    pub tenant: Option<TenantId>,
    /// What its later calls inherit.
    pub labels: Inherited,
}

/// Every session this proxy knows. One for the process.
#[derive(Default)]
pub struct Sessions(Mutex<Table>);

#[derive(Default)]
struct Table {
    known: HashMap<SessionKey, Session>,
    order: VecDeque<SessionKey>,
    bytes: usize,
    untold: VecDeque<SessionKey>,
}

impl Sessions {
    /// The tenant the session was first seen with.
    #[must_use]
    pub fn tenant(&self, key_id: Option<Uuid>, session_id: &str) -> Option<TenantId> {
        let key = SessionKey {
            key_id,
            session_id: session_id.to_owned(),
        };
        self.table().known.get(&key)?.tenant.clone()
    }

    /// A call of the session: it inherits what it does not say itself, and what it says first is
    /// remembered. Says whether it contradicts the session.
    ///
    /// `is_by_key`: the tenant is the key's own, which other proxies know without being told.
    pub fn join(
        &self,
        key_id: Option<Uuid>,
        tenant: Option<&TenantId>,
        is_by_key: bool,
        labels: &mut Labels,
    ) -> bool {
        let Some(session_id) = labels.session_id.clone() else {
            return false;
        };
        let key = SessionKey { key_id, session_id };
        let mut table = self.table();
        let before = table.known.get(&key);
        if let Some(session) = before
            && session.tenant.is_some()
            && session.tenant.as_ref() != tenant
        {
            return true;
        }
        let mut session = before.cloned().unwrap_or_default();
        let is_new_tenant = session.tenant.as_ref() != tenant;
        session.tenant = tenant.cloned();
        let (is_conflict, is_learnt) = session.labels.share(labels);
        if before.is_none() || is_new_tenant || is_learnt {
            let is_worth_telling = is_learnt || (is_new_tenant && !is_by_key);
            table.put(key, session, is_worth_telling);
        }
        is_conflict
    }

    /// Sessions to tell other proxies of, oldest first, at most so many. They are told once.
    #[must_use]
    pub fn take_untold(&self, count: usize) -> Vec<(SessionKey, Session)> {
        let mut table = self.table();
        let count = count.min(table.untold.len());
        let keys: Vec<SessionKey> = table.untold.drain(..count).collect();
        let told = keys.into_iter().filter_map(|key| {
            let session = table.known.get(&key)?.clone();
            Some((key, session))
        });
        told.collect()
    }

    /// Telling them failed: they are told again.
    pub fn put_back(&self, untold: Vec<(SessionKey, Session)>) {
        let mut table = self.table();
        for (key, _) in untold.into_iter().rev() {
            if table.untold.len() < UNTOLD_MAX {
                table.untold.push_front(key);
            }
        }
    }

    /// What another proxy knows. What is known here already stays.
    pub fn hear(&self, key: SessionKey, theirs: Session) {
        let mut table = self.table();
        let before = table.known.get(&key).cloned();
        let mut session = before.clone().unwrap_or_default();
        if session.tenant.is_none() {
            session.tenant = theirs.tenant;
        } else if session.tenant != theirs.tenant {
            return;
        }
        session.labels.fill_from(&theirs.labels);
        if before.as_ref() != Some(&session) {
            table.put(key, session, false);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn put(&mut self, key: SessionKey, session: Session, is_worth_telling: bool) {
        if is_worth_telling && self.untold.len() < UNTOLD_MAX {
            self.untold.push_back(key.clone());
        }
        self.bytes += session.labels.bytes();
        match self.known.insert(key.clone(), session) {
            Some(before) => self.bytes -= before.labels.bytes(),
            None => self.order.push_back(key),
        }
        while self.order.len() > SESSIONS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(gone) = self.known.remove(&oldest) {
                self.bytes -= gone.labels.bytes();
            }
        }
    }
}

impl Inherited {
    /// Shares with a call: it takes what it does not say, and its new words are kept. Says whether
    /// the customer is another one, and whether anything was learnt.
    fn share(&mut self, call: &mut Labels) -> (bool, bool) {
        let is_conflict = match (&self.customer_id, &call.customer_id) {
            (Some(first), Some(said)) => first != said,
            _ => false,
        };
        let mut is_learnt = false;
        for (ours, said) in [
            (&mut self.customer_id, &mut call.customer_id),
            (&mut self.project, &mut call.project),
            (&mut self.agent, &mut call.agent),
            (&mut self.revision, &mut call.revision),
        ] {
            match (&ours, &said) {
                (None, Some(text)) => {
                    *ours = Some(text.clone());
                    is_learnt = true;
                }
                (Some(text), None) => *said = Some(text.clone()),
                _ => {}
            }
        }
        is_learnt |= add(&mut self.metadata, &call.metadata);
        add(&mut call.metadata, &self.metadata);
        (is_conflict, is_learnt)
    }

    fn fill_from(&mut self, theirs: &Self) {
        for (ours, theirs) in [
            (&mut self.customer_id, &theirs.customer_id),
            (&mut self.project, &theirs.project),
            (&mut self.agent, &theirs.agent),
            (&mut self.revision, &theirs.revision),
        ] {
            if ours.is_none() {
                ours.clone_from(theirs);
            }
        }
        add(&mut self.metadata, &theirs.metadata);
    }

    fn bytes(&self) -> usize {
        let texts = [
            &self.customer_id,
            &self.project,
            &self.agent,
            &self.revision,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        texts + bytes_of(&self.metadata)
    }
}

/// Adds keys that are not there, within the bounds of one call's metadata. Says whether any was.
fn add(to: &mut BTreeMap<String, Value>, from: &BTreeMap<String, Value>) -> bool {
    let mut is_changed = false;
    for (key, value) in from {
        if to.contains_key(key) {
            continue;
        }
        let fits = to.len() < METADATA_KEYS_MAX
            && bytes_of(to) + key.len() + value_bytes(value) <= METADATA_BYTES_MAX;
        if fits {
            to.insert(key.clone(), value.clone());
            is_changed = true;
        }
    }
    is_changed
}

fn bytes_of(metadata: &BTreeMap<String, Value>) -> usize {
    let sizes = metadata
        .iter()
        .map(|(key, value)| key.len() + value_bytes(value));
    sizes.sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Number(number) => number.as_str().len(),
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn labels(session: &str, customer: Option<&str>, metadata: &[(&str, &str)]) -> Labels {
        Labels {
            session_id: Some(session.to_owned()),
            customer_id: customer.map(str::to_owned),
            metadata: metadata
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
                .collect(),
            ..Labels::default()
        }
    }

    #[test]
    fn the_first_attribution_of_a_session_stays() {
        let sessions = Sessions::default();
        let (acme, globex) = (tenant("acme"), tenant("globex"));
        let call = |tenant: &TenantId| {
            sessions.join(None, Some(tenant), false, &mut labels("s", None, &[]))
        };
        assert!(!call(&acme));
        assert!(call(&globex));
        assert!(!call(&acme));
        assert_eq!(sessions.tenant(None, "s"), Some(acme));
        assert_eq!(sessions.tenant(Some(Uuid::nil()), "s"), None);
    }

    #[test]
    fn a_later_call_inherits_what_it_does_not_say() {
        let sessions = Sessions::default();
        let acme = tenant("acme");
        sessions.join(
            None,
            Some(&acme),
            false,
            &mut labels("s", Some("c-1"), &[("env", "prod"), ("team", "a")]),
        );
        let mut second = labels("s", None, &[("team", "b"), ("step", "2")]);
        assert!(!sessions.join(None, Some(&acme), false, &mut second));
        assert_eq!(second.customer_id.as_deref(), Some("c-1"));
        let said: Vec<(&str, &str)> = second
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        assert_eq!(said, [("env", "prod"), ("step", "2"), ("team", "b")]);
        let mut third = labels("s", None, &[]);
        sessions.join(None, Some(&acme), false, &mut third);
        assert_eq!(third.metadata["team"], "a");
        assert_eq!(third.metadata["step"], "2");
        // Another customer is counted and stays its own.
        let mut fourth = labels("s", Some("c-2"), &[]);
        assert!(sessions.join(None, Some(&acme), false, &mut fourth));
        assert_eq!(fourth.customer_id.as_deref(), Some("c-2"));
    }

    #[test]
    fn nothing_is_inherited_from_another_tenants_session() {
        let sessions = Sessions::default();
        sessions.join(
            None,
            Some(&tenant("acme")),
            false,
            &mut labels("s", Some("c-1"), &[("env", "prod")]),
        );
        let mut other = labels("s", None, &[]);
        assert!(sessions.join(None, Some(&tenant("globex")), false, &mut other));
        assert!(other.customer_id.is_none() && other.metadata.is_empty());
        assert!(sessions.join(None, None, false, &mut other));
    }

    #[test]
    fn inherited_metadata_keeps_the_bounds() {
        let sessions = Sessions::default();
        let many: Vec<(String, String)> = (0..16)
            .map(|n| (format!("a{n}"), "x".repeat(240)))
            .collect();
        let many: Vec<(&str, &str)> = many
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        sessions.join(None, None, false, &mut labels("s", None, &many));
        let long = "y".repeat(1_000);
        let mut call = labels("s", None, &[("z", &long)]);
        sessions.join(None, None, false, &mut call);
        assert!(call.metadata.len() <= METADATA_KEYS_MAX);
        assert!(bytes_of(&call.metadata) <= METADATA_BYTES_MAX);
        assert_eq!(call.metadata["z"], long.as_str());
    }

    #[test]
    fn what_one_proxy_learns_another_hears_once() {
        let (here, there) = (Sessions::default(), Sessions::default());
        let acme = tenant("acme");
        here.join(None, Some(&acme), false, &mut labels("s", Some("c-1"), &[]));
        // The key says as much everywhere.
        here.join(
            Some(Uuid::nil()),
            Some(&acme),
            true,
            &mut labels("quiet", None, &[]),
        );
        let told = here.take_untold(10);
        assert_eq!(told.len(), 1);
        assert!(here.take_untold(10).is_empty());
        here.put_back(told);
        for (key, session) in here.take_untold(10) {
            there.hear(key, session);
        }
        assert_eq!(there.tenant(None, "s"), Some(acme.clone()));
        assert!(there.take_untold(10).is_empty());
        let mut call = labels("s", None, &[]);
        there.join(None, Some(&acme), false, &mut call);
        assert_eq!(call.customer_id.as_deref(), Some("c-1"));
        // Whoever was first here stays.
        let key = SessionKey {
            key_id: None,
            session_id: "s".into(),
        };
        there.hear(
            key,
            Session {
                tenant: Some(tenant("globex")),
                ..Session::default()
            },
        );
        assert_eq!(there.tenant(None, "s"), Some(acme));
    }

    #[test]
    fn the_oldest_session_goes_first() {
        let sessions = Sessions::default();
        let acme = tenant("acme");
        for number in 0..=SESSIONS_MAX {
            sessions.join(
                None,
                Some(&acme),
                true,
                &mut labels(&number.to_string(), None, &[]),
            );
        }
        assert_eq!(sessions.tenant(None, "0"), None);
        assert_eq!(sessions.tenant(None, "1"), Some(acme));
    }
}
