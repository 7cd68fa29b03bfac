//! What every route gives every principal.

/// What anonymous, another tenant's admin, the tenant's reader, its admin, and the operator get.
pub(crate) fn expected(route: &str) -> Option<[u16; 5]> {
    Some(match route {
        "GET /healthz" | "GET /readyz" | "GET /metrics" => [200; 5],
        "POST /ingest/v1/events" | "POST /ingest/v1/owners" => [401, 403, 403, 403, 403],
        "GET /openapi.json"
        | "GET /api/v1/usage"
        | "GET /api/v1/events"
        | "GET /api/v1/sessions"
        | "GET /api/v1/runs"
        | "GET /api/v1/export"
        | "GET /api/v1/tenants"
        | "GET /api/v1/adjustments"
        | "GET /api/v1/invoices"
        | "GET /api/v1/customers"
        | "GET /api/v1/limits"
        | "GET /api/v1/limits/status"
        | "GET /api/v1/limits/events" => [401, 200, 200, 200, 200],
        "GET /api/v1/events/{event_id}"
        | "GET /api/v1/events/{event_id}/explain"
        | "GET /api/v1/runs/{run_id}"
        | "GET /api/v1/tenants/{tenant_id}"
        | "GET /api/v1/limits/{limit_id}"
        | "GET /api/v1/tenants/{tenant_id}/customers/{customer_id}" => [401, 404, 200, 200, 200],
        "GET /api/v1/reconcile"
        | "GET /api/v1/reconcile/{reconciliation_id}"
        | "GET /api/v1/reconcile/{reconciliation_id}/lines" => [401, 403, 403, 403, 200],
        "POST /api/v1/reconcile" => [401, 403, 403, 403, 201],
        "PATCH /api/v1/tenants/{tenant_id}/customers/{customer_id}" => [401, 404, 403, 200, 200],
        // The body names the tenant `acme`; what was made before is replaced.
        "POST /api/v1/customers" => [401, 404, 403, 201, 409],
        "POST /api/v1/credentials" => [401, 404, 403, 200, 200],
        "GET /api/v1/credentials/{credential_id}"
        | "POST /api/v1/credentials/{credential_id}/rotate" => [401, 404, 403, 200, 200],
        "DELETE /api/v1/credentials/{credential_id}" => [401, 404, 403, 200, 404],
        "POST /api/v1/credentials/rewrap" | "POST /api/v1/apply" | "GET /api/v1/audit" => {
            [401, 403, 403, 403, 200]
        }
        "GET /api/v1/keys" | "GET /api/v1/keys/audit" | "GET /api/v1/credentials" => {
            [401, 200, 403, 200, 200]
        }
        "POST /api/v1/keys/{key}/rotate" => [401, 404, 403, 201, 201],
        "GET /api/v1/keys/{key}"
        | "PATCH /api/v1/keys/{key}"
        | "DELETE /api/v1/keys/{key}"
        | "POST /api/v1/keys/{key}/revoke" => [401, 404, 403, 200, 200],
        // The body names the tenant `acme`.
        "POST /api/v1/keys" => [401, 404, 403, 201, 201],
        // The tenant has none.
        "GET /api/v1/invoices/{invoice}" | "GET /api/v1/invoices/{invoice}/export" => {
            [401, 404, 404, 404, 404]
        }
        "GET /api/v1/invoices/preview" => [401, 404, 200, 200, 200],
        "POST /api/v1/invoices" => [401, 403, 403, 403, 409],
        "GET /api/v1/nodes" | "GET /api/v1/nodes/{node}/holes" => [401, 403, 403, 403, 200],
        "POST /api/v1/nodes/{node}/retire" => [401, 403, 403, 403, 200],
        "POST /api/v1/customers/erase" => [401, 403, 403, 403, 404],
        "POST /api/v1/adjustments" | "POST /api/v1/adjustments/{batch_id}/undo" => {
            [401, 403, 403, 403, 404]
        }
        "POST /api/v1/prices/quote" => [401, 200, 200, 200, 200],
        "GET /api/v1/prices"
        | "GET /api/v1/prices/gaps"
        | "GET /api/v1/prices/{revision}"
        | "POST /api/v1/prices/activate"
        | "POST /api/v1/prices/diff"
        | "POST /api/v1/prices/reprice" => [401, 403, 403, 403, 200],
        // Nobody is trusted to sign.
        "POST /api/v1/prices/bundle" => [401, 403, 403, 403, 409],
        "POST /api/v1/prices" => [401, 403, 403, 403, 201],
        "POST /api/v1/tenants" | "POST /api/v1/ingest-tokens" => [401, 403, 403, 403, 201],
        "POST /api/v1/limits"
        | "PUT /api/v1/limits/{limit_id}"
        | "DELETE /api/v1/limits/{limit_id}"
        | "PATCH /api/v1/tenants/{tenant_id}"
        | "GET /api/v1/ingest-tokens"
        | "DELETE /api/v1/ingest-tokens/{token_id}" => [401, 403, 403, 403, 200],
        _ => return None,
    })
}
