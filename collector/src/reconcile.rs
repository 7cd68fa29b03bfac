//! The ledger against a vendor's own usage or cost report, line by line, and why they differ:
//! `coverage` (one side has nothing of it, or another number of calls), `units` (the quantities differ),
//! `rate` (the quantities agree and the amounts do not).
//!
//! A report is compared at the detail it has: a line without a model is held against all models of its
//! day, one without units (meter `cost`) against all meters. Pure: it reads lines and gives lines.

use std::collections::{BTreeMap, BTreeSet};

use farebox_pricing::money::Decimal;
use farebox_pricing::rate_card::CardSet;
use serde::Serialize;

pub(crate) mod formats;

use formats::{VendorLine, folded};

/// The meter of amounts without units.
pub(crate) const COST: &str = "cost";
/// The meter that counts calls.
const CALLS: &str = "calls";

/// Why a line differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cause {
    Coverage,
    Units,
    Rate,
}

/// What one line is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Subject {
    pub(crate) day: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) credential: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) meter: String,
}

/// A quantity and an amount of the ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct LedgerRow {
    pub(crate) day: Option<String>,
    /// Ids it may be known by at the vendor.
    pub(crate) ids: Vec<String>,
    pub(crate) credential: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) meter: String,
    pub(crate) quantity: Decimal,
    pub(crate) cost_usd: Decimal,
}

/// Both sides of one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    pub(crate) vendor_quantity: Option<Decimal>,
    pub(crate) quantity: Option<Decimal>,
    pub(crate) vendor_cost_usd: Option<Decimal>,
    pub(crate) cost_usd: Option<Decimal>,
}

/// A compared line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) subject: Subject,
    pub(crate) sides: Sides,
    pub(crate) cause: Option<Cause>,
}

/// What is no difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Of a line's cost.
    pub(crate) usd: Decimal,
    /// Of the vendor's units or cost, in percent.
    pub(crate) percent: Decimal,
}

/// A sum that no decimal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Whether a vendor's lines name single calls.
pub(crate) fn is_by_id(lines: &[VendorLine]) -> bool {
    !lines.is_empty() && lines.iter().all(|line| line.id.is_some())
}

/// Compares. `cards` say which names mean the same model. `keys` maps the vendor's ids of its keys to
/// credentials of ours; when empty, keys are not told apart.
pub(crate) fn compare(
    provider: &str,
    cards: &CardSet,
    vendor: &[VendorLine],
    ledger: &[LedgerRow],
    keys: &BTreeMap<String, String>,
    tolerance: Tolerance,
) -> Result<Vec<Compared>, TooLarge> {
    let by_id = is_by_id(vendor);
    let mut table: BTreeMap<Subject, Sides> = BTreeMap::new();
    let mut tiers = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for line in vendor {
        let key = line.key.as_ref().filter(|_| !keys.is_empty());
        let subject = Subject {
            day: line.day.clone().filter(|_| !by_id),
            id: line.id.clone().filter(|_| by_id),
            credential: key.map(|key| keys.get(key).unwrap_or(key).clone()),
            model: (line.model.as_deref())
                .filter(|_| !by_id)
                .map(|model| canonical(cards, provider, model)),
            meter: folded(provider, &line.meter).to_owned(),
        };
        tiers.insert((subject.model.is_some(), subject.meter.clone()));
        ids.extend(subject.id.clone());
        let sides = table.entry(subject).or_default();
        grow(&mut sides.vendor_quantity, line.quantity)?;
        grow(&mut sides.vendor_cost_usd, line.cost_usd)?;
    }
    if vendor.is_empty() {
        // A report of nothing says of every meter that there was none.
        let meters = ledger.iter().map(|row| folded(provider, &row.meter));
        tiers.extend(meters.map(|meter| (true, meter.to_owned())));
    }
    for row in ledger {
        let meter = folded(provider, &row.meter);
        let id = row.ids.iter().find(|id| ids.contains(*id));
        let id = id.or(row.ids.first()).filter(|_| by_id);
        for (has_model, kind) in [(true, meter), (true, COST), (false, meter), (false, COST)] {
            let is_cost = kind == COST;
            if !tiers.contains(&(has_model, kind.to_owned())) || (is_cost && meter == CALLS) {
                continue;
            }
            let model = row.model.as_deref();
            let model = model.map(|model| canonical(cards, provider, model));
            let subject = Subject {
                day: row.day.clone().filter(|_| !by_id),
                id: id.cloned(),
                credential: row.credential.clone().filter(|_| !keys.is_empty()),
                model: has_model.then(|| model.unwrap_or_default()),
                meter: kind.to_owned(),
            };
            let sides = table.entry(subject).or_default();
            if !is_cost {
                grow(&mut sides.quantity, Some(row.quantity))?;
            }
            grow(&mut sides.cost_usd, Some(row.cost_usd))?;
        }
    }
    table.retain(|_, sides| {
        !is_nothing(sides.vendor_quantity, sides.vendor_cost_usd)
            || !is_nothing(sides.quantity, sides.cost_usd)
    });
    Ok(with_causes(table, tolerance))
}

fn grow(sum: &mut Option<Decimal>, by: Option<Decimal>) -> Result<(), TooLarge> {
    if let Some(by) = by {
        let before = sum.unwrap_or(Decimal::ZERO);
        *sum = Some(before.checked_add(by).ok_or(TooLarge)?);
    }
    Ok(())
}

/// The name the rate card has for a model, so that aliases and dated names meet.
fn canonical(cards: &CardSet, provider: &str, model: &str) -> String {
    let card = cards.card(provider);
    card.and_then(|card| card.model(model))
        .unwrap_or(model)
        .to_owned()
}

fn is_nothing(quantity: Option<Decimal>, cost: Option<Decimal>) -> bool {
    quantity.unwrap_or(Decimal::ZERO).is_zero() && cost.unwrap_or(Decimal::ZERO).is_zero()
}

/// Causes of calls first, then of units, then of amounts: what explains the units of a group explains
/// its calls' units, and what explains its units explains its amounts.
fn with_causes(table: BTreeMap<Subject, Sides>, tolerance: Tolerance) -> Vec<Compared> {
    let group = |subject: &Subject| {
        (
            subject.day.clone(),
            subject.id.clone(),
            subject.credential.clone(),
            subject.model.clone(),
        )
    };
    let mut lines: Vec<Compared> = table
        .into_iter()
        .map(|(subject, sides)| Compared {
            cause: own_cause(&subject, &sides, tolerance),
            subject,
            sides,
        })
        .collect();
    let mut uncovered = BTreeSet::new();
    let mut of_units = BTreeMap::new();
    for line in &lines {
        if line.subject.meter == CALLS && line.cause.is_some() {
            uncovered.insert(group(&line.subject));
        }
    }
    for line in &mut lines {
        if line.cause == Some(Cause::Units) && uncovered.contains(&group(&line.subject)) {
            line.cause = Some(Cause::Coverage);
        }
        if let Some(cause @ (Cause::Coverage | Cause::Units)) = line.cause {
            let (day, id, credential, model) = group(&line.subject);
            for key in [
                (day.clone(), id.clone(), credential.clone(), model),
                (day, id, credential, None),
            ] {
                let known = of_units.entry(key).or_insert(cause);
                *known = (*known).min(cause);
            }
        }
    }
    for line in &mut lines {
        // Without units of its own an amount is explained by its group's, where those differ.
        if line.cause == Some(Cause::Rate) && line.sides.vendor_quantity.is_none() {
            line.cause = of_units.get(&group(&line.subject)).copied().or(line.cause);
        }
    }
    lines
}

fn own_cause(subject: &Subject, sides: &Sides, tolerance: Tolerance) -> Option<Cause> {
    let vendor_is_empty = is_nothing(sides.vendor_quantity, sides.vendor_cost_usd);
    if vendor_is_empty != is_nothing(sides.quantity, sides.cost_usd) {
        return Some(Cause::Coverage);
    }
    if let Some(vendor) = sides.vendor_quantity
        && differs(vendor, sides.quantity, Decimal::ZERO, tolerance.percent)
    {
        return Some(if subject.meter == CALLS {
            Cause::Coverage
        } else {
            Cause::Units
        });
    }
    let vendor = sides.vendor_cost_usd?;
    differs(vendor, sides.cost_usd, tolerance.usd, tolerance.percent).then_some(Cause::Rate)
}

/// Whether two values differ by more than `least` and by more than `percent` of the first. What cannot
/// be computed differs.
fn differs(vendor: Decimal, own: Option<Decimal>, least: Decimal, percent: Decimal) -> bool {
    let compute = || {
        let difference = vendor.checked_sub(own.unwrap_or(Decimal::ZERO))?;
        let difference = absolute(difference)?;
        let hundred = Decimal::from(100);
        let share = absolute(vendor)?.checked_mul(percent)?;
        Some(difference > least && difference.checked_mul(hundred)? > share)
    };
    compute().unwrap_or(true)
}

fn absolute(value: Decimal) -> Option<Decimal> {
    match value.is_negative() {
        true => Decimal::ZERO.checked_sub(value),
        false => Some(value),
    }
}

#[cfg(test)]
mod tests;
