//! Agents of tenants that may have only so many. An agent is its tenant's: both names together, each
//! for itself, tell it from every other.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError, RwLock};

/// Agents kept at most, of all tenants together; past it new ones of limited tenants are refused.
pub const AGENTS_MAX: usize = 1_000_000;

/// Those that are known.
#[derive(Debug, Default)]
pub struct Agents {
    known: RwLock<Known>,
    new: Mutex<Vec<(String, String)>>,
}

#[derive(Debug, Default)]
struct Known {
    of: HashMap<String, HashSet<String>>,
    count: usize,
}

impl Known {
    fn insert(&mut self, tenant: &str, agent: &str) -> bool {
        let own = self.of.entry(tenant.to_owned()).or_default();
        let is_new = own.insert(agent.to_owned());
        self.count += usize::from(is_new);
        is_new
    }
}

impl Agents {
    /// Whether a tenant may call as this agent: it is one of its own, or there is room for one more.
    #[must_use]
    pub fn admit(&self, tenant: &str, agent: &str, max: u64) -> bool {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let own = known.of.get(tenant);
            if own.is_some_and(|own| own.contains(agent)) {
                return true;
            }
            if own.map_or(0, HashSet::len) as u64 >= max {
                return false;
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let own = known.of.get(tenant);
        if own.is_some_and(|own| own.contains(agent)) {
            return true;
        }
        if own.map_or(0, HashSet::len) as u64 >= max || known.count >= AGENTS_MAX {
            return false;
        }
        known.insert(tenant, agent);
        drop(known);
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.push((tenant.to_owned(), agent.to_owned()));
        true
    }

    /// Others' agents, as the store tells them.
    pub(crate) fn learn(&self, agents: Vec<(String, String)>) {
        if agents.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (tenant, agent) in agents {
            if known.count < AGENTS_MAX {
                known.insert(&tenant, &agent);
            }
        }
    }

    /// Those the store has not been told of.
    pub(crate) fn take_new(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn put_back(&self, agents: Vec<(String, String)>) {
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.extend(agents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_the_tenant_may_have_is_refused_and_names_are_never_joined() {
        let agents = Agents::default();
        assert!(agents.admit("a", "b-c", 1));
        assert!(agents.admit("a", "b-c", 1), "it is there already");
        assert!(agents.admit("a-b", "c", 1), "another tenant's");
        assert!(!agents.admit("a", "c", 1));
        assert!(agents.admit("a", "c", 2), "more are allowed now");
        assert_eq!(agents.take_new().len(), 3);
        agents.learn(vec![("z".into(), "1".into())]);
        assert!(agents.admit("z", "1", 0));
        assert!(!agents.admit("z", "2", 1));
    }
}
