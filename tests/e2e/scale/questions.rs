//! What people ask of many rows, and how long the answer may take with ten million of them on an idle machine.

use std::time::Duration;

/// How long sums of a month may take with ten million rows, a page of events, and a list of what is added up
/// of events.
const USAGE: Duration = Duration::from_millis(200);
const PAGE: Duration = Duration::from_millis(50);
const LIST: Duration = Duration::from_secs(1);

/// What is asked, what of, and how long it may take with ten million rows.
pub(super) const QUESTIONS: [(&str, &str, Duration); 26] = [
    (
        "invoice of a tenant's month",
        "/api/v1/invoices/preview?tenant=tenant-0&month=2026-09",
        LIST,
    ),
    (
        "usage of a tenant by model over a month",
        "/api/v1/usage?tenant=tenant-0&group_by=model&from=2026-09-01&to=2026-10-01",
        USAGE,
    ),
    (
        "usage of all by model over a month",
        "/api/v1/usage?group_by=model&from=2026-09-01&to=2026-10-01",
        USAGE,
    ),
    (
        "usage of all by tenant over a month",
        "/api/v1/usage?group_by=tenant&from=2026-09-01&to=2026-10-01",
        USAGE,
    ),
    ("page of events", "/api/v1/events?limit=100", PAGE),
    (
        "page of events deep within the month",
        "/api/v1/events?limit=100&to=2026-09-03T12:00:00Z",
        PAGE,
    ),
    (
        "page of a tenant's events",
        "/api/v1/events?limit=100&tenant=tenant-7",
        PAGE,
    ),
    (
        "page of the largest tenant's events",
        "/api/v1/events?limit=100&tenant=tenant-0",
        PAGE,
    ),
    (
        "page of a tenant's day",
        "/api/v1/events?limit=100&tenant=tenant-0&from=2026-09-10&to=2026-09-11",
        PAGE,
    ),
    (
        "page of a customer's events",
        "/api/v1/events?limit=100&tenant=tenant-7&customer=customer-2",
        PAGE,
    ),
    (
        "page of a rare customer's events",
        "/api/v1/events?limit=100&tenant=tenant-0&customer=customer-5",
        PAGE,
    ),
    (
        "page of a model's events",
        "/api/v1/events?limit=100&model=model-7",
        PAGE,
    ),
    (
        "events of a model that nobody called",
        "/api/v1/events?limit=100&model=none",
        PAGE,
    ),
    (
        "page of nobody's events",
        "/api/v1/events?limit=100&unattributed=true",
        PAGE,
    ),
    (
        "page of events without a price",
        "/api/v1/events?limit=100&pricing=unpriced",
        PAGE,
    ),
    (
        "page of events that broke off",
        "/api/v1/events?limit=100&ending=timeout",
        PAGE,
    ),
    (
        "page of a tenant's events with a status",
        "/api/v1/events?limit=100&tenant=tenant-0&status=504",
        PAGE,
    ),
    (
        "events of a call",
        "/api/v1/events?call=01990000-0000-7000-8000-000000000000",
        PAGE,
    ),
    (
        "events of a session",
        "/api/v1/events?session=session-7007",
        PAGE,
    ),
    (
        "event by response id",
        "/api/v1/events?response_id=response-77",
        PAGE,
    ),
    ("page of sessions", "/api/v1/sessions?limit=100", LIST),
    (
        "page of the largest tenant's sessions",
        "/api/v1/sessions?limit=100&tenant=tenant-0",
        LIST,
    ),
    ("page of runs", "/api/v1/runs?limit=100", LIST),
    (
        "page of a tenant's runs",
        "/api/v1/runs?limit=100&tenant=tenant-7",
        LIST,
    ),
    ("list of tenants", "/api/v1/tenants?limit=100", LIST),
    ("page of customers", "/api/v1/customers?limit=100", LIST),
];
