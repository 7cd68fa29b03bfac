//! The HTTP API: one table says every route, the access it asks for, and its handler. The router, the
//! tests and the comparison with the OpenAPI document all go by that table.

mod adjustments;
mod apply;
mod audit;
mod credentials;
mod customers;
mod document;
mod erasures;
mod etag;
mod events;
mod export;
mod health;
mod ingest;
mod ingest_tokens;
mod invoices;
mod keys;
mod limits;
mod nodes;
mod operation;
mod owners;
mod page;
mod params;
mod prices;
mod reconcile;
mod runs;
mod sessions;
mod tenants;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use farebox_pricing::id::Form;
use farebox_pricing::key::KeySecrets;
use farebox_pricing::rate_card::bundle::PublicKey;
use farebox_pricing::vault::MasterKeys;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::cards::Cards;
use crate::config::CollectorConfig;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::principal::{Access, Credentials, authorize};
use crate::store::{Client, Store};
use crate::{Error, records};

pub use document::openapi_json;

/// Bytes of a request body on every route but ingest.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Time between two looks at what only the database can say, for the metrics.
const WATCH_INTERVAL: Duration = Duration::from_secs(15);

/// Connections that remove what is let go, at one time.
const RETENTION_CONNECTIONS: usize = 2;
/// Time between two looks at which rate cards are in force, for records that name none and for quotes.
const CARDS_INTERVAL: Duration = Duration::from_secs(1);

/// What every handler may use. Cheap to clone.
pub(crate) type App = Arc<Shared>;

/// One collector's parts.
pub(crate) struct Shared {
    store: Store,
    retention: Option<Store>,
    pub(crate) metrics: Metrics,
    pub(crate) credentials: Credentials,
    pub(crate) key_secrets: Option<KeySecrets>,
    pub(crate) cards: Cards,
    /// Who may sign prices; where somebody may, unsigned ones are refused.
    pub(crate) price_keys: Vec<PublicKey>,
    pub(crate) master_keys: Option<Arc<MasterKeys>>,
    pub(crate) tenant_form: Form,
    pub(crate) upstream_hosts: BTreeMap<String, String>,
    stale_after_days: Option<u32>,
    read_bound: Duration,
    ingest_slots: Semaphore,
}

impl Shared {
    pub(crate) fn start(config: &CollectorConfig) -> crate::Result<App> {
        let url = config.database_url.as_ref().map_or("", |url| url.expose());
        let url = with_role(url, &config.database_role);
        let store = Store::connect(&url, config.database_connections_max)
            .map_err(|cause| Error::Database(cause.to_string()))?;
        let retention = match config.retention_role.as_str() {
            "" => None,
            role => {
                let url = config.database_url.as_ref().map_or("", |url| url.expose());
                let store = Store::connect(&with_role(url, role), RETENTION_CONNECTIONS)
                    .map_err(|cause| Error::Database(cause.to_string()))?;
                Some(store)
            }
        };
        Ok(Arc::new(Self {
            retention,
            store,
            metrics: Metrics::new().map_err(|cause| Error::Start(cause.to_string()))?,
            credentials: Credentials::new(
                config.admin_token.as_ref(),
                config.metrics_token.as_ref(),
                config.listen.ip().is_loopback(),
            ),
            key_secrets: config.key_secrets.clone(),
            cards: Cards::built_in(),
            price_keys: config.price_keys.clone(),
            master_keys: config.master_keys.clone(),
            tenant_form: config.tenant_form.clone(),
            upstream_hosts: config.upstream_hosts.clone(),
            stale_after_days: config.stale_after_days,
            read_bound: Duration::from_secs(config.read_seconds),
            ingest_slots: Semaphore::new(config.ingest_batches_max),
        }))
    }

    /// The database as the role that may remove, when there is one.
    pub(crate) fn retention(&self) -> Option<&Store> {
        self.retention.as_ref()
    }

    /// The database as the collector's role.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// How long a statement may take that reads the events themselves.
    pub(crate) fn read_bound(&self) -> Duration {
        self.read_bound
    }

    /// A connection, or 503.
    pub(crate) async fn client(&self) -> Result<Client, ApiError> {
        Ok(self.store.client().await?)
    }
}

/// Adds the start-up option by which every connection works as the role, whoever logs in.
fn with_role(url: &str, role: &str) -> String {
    if role.is_empty() || url.contains("options") {
        return url.to_owned();
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return format!("{url} options='-c role={role}'");
    }
    let separator = match url.contains('?') {
        false => "?",
        true if url.ends_with(['?', '&']) => "",
        true => "&",
    };
    format!("{url}{separator}options=-c%20role%3D{role}")
}

/// One route.
pub(crate) struct Route {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "what the document is compared by")
    )]
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    handler: MethodRouter<App>,
}

/// Every route there is.
pub(crate) fn routes() -> Vec<Route> {
    use Access::{Admin, Anonymous, Ingest, Metrics, Operator, Read};
    let route = |method, path, access, handler| Route {
        method,
        path,
        access,
        handler,
    };
    vec![
        route("GET", "/healthz", Anonymous, get(health::healthz)),
        route("GET", "/readyz", Anonymous, get(health::readyz)),
        route("GET", "/metrics", Metrics, get(health::metrics)),
        route("GET", "/openapi.json", Read, get(health::openapi)),
        route("POST", "/ingest/v1/events", Ingest, post(ingest::ingest)),
        route("POST", "/ingest/v1/owners", Ingest, post(owners::find)),
        route("GET", "/api/v1/usage", Read, get(usage::usage)),
        route("GET", "/api/v1/events", Read, get(events::list)),
        route("GET", "/api/v1/events/{event_id}", Read, get(events::show)),
        route(
            "GET",
            "/api/v1/events/{event_id}/explain",
            Read,
            get(events::explain),
        ),
        route("GET", "/api/v1/export", Read, get(export::export)),
        route("GET", "/api/v1/sessions", Read, get(sessions::list)),
        route("GET", "/api/v1/adjustments", Read, get(adjustments::list)),
        route(
            "POST",
            "/api/v1/adjustments",
            Operator,
            post(adjustments::adjust),
        ),
        route(
            "POST",
            "/api/v1/adjustments/{batch_id}/undo",
            Operator,
            post(adjustments::undo),
        ),
        route("GET", "/api/v1/runs", Read, get(runs::list)),
        route("GET", "/api/v1/runs/{run_id}", Read, get(runs::show)),
        route("GET", "/api/v1/reconcile", Operator, get(reconcile::list)),
        route(
            "POST",
            "/api/v1/reconcile",
            Operator,
            post(reconcile::compare).layer(DefaultBodyLimit::max(reconcile::BODY_BYTES_MAX)),
        ),
        route(
            "GET",
            "/api/v1/reconcile/{reconciliation_id}",
            Operator,
            get(reconcile::show),
        ),
        route(
            "GET",
            "/api/v1/reconcile/{reconciliation_id}/lines",
            Operator,
            get(reconcile::lines),
        ),
        route(
            "POST",
            "/api/v1/customers/erase",
            Operator,
            post(erasures::erase),
        ),
        route("GET", "/api/v1/invoices", Read, get(invoices::list)),
        route("POST", "/api/v1/invoices", Operator, post(invoices::close)),
        route(
            "GET",
            "/api/v1/invoices/preview",
            Read,
            get(invoices::preview),
        ),
        route(
            "GET",
            "/api/v1/invoices/{invoice}",
            Read,
            get(invoices::show),
        ),
        route(
            "GET",
            "/api/v1/invoices/{invoice}/export",
            Read,
            get(invoices::export),
        ),
        route("GET", "/api/v1/nodes", Operator, get(nodes::list)),
        route(
            "GET",
            "/api/v1/nodes/{node}/holes",
            Operator,
            get(nodes::holes),
        ),
        route(
            "POST",
            "/api/v1/nodes/{node}/retire",
            Operator,
            post(nodes::retire),
        ),
        route("GET", "/api/v1/tenants", Read, get(tenants::list)),
        route("POST", "/api/v1/tenants", Operator, post(tenants::create)),
        route(
            "GET",
            "/api/v1/tenants/{tenant_id}",
            Read,
            get(tenants::show),
        ),
        route(
            "PATCH",
            "/api/v1/tenants/{tenant_id}",
            Operator,
            patch(tenants::set),
        ),
        route("GET", "/api/v1/customers", Read, get(customers::list)),
        route("POST", "/api/v1/customers", Admin, post(customers::create)),
        route(
            "GET",
            "/api/v1/tenants/{tenant_id}/customers/{customer_id}",
            Read,
            get(customers::show),
        ),
        route(
            "PATCH",
            "/api/v1/tenants/{tenant_id}/customers/{customer_id}",
            Admin,
            patch(customers::set),
        ),
        route("GET", "/api/v1/credentials", Admin, get(credentials::list)),
        route("POST", "/api/v1/credentials", Admin, post(credentials::set)),
        route(
            "POST",
            "/api/v1/credentials/rewrap",
            Operator,
            post(credentials::rewrap),
        ),
        route(
            "GET",
            "/api/v1/credentials/{credential_id}",
            Admin,
            get(credentials::show),
        ),
        route(
            "DELETE",
            "/api/v1/credentials/{credential_id}",
            Admin,
            delete(credentials::remove),
        ),
        route(
            "POST",
            "/api/v1/credentials/{credential_id}/rotate",
            Admin,
            post(credentials::rotate),
        ),
        route("POST", "/api/v1/apply", Operator, post(apply::apply)),
        route("GET", "/api/v1/audit", Operator, get(audit::list)),
        route("GET", "/api/v1/keys/audit", Admin, get(keys::audit::audit)),
        route("PATCH", "/api/v1/keys/{key}", Admin, patch(keys::set)),
        route(
            "POST",
            "/api/v1/keys/{key}/rotate",
            Admin,
            post(keys::rotate::rotate),
        ),
        route("GET", "/api/v1/keys", Admin, get(keys::list)),
        route("POST", "/api/v1/keys", Admin, post(keys::issue)),
        route("GET", "/api/v1/keys/{key}", Admin, get(keys::show)),
        route(
            "DELETE",
            "/api/v1/keys/{key}",
            Admin,
            delete(keys::revoke_now),
        ),
        route(
            "POST",
            "/api/v1/keys/{key}/revoke",
            Admin,
            post(keys::revoke),
        ),
        route("GET", "/api/v1/limits", Read, get(limits::list)),
        route("POST", "/api/v1/limits", Operator, post(limits::set)),
        route("GET", "/api/v1/limits/status", Read, get(limits::status)),
        route("GET", "/api/v1/limits/events", Read, get(limits::events)),
        route("GET", "/api/v1/limits/{limit_id}", Read, get(limits::show)),
        route(
            "PUT",
            "/api/v1/limits/{limit_id}",
            Operator,
            put(limits::put),
        ),
        route(
            "DELETE",
            "/api/v1/limits/{limit_id}",
            Operator,
            delete(limits::remove),
        ),
        route("GET", "/api/v1/prices", Operator, get(prices::list)),
        route(
            "POST",
            "/api/v1/prices",
            Operator,
            prices::large(post(prices::load)),
        ),
        route("GET", "/api/v1/prices/gaps", Operator, get(prices::gaps)),
        route("POST", "/api/v1/prices/quote", Read, post(prices::quote)),
        route(
            "POST",
            "/api/v1/prices/activate",
            Operator,
            post(prices::activate),
        ),
        route(
            "POST",
            "/api/v1/prices/bundle",
            Operator,
            prices::large(post(prices::bundle)),
        ),
        route(
            "POST",
            "/api/v1/prices/diff",
            Operator,
            prices::large(post(prices::diff)),
        ),
        route(
            "POST",
            "/api/v1/prices/reprice",
            Operator,
            post(prices::reprice),
        ),
        route(
            "GET",
            "/api/v1/prices/{revision}",
            Operator,
            get(prices::show),
        ),
        route(
            "GET",
            "/api/v1/ingest-tokens",
            Operator,
            get(ingest_tokens::list),
        ),
        route(
            "POST",
            "/api/v1/ingest-tokens",
            Operator,
            post(ingest_tokens::issue),
        ),
        route(
            "DELETE",
            "/api/v1/ingest-tokens/{token_id}",
            Operator,
            delete(ingest_tokens::revoke),
        ),
    ]
}

/// The router: every route behind the access it asks for, everything else behind reading.
pub(crate) fn router(app: App) -> Router {
    let guard = |access| from_fn_with_state((Arc::clone(&app), access), authorize);
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.handler.route_layer(guard(route.access)));
    }
    // Who may see nothing gets the same 401 for a path that does not exist.
    let missing = get(health::missing)
        .post(health::missing)
        .put(health::missing)
        .patch(health::missing)
        .delete(health::missing)
        .layer(guard(Access::Read));
    router
        .fallback_service(missing.with_state(Arc::clone(&app)))
        .method_not_allowed_fallback(health::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn(etag::tag))
        .with_state(app)
}

/// Keeps the numbers that only the database knows, until `shutdown`.
pub(crate) async fn watch(app: App, shutdown: CancellationToken) {
    let mut is_said = app.stale_after_days.is_none();
    loop {
        if !is_said {
            is_said = say_defaults(&app).await.is_ok();
        }
        match sequence_holes(&app).await {
            Ok(holes) => app.metrics.sequence_holes.set(holes),
            Err(cause) => tracing::debug!(cause = cause.message, "metrics wait for the database"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
}

/// Keeps the rate cards in force as the database says, until `shutdown`.
pub(crate) async fn follow_cards(app: App, shutdown: CancellationToken) {
    loop {
        if let Err(cause) = app.cards.refresh(&app.store).await {
            tracing::debug!(%cause, "rate cards wait for the database");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(CARDS_INTERVAL) => {}
        }
    }
}

/// Defaults that views go by are the configuration's to say.
async fn say_defaults(app: &App) -> Result<(), ApiError> {
    let days = app
        .stale_after_days
        .and_then(|days| i32::try_from(days).ok());
    if let Some(days) = days {
        records::keys::set_stale_after_days(&app.client().await?, days).await?;
    }
    Ok(())
}

async fn sequence_holes(app: &App) -> Result<i64, ApiError> {
    Ok(records::nodes::sequence_holes(&app.client().await?).await?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_names_the_routers_paths_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
        let mut written = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                written.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let served: BTreeSet<String> = routes()
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        assert_eq!(written, served);
    }

    #[test]
    fn every_guarded_route_says_so_in_the_document() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json().unwrap()).unwrap();
        for route in routes() {
            let operation = &document["paths"][route.path][route.method.to_lowercase()];
            let is_guarded = operation["security"]
                .as_array()
                .is_some_and(|schemes| !schemes.is_empty());
            assert_eq!(
                is_guarded,
                route.access != Access::Anonymous,
                "{} {}",
                route.method,
                route.path
            );
        }
    }

    #[test]
    fn a_connection_works_as_the_role() {
        let check = |url, expected| assert_eq!(with_role(url, "r"), expected);
        check("host=/tmp", "host=/tmp options='-c role=r'");
        check("postgres://h/d", "postgres://h/d?options=-c%20role%3Dr");
        check(
            "postgresql://h/d?a=b",
            "postgresql://h/d?a=b&options=-c%20role%3Dr",
        );
        check(
            "postgresql://h/d?",
            "postgresql://h/d?options=-c%20role%3Dr",
        );
        check("host=h options='-c x=y'", "host=h options='-c x=y'");
        assert_eq!(with_role("host=h", ""), "host=h");
        for url in [
            "host=/tmp",
            "postgres://h/d",
            "postgres://h/d?connect_timeout=3",
        ] {
            let config: tokio_postgres::Config = with_role(url, "r").parse().unwrap();
            assert_eq!(config.get_options(), Some("-c role=r"), "{url}");
        }
    }
}
