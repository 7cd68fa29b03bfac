//! The files of `sql/`, compiled in. Functions come before views, and a view after those it reads.

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
];

/// Made anew each time.
pub(super) const FUNCTIONS: &[(&str, &str)] = &[
];

/// Made anew each time, in this order.
pub(super) const VIEWS: &[(&str, &str)] = &[
    (
        "directory_keys.sql",
        include_str!("../../../sql/views/directory_keys.sql"),
    ),
    (
        "directory_limits.sql",
        include_str!("../../../sql/views/directory_limits.sql"),
    ),
    (
        "directory_tenants.sql",
        include_str!("../../../sql/views/directory_tenants.sql"),
    ),
];
