//! Who is asking, and what that one may see.
//!
//! The tenant comes from the principal alone, never from a parameter. A route says once, in the
//! route table, which access it asks for; no handler runs before that is granted.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use farebox_pricing::id::TenantId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::api::App;
use crate::config::Secret;
use crate::error::ApiError;
use crate::keys;
use crate::records;
use crate::server::Peer;

/// Argon2 verifications at one time; each holds a blocking thread and a mebibyte.
const VERIFICATIONS_MAX: usize = 4;
/// Verifications waiting for their turn; a further one is told to come back.
const VERIFICATIONS_WAITING_MAX: usize = 64;

/// The scope that lets a key read its tenant's usage.
pub(crate) const SCOPE_READ: &str = "usage:read";
/// The scope that lets a key manage its tenant's keys too.
pub(crate) const SCOPE_ADMIN: &str = "admin";

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: liveness and readiness, which say no more than yes or no.
    Anonymous,
    /// The metrics token, when the listener can be reached from other machines.
    Metrics,
    /// A node's ingest token.
    Ingest,
    /// Reading: the operator, or a tenant's key with `usage:read` or `admin`.
    Read,
    /// Managing one tenant's own things: the operator, or a tenant's key with `admin`.
    Admin,
    /// The operator alone.
    Operator,
}

/// Whoever calls, once known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Holder of the operator token: sees all tenants.
    Operator,
    /// Holder of a virtual key: sees the key's tenant, and of money what a tenant may see.
    Tenant {
        /// The key.
        key_id: Uuid,
        /// Its tenant.
        tenant: TenantId,
        /// Whether it may manage as well as read.
        is_admin: bool,
    },
    /// A proxy that ships events.
    Node {
        /// Its token.
        token_id: Uuid,
        /// The name the token is bound to.
        node: String,
    },
}

impl Principal {
    /// Whether this principal may use a route with that access; the whole matrix.
    fn may(&self, access: Access) -> bool {
        match self {
            Self::Operator => access != Access::Ingest,
            Self::Tenant { is_admin, .. } => match access {
                Access::Anonymous | Access::Read => true,
                Access::Admin => *is_admin,
                Access::Metrics | Access::Ingest | Access::Operator => false,
            },
            Self::Node { .. } => matches!(access, Access::Ingest | Access::Anonymous),
        }
    }

    /// The tenant it is held to; `None` sees all.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Tenant { tenant, .. } => Some(tenant.as_str()),
            Self::Operator | Self::Node { .. } => None,
        }
    }

    /// Whether purchase prices are hidden from it.
    pub(crate) fn is_tenant(&self) -> bool {
        self.tenant().is_some()
    }

    /// The tenant that a request is about: its own for a tenant's key, the asked one for the
    /// operator. A tenant that names another finds nothing, as if the other did not exist.
    pub(crate) fn scope<'a>(&'a self, asked: Option<&'a str>) -> Result<Option<&'a str>, ApiError> {
        match (self.tenant(), asked) {
            (None, asked) => Ok(asked),
            (Some(own), None) => Ok(Some(own)),
            (Some(own), Some(asked)) if own == asked => Ok(Some(own)),
            (Some(_), Some(_)) => Err(ApiError::not_found()),
        }
    }

    /// The name in the audit log.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Operator => "operator".to_owned(),
            Self::Tenant { key_id, .. } => format!("key:{key_id}"),
            Self::Node { token_id, .. } => format!("node:{token_id}"),
        }
    }
}

/// What is needed to know a principal.
pub(crate) struct Credentials {
    admin: Option<[u8; 32]>,
    metrics: Option<[u8; 32]>,
    metrics_are_open: bool,
    verifying: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Credentials {
    /// `metrics_are_open`: the listener is on loopback.
    pub(crate) fn new(
        admin: Option<&Secret>,
        metrics: Option<&Secret>,
        metrics_are_open: bool,
    ) -> Self {
        let digest = |secret: &Secret| keys::digest(secret.expose());
        Self {
            admin: admin.filter(|token| !token.expose().is_empty()).map(digest),
            metrics: metrics
                .filter(|token| !token.expose().is_empty())
                .map(digest),
            metrics_are_open,
            verifying: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
            waiting: Semaphore::new(VERIFICATIONS_WAITING_MAX),
        }
    }
}

/// Compares digests, so that neither length nor content shows in the time taken.
fn is_token(presented: &str, expected: Option<&[u8; 32]>) -> bool {
    let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
    expected.is_some_and(|expected| presented.ct_eq(expected).into())
}

/// Runs before every handler: knows the principal, grants or refuses, and hands it on.
pub(crate) async fn authorize(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    // Taken out first: a body cannot be shared between threads, so no borrow of it may wait.
    let presented = presented(request.headers()).map(str::to_owned);
    let peer = request.extensions().get::<Peer>().copied();
    let mut response = match grant(&app, access, presented.as_deref(), peer).await {
        Ok(principal) => {
            if let Some(principal) = principal {
                request.extensions_mut().insert(principal);
            }
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    };
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

async fn grant(
    app: &App,
    access: Access,
    presented: Option<&str>,
    peer: Option<Peer>,
) -> Result<Option<Principal>, ApiError> {
    if access == Access::Anonymous
        || (access == Access::Metrics && app.credentials.metrics_are_open)
    {
        return Ok(None);
    }
    let presented = presented.ok_or_else(ApiError::unauthenticated)?;
    if access == Access::Metrics && is_token(presented, app.credentials.metrics.as_ref()) {
        return Ok(None);
    }
    let principal = know(app, presented, access, peer).await?;
    if principal.may(access) {
        return Ok(Some(principal));
    }
    Err(ApiError::forbidden(match access {
        Access::Ingest => "events are taken with a node's ingest token only",
        Access::Admin => "the key lacks the scope `admin`",
        _ => "this is for the operator",
    }))
}

/// `Authorization: Bearer`, or `x-farebox-key` for a virtual key.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = text("x-farebox-key") {
        return Some(key.trim()).filter(|key| !key.is_empty());
    }
    let (scheme, token) = text(header::AUTHORIZATION.as_str())?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

async fn know(
    app: &App,
    presented: &str,
    access: Access,
    peer: Option<Peer>,
) -> Result<Principal, ApiError> {
    let known = if presented.starts_with(keys::PREFIX) {
        ("key", tenant_of(app, presented, peer).await)
    } else if is_token(presented, app.credentials.admin.as_ref()) {
        ("operator", Ok(Principal::Operator))
    } else if access == Access::Ingest {
        ("node", node_of(app, presented).await)
    } else {
        ("operator", Err(ApiError::unauthenticated()))
    };
    let (kind, result) = known;
    let outcome = match &result {
        Ok(_) => "known",
        Err(error) if error.status.is_server_error() => "unavailable",
        Err(_) => "refused",
    };
    app.metrics
        .authentications
        .with_label_values(&[kind, outcome])
        .inc();
    result
}

async fn node_of(app: &App, token: &str) -> Result<Principal, ApiError> {
    let client = app.client().await?;
    let found = records::nodes::find_token(&client, &keys::digest(token)).await?;
    let (token_id, node) = found.ok_or_else(ApiError::unauthenticated)?;
    Ok(Principal::Node { token_id, node })
}

async fn tenant_of(app: &App, key: &str, peer: Option<Peer>) -> Result<Principal, ApiError> {
    // A wrong tail costs neither the database nor argon2 anything.
    let secrets = app
        .key_secrets
        .as_ref()
        .ok_or_else(ApiError::unauthenticated)?;
    let prefix = keys::prefix_if_genuine(key, secrets).ok_or_else(ApiError::unauthenticated)?;
    let peer = peer.map(|Peer(address)| address.ip().to_canonical().to_string());
    let row = {
        let client = app.client().await?;
        records::keys::find_for_login(&client, &prefix, peer.as_deref()).await?
    };
    let row = row.ok_or_else(ApiError::unauthenticated)?;
    if !verify(app, key.to_owned(), row.secret_hash).await? || !row.is_usable {
        return Err(ApiError::unauthenticated());
    }
    let is_admin = row.scopes.iter().any(|scope| scope == SCOPE_ADMIN);
    if !is_admin && !row.scopes.iter().any(|scope| scope == SCOPE_READ) {
        return Err(ApiError::forbidden("the key lacks the scope `usage:read`"));
    }
    records::keys::note_use(&app.client().await?, row.key_id).await?;
    let tenant = row.tenant_id.ok_or_else(|| {
        ApiError::forbidden("a key without a tenant reads nothing here; use the operator token")
    })?;
    Ok(Principal::Tenant {
        key_id: row.key_id,
        tenant: TenantId::new(&tenant).map_err(|cause| ApiError::internal(&cause))?,
        is_admin,
    })
}

/// Argon2 on a bounded number of blocking threads, behind a bounded queue.
async fn verify(app: &App, key: String, hash: String) -> Result<bool, ApiError> {
    let busy = || {
        ApiError::unavailable(
            "authentication_busy",
            "too many keys are being verified; try again",
        )
    };
    let _place = app.credentials.waiting.try_acquire().map_err(|_| busy())?;
    let turn = Arc::clone(&app.credentials.verifying)
        .acquire_owned()
        .await
        .map_err(|_| busy())?;
    tokio::task::spawn_blocking(move || {
        let is_genuine = keys::verify(&key, &hash);
        // The turn is over when the work is, also when the caller has gone away meanwhile.
        drop(turn);
        is_genuine
    })
    .await
    .map_err(|cause| ApiError::internal(&cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(is_admin: bool) -> Principal {
        Principal::Tenant {
            key_id: Uuid::nil(),
            tenant: TenantId::new("acme").unwrap(),
            is_admin,
        }
    }

    #[test]
    fn the_matrix_is_what_the_reference_says() {
        use Access::{Admin, Anonymous, Ingest, Metrics, Operator, Read};
        let check = |principal: &Principal, granted: &[Access]| {
            for access in [Anonymous, Metrics, Ingest, Read, Admin, Operator] {
                assert_eq!(
                    principal.may(access),
                    granted.contains(&access),
                    "{principal:?} {access:?}"
                );
            }
        };
        check(
            &Principal::Operator,
            &[Anonymous, Metrics, Read, Admin, Operator],
        );
        check(&tenant(false), &[Anonymous, Read]);
        check(&tenant(true), &[Anonymous, Read, Admin]);
        let node = Principal::Node {
            token_id: Uuid::nil(),
            node: "a".into(),
        };
        check(&node, &[Anonymous, Ingest]);
    }

    #[test]
    fn a_tenant_that_names_another_finds_nothing() {
        let own = tenant(true);
        assert_eq!(own.scope(None).unwrap(), Some("acme"));
        assert_eq!(own.scope(Some("acme")).unwrap(), Some("acme"));
        assert_eq!(own.scope(Some("globex")).unwrap_err().status, 404);
        assert_eq!(
            Principal::Operator.scope(Some("globex")).unwrap(),
            Some("globex")
        );
        assert_eq!(Principal::Operator.scope(None).unwrap(), None);
    }

    #[test]
    fn an_empty_operator_token_opens_nothing() {
        let credentials = Credentials::new(Some(&Secret::new("")), None, true);
        assert!(!is_token("", credentials.admin.as_ref()));
        let credentials = Credentials::new(Some(&Secret::new("t")), None, true);
        assert!(is_token("t", credentials.admin.as_ref()));
        assert!(!is_token("T", credentials.admin.as_ref()));
    }

    #[test]
    fn credentials_are_found_where_they_may_stand() {
        let check = |name: &'static str, value: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(presented(&headers), expected, "{name}: {value}");
        };
        check("authorization", "Bearer abc", Some("abc"));
        check("authorization", "bearer  abc", Some("abc"));
        check("authorization", "Basic abc", None);
        check("authorization", "Bearer ", None);
        check("x-farebox-key", "vk_1", Some("vk_1"));
    }
}
