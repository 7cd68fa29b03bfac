//! What vendors of OpenAI's dialect share beside its readers: most send usage unasked, some count
//! cached input in a place of their own, some say what the call costs.

use farebox_pricing::evidence::Json;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Meter, Usage, UsageDraft};

use crate::provider::Endpoint;
use crate::providers::openai;

/// The reason of a draft some of whose counts contradicted each other.
pub(super) const CLAMPED: &str = "negative_clamped";

/// Chat completions of a vendor whose streams report usage unasked: asking would change the answer.
pub(super) const fn chat(path: &'static str) -> Endpoint {
    Endpoint {
        amend_request: None,
        ..openai::chat(path)
    }
}

/// Text completions of such a vendor.
pub(super) const fn completions(path: &'static str) -> Endpoint {
    Endpoint {
        amend_request: None,
        ..openai::completions(path)
    }
}

/// A meter's quantity, when it is a whole number.
pub(super) fn whole(usage: &Usage, meter: Meter) -> Option<u64> {
    let quantity = usage.quantity(meter)?;
    let is_whole = quantity.scale() == 0 && !quantity.is_negative();
    is_whole
        .then(|| u64::try_from(quantity.mantissa()).ok())
        .flatten()
}

/// Takes cached input that a vendor counts in a place of its own out of the fresh input; nothing
/// where the usual place said it already.
pub(super) fn take_cached(draft: &mut UsageDraft, cached: Option<u64>) {
    let (Some(cached), Some(line)) = (cached, draft.lines.first_mut()) else {
        return;
    };
    let Some(fresh) = whole(&line.usage, Meter::InputTokens) else {
        return;
    };
    if line.usage.quantity(Meter::CacheReadTokens).is_some() {
        return;
    }
    if cached > fresh {
        draft.reason = draft.reason.or(Some(CLAMPED));
    }
    let cached = cached.min(fresh);
    line.usage.set(Meter::InputTokens, fresh - cached);
    line.usage.set(Meter::CacheReadTokens, cached);
}

/// Puts the vendor's own amount on the draft. It covers the whole call, so everything counted of it
/// stands on one line.
pub(super) fn set_amount(draft: &mut UsageDraft, amount: Option<Decimal>) {
    let Some(amount) = amount.filter(|amount| !amount.is_negative()) else {
        return;
    };
    let mut lines = std::mem::take(&mut draft.lines).into_iter();
    let Some(mut line) = lines.next() else {
        return;
    };
    for (meter, quantity) in lines.flat_map(|other| other.usage.iter().collect::<Vec<_>>()) {
        let sum = match line.usage.quantity(meter) {
            Some(before) => before.checked_add(quantity),
            None => Some(quantity),
        };
        if let Some(sum) = sum {
            line.usage.set(meter, sum);
        }
    }
    line.usage.set(Meter::Credits, amount);
    draft.lines = vec![line];
}

/// A number in a usage object that is not below zero.
pub(super) fn amount(object: Option<Json<'_>>, path: &[&str]) -> Option<Decimal> {
    object?
        .at(path)?
        .decimal()
        .filter(|amount| !amount.is_negative())
}
