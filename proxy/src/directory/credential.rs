//! Provider credentials out of the vault, as the directory holds them: sealed, also in the copy on
//! disk. One opens at its first use, in memory alone, and only for the host it is bound to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use farebox_pricing::id::TenantId;
use farebox_pricing::vault::{Binding, MasterKeys, Sealed};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::Secret;

/// One credential.
#[derive(Clone, Serialize, Deserialize)]
pub struct CredentialRow {
    /// Its id, which stays when its secret is replaced.
    pub credential_id: Uuid,
    /// The tenant whose own it is; `None`: the operator's.
    pub tenant_id: Option<TenantId>,
    /// The configured upstream.
    pub upstream: String,
    /// Where it may be sent.
    pub host: String,
    /// Which master key opens it.
    pub master_key_id: String,
    /// See the vault; hexadecimal.
    pub wrapped_key: String,
    /// See the vault; hexadecimal.
    pub sealed: String,
    /// Of this process alone, never stored.
    #[serde(skip)]
    opened: OnceLock<Option<Secret>>,
}

impl fmt::Debug for CredentialRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CredentialRow({}, {})",
            self.credential_id, self.upstream
        )
    }
}

/// Why a credential cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The upstream has another address than the one it was given for.
    OtherHost,
    /// No master key of ours opens it.
    Sealed,
}

impl CredentialRow {
    /// As the collector's view says it.
    #[must_use]
    pub fn new(
        credential_id: Uuid,
        tenant_id: Option<TenantId>,
        [upstream, host, master_key_id, wrapped_key, sealed]: [&str; 5],
    ) -> Self {
        Self {
            credential_id,
            tenant_id,
            upstream: upstream.to_owned(),
            host: host.to_owned(),
            master_key_id: master_key_id.to_owned(),
            wrapped_key: wrapped_key.to_owned(),
            sealed: sealed.to_owned(),
            opened: OnceLock::new(),
        }
    }

    /// The secret, for a request to that host.
    pub fn open(&self, masters: Option<&MasterKeys>, host: &str) -> Result<&Secret, Unusable> {
        if !self.host.eq_ignore_ascii_case(host) {
            return Err(Unusable::OtherHost);
        }
        let opened = self.opened.get_or_init(|| {
            let binding = Binding {
                credential_id: self.credential_id,
                tenant: self.tenant_id.as_ref().map(TenantId::as_str),
                upstream: &self.upstream,
                host: &self.host,
            };
            let sealed = self.as_sealed();
            let secret = match masters {
                Some(masters) => masters.open(&binding, &sealed).map_err(|error| error.to_string()),
                None => Err("there is no master key here".to_owned()),
            };
            if let Err(error) = &secret {
                tracing::error!(credential = %self.credential_id, upstream = self.upstream, error, "a provider credential cannot be used");
            }
            secret.ok().map(Secret::new)
        });
        opened.as_ref().ok_or(Unusable::Sealed)
    }

    fn as_sealed(&self) -> Sealed {
        Sealed {
            master_key_id: self.master_key_id.clone(),
            // What is no hexadecimal opens as nothing.
            wrapped_key: super::copy::unhex(&self.wrapped_key).unwrap_or_default(),
            sealed: super::copy::unhex(&self.sealed).unwrap_or_default(),
        }
    }
}

/// All credentials, by what they are looked up with.
#[derive(Default)]
pub(super) struct Credentials {
    all: HashMap<Uuid, Arc<CredentialRow>>,
    operators: HashMap<String, Arc<CredentialRow>>,
    tenants: HashMap<String, HashMap<TenantId, Arc<CredentialRow>>>,
}

impl Credentials {
    pub(super) fn put(&mut self, row: CredentialRow) {
        self.remove(row.credential_id);
        let row = Arc::new(row);
        match &row.tenant_id {
            Some(tenant) => {
                let of_upstream = self.tenants.entry(row.upstream.clone()).or_default();
                of_upstream.insert(tenant.clone(), Arc::clone(&row));
            }
            None => {
                self.operators
                    .insert(row.upstream.clone(), Arc::clone(&row));
            }
        }
        self.all.insert(row.credential_id, row);
    }

    pub(super) fn remove(&mut self, credential_id: Uuid) {
        let Some(row) = self.all.remove(&credential_id) else {
            return;
        };
        let is_it = |other: &Arc<CredentialRow>| other.credential_id == credential_id;
        match &row.tenant_id {
            Some(tenant) => {
                if let Some(of_upstream) = self.tenants.get_mut(&row.upstream)
                    && of_upstream.get(tenant).is_some_and(is_it)
                {
                    of_upstream.remove(tenant);
                }
            }
            None if self.operators.get(&row.upstream).is_some_and(is_it) => {
                self.operators.remove(&row.upstream);
            }
            None => {}
        }
    }

    /// The tenant's own for an upstream, else the operator's.
    pub(super) fn find(&self, upstream: &str, tenant: Option<&str>) -> Option<&Arc<CredentialRow>> {
        let own = tenant.and_then(|tenant| self.tenants.get(upstream)?.get(tenant));
        own.or_else(|| self.operators.get(upstream))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Arc<CredentialRow>> {
        self.all.values()
    }
}

#[cfg(test)]
mod tests {
    use farebox_pricing::vault::Randomness;

    use super::*;

    const MASTER: &str = "a master key of some forty characters, new";

    fn row(id: u128, tenant: Option<&str>, upstream: &str) -> CredentialRow {
        let masters = MasterKeys::parse(MASTER).unwrap();
        let random = Randomness {
            data_key: [1; 32],
            wrapping: [2; 12],
            text: [3; 12],
        };
        let binding = Binding {
            credential_id: Uuid::from_u128(id),
            tenant,
            upstream,
            host: "llm.example",
        };
        let sealed = masters.seal(&binding, &format!("sk-{id}"), &random);
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        CredentialRow::new(
            binding.credential_id,
            tenant.map(|tenant| TenantId::new(tenant).unwrap()),
            [
                upstream,
                "llm.example",
                &sealed.master_key_id,
                &hex(&sealed.wrapped_key),
                &hex(&sealed.sealed),
            ],
        )
    }

    #[test]
    fn a_tenants_own_goes_before_the_operators_and_to_nobody_else() {
        let mut held = Credentials::default();
        held.put(row(1, None, "llm"));
        held.put(row(2, Some("acme"), "llm"));
        held.put(row(3, Some("acme"), "other"));
        let found = |held: &Credentials, upstream: &str, tenant: Option<&str>| {
            held.find(upstream, tenant)
                .map(|row| row.credential_id.as_u128())
        };
        assert_eq!(found(&held, "llm", Some("acme")), Some(2));
        assert_eq!(found(&held, "llm", Some("globex")), Some(1));
        assert_eq!(found(&held, "llm", None), Some(1));
        assert_eq!(found(&held, "other", Some("globex")), None);
        held.remove(Uuid::from_u128(2));
        assert_eq!(found(&held, "llm", Some("acme")), Some(1));
        // It came back under another id before the old one was seen to go.
        held.put(row(4, None, "llm"));
        held.remove(Uuid::from_u128(1));
        assert_eq!(found(&held, "llm", None), Some(4));
    }

    #[test]
    fn it_opens_for_its_host_with_its_master_key_and_shows_nothing() {
        let masters = MasterKeys::parse(MASTER).unwrap();
        let others = MasterKeys::parse("another master key of forty characters").unwrap();
        let own = row(1, Some("acme"), "llm");
        assert_eq!(
            own.open(Some(&masters), "evil.example").err(),
            Some(Unusable::OtherHost)
        );
        assert_eq!(
            own.open(Some(&masters), "LLM.example").unwrap().expose(),
            "sk-1"
        );
        assert_eq!(
            row(1, None, "llm").open(Some(&others), "llm.example").err(),
            Some(Unusable::Sealed)
        );
        assert_eq!(
            row(1, None, "llm").open(None, "llm.example").err(),
            Some(Unusable::Sealed)
        );
        let moved = CredentialRow {
            host: "evil.example".into(),
            ..row(1, None, "llm")
        };
        assert_eq!(
            moved.open(Some(&masters), "evil.example").err(),
            Some(Unusable::Sealed)
        );
        let written = serde_json::to_string(&own).unwrap();
        assert!(
            !written.contains("sk-1") && !format!("{own:?}").contains("sk-1"),
            "{written}"
        );
    }
}
