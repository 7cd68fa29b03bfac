//! Which tenants and models have series of their own. The first come, up to the caps; a name once
//! let in stays, so that no counter ever falls.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use crate::config::MetricsConfig;

/// The name of all that came after the cap.
const OTHER: &str = "other";

/// The names that were let in.
pub(super) struct Names {
    tenants: Capped,
    models: Capped,
}

impl Names {
    pub(super) fn new(config: &MetricsConfig) -> Self {
        Self {
            tenants: Capped::new(config.max_tenants),
            models: Capped::new(config.max_models),
        }
    }

    /// The tenant's own name, or `other`.
    pub(super) fn tenant<'a>(&self, name: &'a str) -> &'a str {
        // Calls of nobody are not a tenant and take no tenant's place.
        if name == super::UNATTRIBUTED {
            return name;
        }
        self.tenants.admit(name)
    }

    /// The model's own name, or `other`.
    pub(super) fn model<'a>(&self, name: &'a str) -> &'a str {
        self.models.admit(name)
    }
}

struct Capped {
    names: RwLock<HashSet<String>>,
    max: usize,
}

impl Capped {
    fn new(max: usize) -> Self {
        Self {
            names: RwLock::default(),
            max,
        }
    }

    fn admit<'a>(&self, name: &'a str) -> &'a str {
        {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            if names.contains(name) {
                return name;
            }
            if names.len() >= self.max {
                return OTHER;
            }
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return name;
        }
        if names.len() >= self.max {
            return OTHER;
        }
        names.insert(name.to_owned());
        name
    }
}
