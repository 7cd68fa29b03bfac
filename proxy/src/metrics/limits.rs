//! How far limits are used, in Prometheus' text format.

use farebox_pricing::money::Usd;

use super::names::Names;
use super::text::{Family, decimal};
use crate::admission::exchange::Gauged;

/// Tenant of limits that bind several.
const ALL: &str = "all";
/// Limits with series of their own; the rest has none.
const LIMITS_MAX: usize = 2_000;
/// Decimals of a ratio.
const RATIO_SCALE: u32 = 6;

pub(super) fn limits(names: &Names, all: &[Gauged], is_store_away: bool, text: &mut String) {
    Family::gauge(
        "farebox_limit_store_up",
        "Whether Postgres answers for the limits' leases.",
    )
    .line(text, &[], if is_store_away { "0" } else { "1" });
    let scale = u32::from(Usd::SCALE);
    let mut series = |name, help, value: &dyn Fn(&Gauged) -> String| {
        let mut family = Family::gauge(name, help);
        for gauged in all.iter().take(LIMITS_MAX) {
            let tenant = gauged.tenant.as_deref();
            let tenant = tenant.map_or(ALL, |tenant| names.tenant(tenant));
            let limit = gauged.limit_id.to_string();
            let labels = [("tenant", tenant), ("limit", limit.as_str())];
            family.line(text, &labels, &value(gauged));
        }
    };
    series(
        "farebox_limit_used_ratio",
        "Used of the amount in the present window by all proxies; of several values the largest.",
        &|gauged| decimal(gauged.used_ppm.into(), RATIO_SCALE),
    );
    series(
        "farebox_limit_reserved",
        "Held in this proxy for calls that run: the most that its death could lose.",
        &|gauged| decimal(gauged.reserved, scale),
    );
    series(
        "farebox_limit_leased",
        "Granted to this proxy and not spent: what others cannot have, and what is left without Postgres.",
        &|gauged| decimal(gauged.unspent, scale),
    );
    series(
        "farebox_limit_would_refuse",
        "Calls that a dry run would have refused in this proxy's present windows.",
        &|gauged| gauged.would_refuse.to_string(),
    );
}
