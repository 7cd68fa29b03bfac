//! What other prices would have made of what was really used: `diff` of two revisions, and `reprice`
//! against the ledger. Pages of events by cursor, so that a month of any size can be gone through.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use farebox_pricing::event::Pricing;
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::price::price_event;
use farebox_pricing::rate_card::diff::{Change, Stated, diff as changes_between};
use farebox_pricing::rate_card::selling::{ALL_PROVIDERS, RuleChange, SellingFile, diff_selling};
use farebox_pricing::rate_card::{CardSet, RateCard};
use farebox_pricing::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{read_card, start_of_revision, the_one, usable};
use crate::api::App;
use crate::api::operation::read;
use crate::api::page;
use crate::api::params::Content;
use crate::cards::Read;
use crate::error::{ApiError, ErrorBody};
use crate::records::prices;
use crate::reprice::{self, Delta, Overflow, Repriced, Side};
use crate::store::GenericClient;
use crate::store::adjustments::{Selection, Standing, selected};

/// Events of one request.
const EVENTS_MAX: u32 = 2_000;
/// The revision in force.
const ACTIVE: &str = "active";
/// The card that came with the program.
const BUILT_IN: &str = "built-in";

/// Which events, and what to price them by.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reprice {
    /// Started at or after, RFC 3339 or a day.
    from: Option<String>,
    /// Started before.
    to: Option<String>,
    /// Only this tenant's.
    tenant: Option<String>,
    /// Only this vendor's.
    provider: Option<String>,
    /// Only those that stand so: `priced`, `partial` or `unpriced`.
    pricing: Option<String>,
    /// Only those of this billed model.
    model: Option<String>,
    /// Revisions to price by in place of those in force; the vendor's other cards stay in force.
    #[serde(default)]
    revisions: Vec<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One event whose amounts would change.
#[derive(Serialize, ToSchema)]
pub(crate) struct RepricedEvent {
    /// The event.
    event_id: Uuid,
    /// Its tenant.
    tenant_id: Option<String>,
    /// The vendor.
    provider: String,
    /// The model.
    model: Option<String>,
    /// When it started.
    #[schema(value_type = String)]
    started_at: Timestamp,
    /// As it stands, adjustments included.
    old: Side,
    /// As it would.
    new: Side,
    /// What each meter would change by.
    deltas: Vec<Delta>,
}

/// Sums of what would change.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct RepricedSum {
    /// The tenant; null: unattributed.
    tenant_id: Option<String>,
    /// How many of its events would change.
    events: u64,
    /// What they cost now, as far as it is known.
    #[schema(value_type = String)]
    old_cost_usd: Usd,
    /// What they would cost.
    #[schema(value_type = String)]
    new_cost_usd: Usd,
    /// What is billed now.
    #[schema(value_type = String)]
    old_billed_usd: Usd,
    /// What would be billed.
    #[schema(value_type = String)]
    new_billed_usd: Usd,
}

/// A page of what would change. Nothing is booked.
#[derive(Serialize, ToSchema)]
pub(crate) struct RepricePage {
    /// Events whose amounts would change.
    items: Vec<RepricedEvent>,
    /// Their sums, by tenant.
    tenants: Vec<RepricedSum>,
    /// How many events this page looked at.
    looked_at: u64,
    /// Given as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Two revisions, and over which usage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Diff {
    /// `active`, `built-in`, a revision or its first characters, or a whole card.
    #[schema(value_type = Object)]
    before: Box<RawValue>,
    /// As `before`; one of the two says of which vendor.
    #[schema(value_type = Object)]
    after: Box<RawValue>,
    /// Events started at or after, RFC 3339 or a day; without `from` and `to` no event is looked at.
    from: Option<String>,
    /// Events started before.
    to: Option<String>,
    /// Only this tenant's events.
    tenant: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One price that is not as before.
#[derive(Serialize, ToSchema)]
pub(crate) struct PriceChange {
    /// The model.
    model: String,
    /// When the price starts; empty: since the model exists.
    from: String,
    /// The meter, `+` before it for an add-on, or `x` and the meters of a factor.
    of: String,
    /// When it holds.
    when: String,
    /// What it was, `{usd, per}`; null: it was not there.
    before: Option<StatedPrice>,
    /// What it is; null: it is gone.
    after: Option<StatedPrice>,
}

/// A selling rule, or an allowance, that is not as before.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedRule {
    /// `rule` or `allowance`.
    kind: &'static str,
    /// Its name.
    pub(super) rule: String,
    /// Its members as they were; null: it was not there.
    #[schema(value_type = Object)]
    pub(super) before: Option<Value>,
    /// Its members as they are; null: it is gone.
    #[schema(value_type = Object)]
    pub(super) after: Option<Value>,
}

/// A price for so many units.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatedPrice {
    /// US dollars, credits, or a factor.
    #[schema(value_type = String)]
    usd: Decimal,
    /// Units.
    #[schema(value_type = String)]
    per: Decimal,
}

/// What the usage of a model comes to by both.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct DiffSum {
    /// The vendor.
    provider: String,
    /// The model of the event.
    model: Option<String>,
    /// How many events were looked at.
    events: u64,
    /// What they cost by the first.
    #[schema(value_type = String)]
    cost_usd_before: Usd,
    /// What they cost by the second.
    #[schema(value_type = String)]
    cost_usd_after: Usd,
    /// What is billed by the first.
    #[schema(value_type = String)]
    billed_usd_before: Usd,
    /// What is billed by the second.
    #[schema(value_type = String)]
    billed_usd_after: Usd,
    /// Events that one of the two has no price for; they are in no sum.
    unpriced_events: u64,
}

/// A page of the comparison.
#[derive(Serialize, ToSchema)]
pub(crate) struct DiffPage {
    /// The vendor; `*` for selling rules.
    provider: String,
    /// The first revision.
    before: String,
    /// The second revision.
    after: String,
    /// Prices that differ.
    items: Vec<PriceChange>,
    /// Selling rules and allowances that differ.
    rules: Vec<ChangedRule>,
    /// What this page's events come to, by model.
    models: Vec<DiffSum>,
    /// Given as `cursor` for the next page of events; null on the last.
    next_cursor: Option<String>,
}

/// What events of the ledger would be charged by the prices in force, or by other revisions. A dry run.
#[utoipa::path(post, path = "/api/v1/prices/reprice", tag = "prices", security(("bearer" = [])),
    request_body = Reprice,
    responses((status = 200, description = "What would change.", body = RepricePage),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such revision.", body = ErrorBody)))]
pub(crate) async fn reprice(
    State(app): State<App>,
    Content(body): Content,
) -> Result<Json<RepricePage>, ApiError> {
    let asked: Reprice = read(&body)?;
    let client = app.client().await?;
    let cards = target(&app, &client, &asked.revisions).await?;
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let selection = Selection {
        from,
        to,
        tenant: asked.tenant,
        provider: asked.provider,
        model: asked.model,
        pricing: asked.pricing,
        ..Selection::default()
    };
    let after = after(asked.cursor.as_deref())?;
    let (events, next) = selected(&client, &selection, after, EVENTS_MAX).await?;
    let mut items = Vec::new();
    let mut sums: BTreeMap<Option<String>, RepricedSum> = BTreeMap::new();
    for standing in &events {
        let repriced = reprice::reprice(standing, &cards)?;
        if let Some(repriced) = repriced.filter(Repriced::is_different) {
            let tenant_id = standing
                .event
                .tenant_id
                .as_ref()
                .map(|id| id.as_str().to_owned());
            let sum = sums.entry(tenant_id.clone()).or_default();
            sum.tenant_id.clone_from(&tenant_id);
            sum.grow(&repriced)?;
            items.push(RepricedEvent {
                event_id: standing.event.event_id,
                tenant_id,
                provider: standing.event.provider.clone().into_owned(),
                model: standing.event.model.clone(),
                started_at: standing.event.started_at,
                old: repriced.old,
                new: repriced.new,
                deltas: repriced.deltas,
            });
        }
    }
    Ok(Json(RepricePage {
        items,
        tenants: sums.into_values().collect(),
        looked_at: events.len() as u64,
        next_cursor: next.map(cursor),
    }))
}

impl From<Overflow> for ApiError {
    fn from(_: Overflow) -> Self {
        Self::internal(&"a sum does not fit")
    }
}

/// The cards in force, with these in place of theirs.
pub(crate) async fn target(
    app: &App,
    client: &impl GenericClient,
    revisions: &[String],
) -> Result<CardSet, ApiError> {
    let mut cards = app.cards.in_force();
    for revision in revisions {
        let found = prices::find(client, &start_of_revision(revision)?).await?;
        let (_, canonical) = the_one(found)?;
        cards = usable(&canonical)?.in_force_in(&cards);
    }
    Ok(cards)
}

impl RepricedSum {
    fn grow(&mut self, repriced: &Repriced) -> Result<(), ApiError> {
        self.events += 1;
        let (old, new) = (&repriced.old, &repriced.new);
        add(&mut self.old_cost_usd, old.cost_usd)?;
        add(&mut self.new_cost_usd, new.cost_usd)?;
        add(&mut self.old_billed_usd, old.billed_usd)?;
        add(&mut self.new_billed_usd, new.billed_usd)
    }
}

fn add(sum: &mut Usd, by: Option<Usd>) -> Result<(), ApiError> {
    let grown = sum.checked_add(by.unwrap_or_default());
    *sum = grown.ok_or_else(|| ApiError::internal(&"a sum does not fit"))?;
    Ok(())
}

fn after(cursor: Option<&str>) -> Result<Option<Uuid>, ApiError> {
    page::cursor::<1>(cursor)?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))
}

fn cursor(last: Uuid) -> String {
    page::encode(&[last.to_string()])
}

/// What differs between two revisions, price by price, and in money over what was really used.
#[utoipa::path(post, path = "/api/v1/prices/diff", tag = "prices", security(("bearer" = [])),
    request_body = Diff,
    responses((status = 200, description = "The difference; sums are of this page's events.", body = DiffPage),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such revision.", body = ErrorBody)))]
pub(crate) async fn diff(
    State(app): State<App>,
    Content(body): Content,
) -> Result<Json<DiffPage>, ApiError> {
    let asked: Diff = read(&body)?;
    let (before, after_card) = both(&app, &asked).await?;
    let provider = before.provider().to_owned();
    let cards = app.cards.in_force();
    let sets = [&before, &after_card].map(|card| card.in_force_in(&cards));
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let selection = Selection {
        from,
        to,
        tenant: asked.tenant.clone(),
        provider: (provider != ALL_PROVIDERS).then(|| provider.clone()),
        ..Selection::default()
    };
    let after = after(asked.cursor.as_deref())?;
    let (events, next): (Vec<Standing>, _) = match (from, to) {
        (None, None) => (Vec::new(), None),
        _ => selected(&app.client().await?, &selection, after, EVENTS_MAX).await?,
    };
    let mut models: BTreeMap<(String, Option<String>), DiffSum> = BTreeMap::new();
    for Standing { event, pricing, .. } in &events {
        if matches!(pricing, Pricing::Repeat | Pricing::Free | Pricing::Unknown) {
            continue;
        }
        let key = (event.provider.clone().into_owned(), event.model.clone());
        let sum = models.entry(key).or_insert_with(|| DiffSum {
            provider: event.provider.clone().into_owned(),
            model: event.model.clone(),
            ..DiffSum::default()
        });
        sum.events += 1;
        let [was, is] = sets.each_ref().map(|set| price_event(event, set));
        if [&was, &is]
            .iter()
            .any(|priced| priced.pricing != Pricing::Priced)
        {
            sum.unpriced_events += 1;
            continue;
        }
        add(&mut sum.cost_usd_before, was.cost_usd)?;
        add(&mut sum.cost_usd_after, is.cost_usd)?;
        add(&mut sum.billed_usd_before, was.billed_usd)?;
        add(&mut sum.billed_usd_after, is.billed_usd)?;
    }
    Ok(Json(DiffPage {
        items: changes(&before, &after_card),
        rules: match (&before, &after_card) {
            (Read::Price(before), Read::Price(after)) => {
                rule_changes(Some(&before.file()), &after.file())
            }
            _ => Vec::new(),
        },
        provider,
        before: before.revision().to_owned(),
        after: after_card.revision().to_owned(),
        models: models.into_values().collect(),
        next_cursor: next.map(cursor),
    }))
}

/// What differs between selling rules; `None`: there were none before.
pub(super) fn rule_changes(before: Option<&SellingFile>, after: &SellingFile) -> Vec<ChangedRule> {
    let nothing = SellingFile {
        rules: Vec::new(),
        allowances: Vec::new(),
        ..after.clone()
    };
    let shown = |change: RuleChange| ChangedRule {
        kind: match change.is_allowance {
            true => "allowance",
            false => "rule",
        },
        rule: change.rule,
        before: change.before,
        after: change.after,
    };
    let changes = diff_selling(before.unwrap_or(&nothing), after);
    changes.into_iter().map(shown).collect()
}

fn changes(before: &Read, after: &Read) -> Vec<PriceChange> {
    let (Read::Cost(before), Read::Cost(after)) = (before, after) else {
        return Vec::new();
    };
    let stated = |stated: Option<Stated>| stated.map(|(usd, per)| StatedPrice { usd, per });
    let shown = |change: Change| PriceChange {
        model: change.model,
        from: change.from,
        of: change.of,
        when: change.when,
        before: stated(change.before),
        after: stated(change.after),
    };
    let changes = changes_between(&before.file(), &after.file());
    changes.into_iter().map(shown).collect()
}

/// Both cards. A word stands for the card of the vendor that the other one names.
async fn both(app: &App, asked: &Diff) -> Result<(Read, Read), ApiError> {
    let before = named(app, "before", &asked.before).await?;
    let after = named(app, "after", &asked.after).await?;
    let cards = app.cards.in_force();
    let (before, after) = match (before, after) {
        (Named::Card(before), Named::Card(after)) => (before, after),
        (Named::Card(card), Named::Word(word)) => {
            let other = by_word(&cards, word, card.provider())?;
            (card, other)
        }
        (Named::Word(word), Named::Card(card)) => (by_word(&cards, word, card.provider())?, card),
        (Named::Word(_), Named::Word(_)) => {
            return Err(ApiError::invalid(
                "after",
                "neither of the two says of which vendor",
            ));
        }
    };
    if before.provider() != after.provider() {
        return Err(ApiError::invalid(
            "after",
            "the two are of different vendors",
        ));
    }
    Ok((before, after))
}

enum Named {
    Card(Read),
    Word(&'static str),
}

async fn named(app: &App, field: &str, text: &RawValue) -> Result<Named, ApiError> {
    if !text.get().starts_with('"') {
        return read_card(text.get()).map(Named::Card);
    }
    let word: String = serde_json::from_str(text.get())
        .map_err(|cause| ApiError::invalid(field, cause.to_string()))?;
    for known in [ACTIVE, BUILT_IN] {
        if word == known {
            return Ok(Named::Word(known));
        }
    }
    let found = prices::find(&app.client().await?, &start_of_revision(&word)?).await?;
    usable(&the_one(found)?.1).map(Named::Card)
}

fn by_word(cards: &CardSet, word: &str, provider: &str) -> Result<Read, ApiError> {
    let set = if word == BUILT_IN {
        CardSet::built_in()
    } else {
        cards
    };
    let card = |card: &RateCard| set.shared_card(provider, card.revision());
    let found = match provider {
        ALL_PROVIDERS => set.shared_selling().map(Read::Price),
        provider => set.card(provider).and_then(card).map(Read::Cost),
    };
    found.ok_or_else(ApiError::not_found)
}
