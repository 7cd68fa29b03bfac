//! What a correction may ask for, checked before anything is read.

use farebox_pricing::id::{self, TenantId};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::price::check_quantities;
use farebox_pricing::usage::{Line, Meter, UsageSource};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EVENTS_MAX, tenant_id};
use crate::api::page;
use crate::error::ApiError;
use crate::store::adjustments::{ClosedMonths, Kind, Selection};

/// Characters of a reason at most.
const REASON_CHARS_MAX: usize = 500;

/// A correction.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adjust {
    /// `reprice`, `retag`, `reread` or `manual`.
    kind: String,
    /// Why; it stands with every adjustment.
    reason: String,
    /// Say what would be booked, and book nothing.
    #[serde(default)]
    dry_run: bool,
    /// What happens where a month is closed: `refuse`, or `next` for the first open month after it.
    /// `retag` refuses when not given, the others take the next.
    closed_periods: Option<String>,
    /// The batch, on the pages after the first.
    batch_id: Option<Uuid>,
    /// `next_cursor` of the answer before.
    cursor: Option<String>,
    /// Events looked at in this request, 1 to 1000; 1000 when not given.
    limit: Option<u32>,
    /// These events, at most 1000.
    #[serde(default)]
    event_ids: Vec<Uuid>,
    /// Or those that have all of this in common.
    filter: Option<EventFilter>,
    /// `retag`: where they go.
    set: Option<SetAttribution>,
    /// `reprice`: a card's revision, or its first characters, in place of the one in force.
    rate_card: Option<String>,
    /// `reprice`: several of them, and selling rules.
    #[serde(default)]
    revisions: Vec<String>,
    /// `reread`: events with their corrected lines.
    #[serde(default)]
    #[schema(value_type = Vec<RereadDocument>)]
    events: Vec<Reread>,
    /// `manual`: what is booked.
    amount: Option<Amount>,
}

/// What events have in common, as they stand now.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventFilter {
    /// Of this tenant.
    #[serde(alias = "tenant_id")]
    tenant: Option<String>,
    /// Of no tenant.
    #[serde(default)]
    unattributed: bool,
    /// Of this customer.
    #[serde(alias = "customer_id")]
    customer: Option<String>,
    /// Of this project.
    project: Option<String>,
    /// By this virtual key.
    key_id: Option<Uuid>,
    /// To this upstream.
    upstream: Option<String>,
    /// To this vendor.
    provider: Option<String>,
    /// Of this billed model.
    model: Option<String>,
    /// Of this conversation.
    #[serde(alias = "session_id")]
    session: Option<String>,
    /// Of this run.
    #[serde(alias = "run_id")]
    run: Option<String>,
    /// `priced`, `partial`, `unpriced`, `unknown`, `free` or `repeat`.
    pricing: Option<String>,
    /// Started from this time on, RFC 3339 or a day.
    from: Option<String>,
    /// Started before this time.
    to: Option<String>,
}

/// Where events go. What is not given stays; null takes it away. Another tenant takes customer and
/// project away unless they are given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetAttribution {
    /// The tenant; null: unattributed.
    #[serde(default, alias = "tenant", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    tenant_id: Option<Option<String>>,
    /// The customer.
    #[serde(default, alias = "customer", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    customer_id: Option<Option<String>>,
    /// The project.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    project: Option<Option<String>>,
}

/// What a newer reader sees of an event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reread {
    /// The event.
    pub(super) event_id: Uuid,
    /// What is charged, as in the event.
    pub(super) lines: Vec<Line>,
    /// How the quantities are known.
    pub(super) usage_source: UsageSource,
    /// The reader.
    pub(super) reader_version: Option<u32>,
}

/// What a newer reader sees of an event.
#[derive(ToSchema)]
#[schema(as = Reread)]
#[expect(dead_code, reason = "the document's shape of `Reread`")]
pub(crate) struct RereadDocument {
    /// The event.
    event_id: Uuid,
    /// What is charged: `[{model, conditions, usage}]`.
    lines: Vec<Object>,
    /// `reported`, `partial`, `measured`, `estimated`, `pending`, `missing` or `none`.
    usage_source: String,
    /// The reader's version.
    reader_version: Option<u32>,
}

/// Any JSON object.
#[derive(ToSchema)]
pub(crate) struct Object {}

/// An amount by hand, on exactly one event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amount {
    /// The meter it stands with; `requests` when not given.
    meter: Option<String>,
    /// Signed quantity, an exact decimal; 0 when not given.
    quantity: Option<String>,
    /// Signed change of the cost; 0 when not given.
    cost_usd: Option<String>,
    /// Signed change of what is billed: below zero is a credit; 0 when not given.
    billed_usd: Option<String>,
    /// Your own reference; the same one on the same event books nothing the second time.
    reference: Option<String>,
}

/// As it is used.
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) reason: String,
    pub(super) dry_run: bool,
    pub(super) closed_months: ClosedMonths,
    pub(super) batch_id: Uuid,
    pub(super) after: Option<Uuid>,
    pub(super) limit: u32,
    ids: Vec<Uuid>,
    pub(super) selection: Selection,
    pub(super) set: Option<Set>,
    pub(super) revisions: Vec<String>,
    pub(super) reread: Vec<Reread>,
    pub(super) by_hand: Option<Named>,
}

/// Where events go; the outer `None` leaves it.
pub(super) struct Set {
    pub(super) tenant_id: Option<Option<TenantId>>,
    pub(super) customer_id: Option<Option<String>>,
    pub(super) project: Option<Option<String>>,
}

/// An amount by hand.
pub(super) struct Named {
    pub(super) meter: Meter,
    pub(super) quantity: Decimal,
    pub(super) cost_usd: Usd,
    pub(super) billed_usd: Usd,
    pub(super) reference: Option<String>,
}

impl Asked {
    pub(super) fn of(asked: Adjust) -> Result<Self, ApiError> {
        let kinds = [Kind::Reprice, Kind::Retag, Kind::Reread, Kind::Manual];
        let kind = kinds.into_iter().find(|kind| kind.name() == asked.kind);
        let kind = kind
            .ok_or_else(|| ApiError::invalid("kind", "`reprice`, `retag`, `reread` or `manual`"))?;
        let reason = asked.reason.trim().to_owned();
        if reason.is_empty()
            || reason.chars().count() > REASON_CHARS_MAX
            || reason.contains(char::is_control)
        {
            return Err(ApiError::invalid("reason", "between 1 and 500 characters"));
        }
        let limit = asked.limit.unwrap_or(EVENTS_MAX);
        if !(1..=EVENTS_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", "between 1 and 1000"));
        }
        if asked.event_ids.len().max(asked.events.len()) > EVENTS_MAX as usize {
            return Err(ApiError::invalid("event_ids", "at most 1000 events"));
        }
        for reread in &asked.events {
            check_quantities(&reread.lines)
                .map_err(|negative| ApiError::invalid("events", negative.to_string()))?;
        }
        let by_hand = asked.amount.map(named).transpose()?;
        let set = asked.set.map(set_of).transpose()?;
        let checked = Self {
            kind,
            reason,
            dry_run: asked.dry_run,
            closed_months: closed_months(asked.closed_periods.as_deref(), kind)?,
            batch_id: asked.batch_id.unwrap_or_else(Uuid::now_v7),
            after: cursor(asked.cursor.as_deref())?,
            limit,
            ids: asked.event_ids,
            selection: asked.filter.map(selection).transpose()?.unwrap_or_default(),
            set,
            revisions: asked.rate_card.into_iter().chain(asked.revisions).collect(),
            reread: asked.events,
            by_hand,
        };
        checked.fits()?;
        Ok(checked)
    }

    /// Each kind has its own members.
    fn fits(&self) -> Result<(), ApiError> {
        let wants = |field: &str, is_there: bool, of: Kind| match (is_there, self.kind == of) {
            (true, false) => Err(ApiError::invalid(
                field,
                format!("belongs to `{}`", of.name()),
            )),
            (false, true) => Err(ApiError::invalid(field, "is required")),
            _ => Ok(()),
        };
        wants("set", self.set.is_some(), Kind::Retag)?;
        wants("events", !self.reread.is_empty(), Kind::Reread)?;
        wants("amount", self.by_hand.is_some(), Kind::Manual)?;
        if self.kind != Kind::Reprice && !self.revisions.is_empty() {
            return Err(ApiError::invalid("rate_card", "belongs to `reprice`"));
        }
        if self.kind == Kind::Manual && self.ids.len() != 1 {
            return Err(ApiError::invalid("event_ids", "exactly one event"));
        }
        Ok(())
    }

    /// The events named one by one.
    pub(super) fn event_ids(&self) -> Vec<Uuid> {
        let named = self.reread.iter().map(|reread| reread.event_id);
        self.ids.iter().copied().chain(named).collect()
    }
}

fn selection(filter: EventFilter) -> Result<Selection, ApiError> {
    let (from, to) = page::span(filter.from.as_deref(), filter.to.as_deref())?;
    if filter.unattributed && filter.tenant.is_some() {
        return Err(ApiError::invalid(
            "filter.unattributed",
            "excludes `tenant`",
        ));
    }
    let texts = [
        ("filter.tenant", &filter.tenant),
        ("filter.customer", &filter.customer),
        ("filter.project", &filter.project),
        ("filter.upstream", &filter.upstream),
        ("filter.provider", &filter.provider),
        ("filter.model", &filter.model),
        ("filter.session", &filter.session),
        ("filter.run", &filter.run),
        ("filter.pricing", &filter.pricing),
    ];
    for (field, text) in texts {
        if text.as_deref().is_some_and(|text| text.contains('\0')) {
            return Err(ApiError::invalid(field, "holds a NUL"));
        }
    }
    Ok(Selection {
        tenant: filter.tenant,
        unattributed: filter.unattributed,
        customer: filter.customer,
        project: filter.project,
        key_id: filter.key_id,
        upstream: filter.upstream,
        provider: filter.provider,
        model: filter.model,
        session: filter.session,
        run: filter.run,
        pricing: filter.pricing,
        from,
        to,
    })
}

fn set_of(set: SetAttribution) -> Result<Set, ApiError> {
    let tenant = |text: Option<String>| {
        text.map(|text| tenant_id("set.tenant_id", &text))
            .transpose()
    };
    let checked = |field: &'static str, text: Option<Option<String>>| {
        if let Some(Some(text)) = &text {
            id::check(text).map_err(|cause| ApiError::invalid(field, cause.to_string()))?;
        }
        Ok::<_, ApiError>(text)
    };
    let set = Set {
        tenant_id: set.tenant_id.map(tenant).transpose()?,
        customer_id: checked("set.customer_id", set.customer_id)?,
        project: checked("set.project", set.project)?,
    };
    if set.tenant_id.is_none() && set.customer_id.is_none() && set.project.is_none() {
        return Err(ApiError::invalid("set", "names nothing to set"));
    }
    Ok(set)
}

fn named(amount: Amount) -> Result<Named, ApiError> {
    let usd = |field: &'static str, text: Option<&str>| match text {
        None => Ok(Usd::ZERO),
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::invalid(field, "an exact decimal of at most 12 decimals")),
    };
    let meter = amount.meter.as_deref().unwrap_or(Meter::Requests.name());
    let named = Named {
        meter: meter
            .parse()
            .map_err(|_| ApiError::invalid("amount.meter", "not a known meter"))?,
        quantity: match amount.quantity.as_deref() {
            None => Decimal::ZERO,
            Some(text) => text
                .parse()
                .map_err(|_| ApiError::invalid("amount.quantity", "an exact decimal"))?,
        },
        cost_usd: usd("amount.cost_usd", amount.cost_usd.as_deref())?,
        billed_usd: usd("amount.billed_usd", amount.billed_usd.as_deref())?,
        reference: amount.reference,
    };
    if let Some(reference) = &named.reference {
        id::check(reference)
            .map_err(|cause| ApiError::invalid("amount.reference", cause.to_string()))?;
    }
    if named.quantity.is_zero() && named.cost_usd == Usd::ZERO && named.billed_usd == Usd::ZERO {
        return Err(ApiError::invalid("amount", "changes nothing"));
    }
    Ok(named)
}

/// Moving usage is a matter of the month it was used in; the others correct it afterwards.
pub(super) fn closed_months(asked: Option<&str>, kind: Kind) -> Result<ClosedMonths, ApiError> {
    match (asked, kind) {
        (Some("refuse"), _) | (None, Kind::Retag) => Ok(ClosedMonths::Refuse),
        (Some("next"), _) | (None, _) => Ok(ClosedMonths::UseNext),
        (Some(_), _) => Err(ApiError::invalid("closed_periods", "`refuse` or `next`")),
    }
}

pub(super) fn cursor(asked: Option<&str>) -> Result<Option<Uuid>, ApiError> {
    asked
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this route"))
}

/// Tells a null from what is not there.
fn given<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(reader).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let asked: Adjust = serde_json::from_str(body).unwrap();
        let refused = Asked::of(asked).err().expect("it should be refused");
        refused.field.unwrap_or_default()
    }

    #[test]
    fn each_kind_has_its_own_members() {
        let check = |body: &str, field: &str| assert_eq!(refused(body), field, "{body}");
        check(r#"{"kind":"undo","reason":"x"}"#, "kind");
        check(r#"{"kind":"reprice","reason":" "}"#, "reason");
        check(r#"{"kind":"retag","reason":"x"}"#, "set");
        check(r#"{"kind":"retag","reason":"x","set":{}}"#, "set");
        check(
            r#"{"kind":"reprice","reason":"x","set":{"project":"p"}}"#,
            "set",
        );
        check(r#"{"kind":"reread","reason":"x"}"#, "events");
        check(r#"{"kind":"manual","reason":"x"}"#, "amount");
        check(r#"{"kind":"manual","reason":"x","amount":{}}"#, "amount");
        check(
            r#"{"kind":"manual","reason":"x","amount":{"billed_usd":"-1"}}"#,
            "event_ids",
        );
        check(r#"{"kind":"reprice","reason":"x","limit":1001}"#, "limit");
        check(
            r#"{"kind":"reprice","reason":"x","closed_periods":"maybe"}"#,
            "closed_periods",
        );
    }

    #[test]
    fn null_takes_away_and_nothing_leaves() {
        let asked: Adjust = serde_json::from_str(
            r#"{"kind":"retag","reason":"x","set":{"tenant_id":null,"project":"p"}}"#,
        )
        .unwrap();
        let set = Asked::of(asked).ok().unwrap().set.unwrap();
        assert_eq!(set.tenant_id, Some(None));
        assert_eq!(set.customer_id, None);
        assert_eq!(set.project, Some(Some("p".to_owned())));
    }
}
