//! What something would cost, and what has no price.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use farebox_pricing::event::{Charge, PaidBy, Pricing, RateCards};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::price::{Priced, check_quantities, price};
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::rate_card::selling::Buyer;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::api::operation::read;
use crate::api::page;
use crate::api::params::{Content, Params};
use crate::api::{App, keys::one_of};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::prices::{self, Gap, GapFilter};
use crate::records::tenants;

/// A call to price.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quoted {
    /// The vendor.
    provider: String,
    /// The model.
    model: String,
    /// Quantities by meter.
    #[schema(value_type = Object)]
    usage: Map<String, Value>,
    /// When the call starts, RFC 3339; now when not given.
    at: Option<String>,
    /// What else the price depends on, by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    conditions: Map<String, Value>,
    /// Who is charged; a tenant's key asks for its own tenant.
    tenant: Option<String>,
    /// The plan; the tenant's own when not given.
    plan: Option<String>,
    /// Who the provider bills: `operator` (when not given), `tenant` or `caller`.
    paid_by: Option<String>,
}

/// What it would cost. The cost half is null for a tenant where the operator pays.
#[derive(Serialize, ToSchema)]
pub(crate) struct Quote {
    /// What the provider charges; null: a price is missing.
    #[schema(value_type = Option<String>)]
    cost_usd: Option<Usd>,
    /// What the operator charges; null: unpriced.
    #[schema(value_type = Option<String>)]
    billed_usd: Option<Usd>,
    /// `priced`, `partial`, `unpriced` or `unknown`.
    #[schema(value_type = String)]
    pricing: Pricing,
    /// The revisions in force then: `{cost, price}`.
    #[schema(value_type = Option<Object>)]
    rate_cards: Option<RateCards>,
    /// One for each quantity.
    #[schema(value_type = Vec<Object>)]
    charges: Vec<Charge>,
}

/// Which gaps.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Gaps {
    /// Only this tenant's events.
    tenant: Option<String>,
    /// Only this vendor's.
    provider: Option<String>,
    /// Started at or after, RFC 3339 or a day.
    from: Option<String>,
    /// Started before.
    to: Option<String>,
    /// Items, 1 to 1000; 100 when not given.
    limit: Option<u32>,
}

/// What has no price.
#[derive(Serialize, ToSchema)]
pub(crate) struct GapList {
    /// The most events first.
    items: Vec<Gap>,
    /// Always null: the list is cut at `limit`.
    next_cursor: Option<String>,
}

/// What quantities would cost by the cards and selling rules in force.
#[utoipa::path(post, path = "/api/v1/prices/quote", tag = "prices", security(("bearer" = [])),
    request_body = Quoted,
    responses((status = 200, description = "What it would cost.", body = Quote),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn quote(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Content(body): Content,
) -> Result<Json<Quote>, ApiError> {
    let asked: Quoted = read(&body)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let line = line(&asked)?;
    let at = page::time("at", asked.at.as_deref())?.unwrap_or_else(crate::ingest::now);
    let paid_by = payer(asked.paid_by.as_deref())?;
    let plan = match (&asked.plan, tenant) {
        // A tenant is told what it would pay, not what others do.
        (Some(plan), _) if !principal.is_tenant() => Some(plan.clone()),
        (_, Some(tenant)) => tenants::plan(&app.client().await?, tenant).await?,
        _ => None,
    };
    let buyer = Buyer {
        tenant,
        plan: plan.as_deref(),
        paid_by,
    };
    let priced = quoted(&app.cards.in_force(), &asked.provider, line, buyer, at);
    let shows_cost = !principal.is_tenant() || paid_by != PaidBy::Operator;
    Ok(Json(shown(priced, shows_cost)))
}

fn quoted(cards: &CardSet, provider: &str, line: Line, buyer: Buyer<'_>, at: Timestamp) -> Priced {
    price(provider, &[line], cards, buyer, at)
}

fn shown(mut priced: Priced, shows_cost: bool) -> Quote {
    if !shows_cost {
        for charge in &mut priced.charges {
            charge.cost_rate = None;
            charge.cost_usd = None;
            charge.cost_rule = None;
        }
    }
    Quote {
        cost_usd: priced.cost_usd.filter(|_| shows_cost),
        billed_usd: priced.billed_usd,
        pricing: priced.pricing,
        rate_cards: shows_cost.then_some(priced.rate_cards),
        charges: priced.charges,
    }
}

fn payer(asked: Option<&str>) -> Result<PaidBy, ApiError> {
    let asked = asked.unwrap_or(PaidBy::Operator.name());
    one_of("paid_by", asked, &["operator", "tenant", "caller"])?;
    let payer = PaidBy::ALL.iter().find(|paid_by| paid_by.name() == asked);
    Ok(*payer.unwrap_or(&PaidBy::Operator))
}

fn line(asked: &Quoted) -> Result<Line, ApiError> {
    let mut usage = Usage::new();
    for (name, quantity) in &asked.usage {
        let field = format!("usage.{name}");
        let meter: Meter = name
            .parse()
            .map_err(|_| ApiError::invalid(&field, "not a known meter"))?;
        let text = match quantity {
            Value::String(text) => text.as_str(),
            // Numbers keep their text, so nothing is rounded on the way.
            Value::Number(number) => number.as_str(),
            _ => return Err(ApiError::invalid(&field, "not a quantity")),
        };
        let quantity: Decimal = text
            .parse()
            .map_err(|cause| ApiError::invalid(&field, format!("{cause}")))?;
        usage.set(meter, quantity);
    }
    let mut conditions = Conditions::new();
    for (name, value) in &asked.conditions {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            _ => {
                return Err(ApiError::invalid(
                    &format!("conditions.{name}"),
                    "not a string",
                ));
            }
        };
        conditions.insert(name.clone(), text);
    }
    let line = Line {
        model: asked.model.clone(),
        conditions,
        usage,
    };
    check_quantities(std::slice::from_ref(&line)).map_err(|refused| {
        let mut error = ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_value",
            refused.to_string(),
        );
        error.field = Some("usage".to_owned());
        error
    })?;
    Ok(line)
}

/// Models and meters that events could not be priced for, by volume.
#[utoipa::path(get, path = "/api/v1/prices/gaps", tag = "prices", security(("bearer" = [])),
    params(Gaps),
    responses((status = 200, description = "The gaps, the most events first.", body = GapList)))]
pub(crate) async fn gaps(
    State(app): State<App>,
    Params(asked): Params<Gaps>,
) -> Result<Json<GapList>, ApiError> {
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    let (from, to) = (from.map(|at| at.to_string()), to.map(|at| at.to_string()));
    let filter = GapFilter {
        tenant: asked.tenant.as_deref(),
        provider: asked.provider.as_deref(),
        from: from.as_deref(),
        to: to.as_deref(),
        limit: page::limit(asked.limit)?,
    };
    let mut items = prices::gaps(&app.client().await?, &filter).await?;
    let cards = app.cards.in_force();
    for gap in &mut items {
        gap.is_priced_now = is_priced_now(gap, &cards);
    }
    Ok(Json(GapList {
        items,
        next_cursor: None,
    }))
}

/// Whether a unit of the meter has a price by now, with the conditions that were said.
fn is_priced_now(gap: &Gap, cards: &CardSet) -> bool {
    let Ok(meter) = gap.meter.parse::<Meter>() else {
        return false;
    };
    let said: Map<String, Value> = serde_json::from_str(gap.conditions.get()).unwrap_or_default();
    said.keys().all(|conditions| {
        let mut line = Line {
            model: gap.model.clone(),
            conditions: serde_json::from_str(conditions).unwrap_or_default(),
            usage: Usage::new(),
        };
        line.usage.set(meter, 1);
        let now = crate::ingest::now();
        let priced = quoted(cards, &gap.provider, line, PaidBy::Operator.into(), now);
        match gap.missing.as_str() {
            "cost" => priced.cost_usd.is_some(),
            _ => priced.pricing == Pricing::Priced,
        }
    })
}
