//! The OpenAPI document, written from the handlers; a test holds it to the table of routes.

use utoipa::OpenApi;

use super::*;

/// The document of the API, written from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Farebox collector",
        description = "Ingest, usage and administration. Amounts and quantities are exact decimals in strings; times are RFC 3339 in UTC with milliseconds; `from` is inclusive, `to` exclusive.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        health::healthz,
        health::readyz,
        health::metrics,
        health::openapi,
        ingest::ingest,
        owners::find,
        usage::usage,
        events::list,
        events::show,
        events::explain,
        export::export,
        sessions::list,
        adjustments::list,
        adjustments::adjust,
        adjustments::undo,
        runs::list,
        runs::show,
        reconcile::list,
        reconcile::compare,
        reconcile::show,
        reconcile::lines,
        erasures::erase,
        invoices::list,
        invoices::close,
        invoices::preview,
        invoices::show,
        invoices::export,
        nodes::list,
        nodes::holes,
        nodes::retire,
        tenants::list,
        tenants::create,
        tenants::show,
        tenants::set,
        customers::list,
        customers::create,
        customers::show,
        customers::set,
        credentials::list,
        credentials::set,
        credentials::show,
        credentials::rotate,
        credentials::remove,
        credentials::rewrap,
        apply::apply,
        audit::list,
        keys::audit::audit,
        keys::set,
        keys::rotate::rotate,
        keys::list,
        keys::issue,
        keys::show,
        keys::revoke_now,
        keys::revoke,
        limits::list,
        limits::set,
        limits::status,
        limits::events,
        limits::show,
        limits::put,
        limits::remove,
        prices::list,
        prices::load,
        prices::show,
        prices::gaps,
        prices::quote,
        prices::activate,
        prices::bundle,
        prices::diff,
        prices::reprice,
        ingest_tokens::list,
        ingest_tokens::issue,
        ingest_tokens::revoke,
    ),
    components(schemas(crate::error::ErrorBody)),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The operator token, a virtual key with the scope `usage:read` or `admin`, or a node's ingest token.",
            ))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The OpenAPI document as JSON.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    serde_json::to_string(&Document::openapi())
}
