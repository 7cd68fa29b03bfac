//! The files of `sql/`, compiled in. Views come before the functions that read them.

/// Roles, by the default prefix.
pub(super) const ROLES: &str = include_str!("../../../sql/roles.sql");

/// In the order of their numbers.
pub(super) const MIGRATIONS: &[(&str, &str)] = &[
    (
        "0001_foundation.sql",
        include_str!("../../../sql/migrations/0001_foundation.sql"),
    ),
    (
        "0002_directory.sql",
        include_str!("../../../sql/migrations/0002_directory.sql"),
    ),
    (
        "0003_ledger.sql",
        include_str!("../../../sql/migrations/0003_ledger.sql"),
    ),
    (
        "0004_intake.sql",
        include_str!("../../../sql/migrations/0004_intake.sql"),
    ),
    (
        "0008_keys.sql",
        include_str!("../../../sql/migrations/0008_keys.sql"),
    ),
    (
        "0009_books.sql",
        include_str!("../../../sql/migrations/0009_books.sql"),
    ),
    (
        "0010_reads.sql",
        include_str!("../../../sql/migrations/0010_reads.sql"),
    ),
];

/// Made anew each time.
pub(super) const FUNCTIONS: &[(&str, &str)] = &[
    (
        "ledger_parts.sql",
        include_str!("../../../sql/functions/ledger_parts.sql"),
    ),
    (
        "check_rollups.sql",
        include_str!("../../../sql/functions/check_rollups.sql"),
    ),
    (
        "rebuild_rollups.sql",
        include_str!("../../../sql/functions/rebuild_rollups.sql"),
    ),
    (
        "explain.sql",
        include_str!("../../../sql/functions/explain.sql"),
    ),
    (
        "invoice_preview.sql",
        include_str!("../../../sql/functions/invoice_preview.sql"),
    ),
];

/// Made anew each time; each reads tables only.
pub(super) const VIEWS: &[(&str, &str)] = &[
    (
        "adjustments.sql",
        include_str!("../../../sql/views/adjustments.sql"),
    ),
    (
        "audit_log.sql",
        include_str!("../../../sql/views/audit_log.sql"),
    ),
    (
        "customers.sql",
        include_str!("../../../sql/views/customers.sql"),
    ),
    (
        "dead_air_events.sql",
        include_str!("../../../sql/views/dead_air_events.sql"),
    ),
    (
        "directory_credentials.sql",
        include_str!("../../../sql/views/directory_credentials.sql"),
    ),
    (
        "directory_keys.sql",
        include_str!("../../../sql/views/directory_keys.sql"),
    ),
    (
        "directory_limits.sql",
        include_str!("../../../sql/views/directory_limits.sql"),
    ),
    (
        "directory_sessions.sql",
        include_str!("../../../sql/views/directory_sessions.sql"),
    ),
    (
        "directory_tenants.sql",
        include_str!("../../../sql/views/directory_tenants.sql"),
    ),
    (
        "invoice_lines.sql",
        include_str!("../../../sql/views/invoice_lines.sql"),
    ),
    (
        "invoices.sql",
        include_str!("../../../sql/views/invoices.sql"),
    ),
    (
        "limit_events.sql",
        include_str!("../../../sql/views/limit_events.sql"),
    ),
    ("limits.sql", include_str!("../../../sql/views/limits.sql")),
    (
        "margins.sql",
        include_str!("../../../sql/views/margins.sql"),
    ),
    (
        "rate_cards.sql",
        include_str!("../../../sql/views/rate_cards.sql"),
    ),
    ("rates.sql", include_str!("../../../sql/views/rates.sql")),
    (
        "reconciliation_lines.sql",
        include_str!("../../../sql/views/reconciliation_lines.sql"),
    ),
    (
        "reconciliations.sql",
        include_str!("../../../sql/views/reconciliations.sql"),
    ),
    (
        "requests.sql",
        include_str!("../../../sql/views/requests.sql"),
    ),
    ("runs.sql", include_str!("../../../sql/views/runs.sql")),
    (
        "sessions.sql",
        include_str!("../../../sql/views/sessions.sql"),
    ),
    ("spans.sql", include_str!("../../../sql/views/spans.sql")),
    (
        "stale_keys.sql",
        include_str!("../../../sql/views/stale_keys.sql"),
    ),
    (
        "tenant_index.sql",
        include_str!("../../../sql/views/tenant_index.sql"),
    ),
    (
        "tenants.sql",
        include_str!("../../../sql/views/tenants.sql"),
    ),
    (
        "trace_events.sql",
        include_str!("../../../sql/views/trace_events.sql"),
    ),
    ("turns.sql", include_str!("../../../sql/views/turns.sql")),
    (
        "unattributed_usage.sql",
        include_str!("../../../sql/views/unattributed_usage.sql"),
    ),
    (
        "unpriced_usage.sql",
        include_str!("../../../sql/views/unpriced_usage.sql"),
    ),
    (
        "usage_daily.sql",
        include_str!("../../../sql/views/usage_daily.sql"),
    ),
    (
        "usage_events.sql",
        include_str!("../../../sql/views/usage_events.sql"),
    ),
    (
        "usage_hourly.sql",
        include_str!("../../../sql/views/usage_hourly.sql"),
    ),
    (
        "virtual_keys.sql",
        include_str!("../../../sql/views/virtual_keys.sql"),
    ),
];
