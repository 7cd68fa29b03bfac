//! What a limit may say: every field on its own, then what fits together.

use farebox_pricing::id;
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{MODEL_BYTES_MAX, Meter};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::keys::one_of;
use crate::api::page;
use crate::error::ApiError;
use crate::records::limits::LimitTerms;

const WINDOWS: [&str; 7] = [
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "concurrent",
];
const ACTIONS: [&str; 2] = ["refuse", "warn"];
const BASES: [&str; 2] = ["billed", "cost"];
const FAILS: [&str; 2] = ["closed", "open"];
const DIMENSIONS: [&str; 8] = [
    "tenant", "customer", "project", "agent", "key", "provider", "upstream", "model",
];
/// Requests a window may allow at most; the proxies count rates in 32 bits.
const REQUESTS_MAX: i128 = u32::MAX as i128;
/// An amount has fewer digits before its point.
const AMOUNT_DIGITS_MAX: u32 = 18;
/// An amount has no more digits behind its point than money has.
const AMOUNT_SCALE_MAX: u8 = 12;

/// A limit to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLimit {
    /// The tenant it binds; every tenant, all together, when not given.
    #[serde(alias = "tenant")]
    tenant_id: Option<String>,
    /// The customer it binds; all when not given.
    #[serde(alias = "customer")]
    customer_id: Option<String>,
    /// The project it binds; all when not given.
    project: Option<String>,
    /// The agent it binds; all when not given.
    agent: Option<String>,
    /// The virtual key it binds; all when not given.
    #[serde(alias = "key")]
    key_id: Option<Uuid>,
    /// The vendor it binds; all when not given.
    provider: Option<String>,
    /// The upstream it binds; all when not given.
    upstream: Option<String>,
    /// The model it binds: its name, which stands for its dated ones too, or a pattern with `*`; all
    /// when not given.
    model: Option<String>,
    /// Dimensions each value of which has the amount for itself: `tenant`, `customer`, `project`,
    /// `agent`, `key`, `provider`, `upstream`, `model`.
    #[serde(default)]
    per: Vec<String>,
    /// `requests`, `concurrency`, `tokens`, `usd`, or a meter: `audio_seconds`, `characters`, ….
    meter: String,
    /// How much a window allows: a decimal from 0, best as a string; whole for requests and
    /// concurrency.
    #[schema(value_type = String)]
    amount: Value,
    /// `second` (requests only), `minute`, `hour`, `day`, `week`, `month`; for concurrency
    /// `concurrent`, which may be left out.
    #[serde(alias = "window")]
    window_kind: Option<String>,
    /// For `usd`: `billed` (what the tenant owes) or `cost` (what the provider charges the operator).
    /// When not given `billed`, and `cost` for a limit of every tenant or of a provider.
    basis: Option<String>,
    /// `refuse` (when not given) or `warn`.
    action: Option<String>,
    /// What holds while it cannot be checked: `closed` (when not given) or `open`.
    fail: Option<String>,
    /// Counted and reported, never enforced.
    #[serde(default)]
    dry_run: bool,
    /// When it stops to hold; never when not given.
    expires_at: Option<String>,
}

impl SetLimit {
    /// The terms, when they can be kept.
    pub(crate) fn checked(self) -> Result<LimitTerms, ApiError> {
        for (name, value) in [
            ("tenant_id", &self.tenant_id),
            ("customer_id", &self.customer_id),
            ("project", &self.project),
            ("agent", &self.agent),
            ("provider", &self.provider),
            ("upstream", &self.upstream),
        ] {
            if let Some(value) = value {
                id::check(value).map_err(|cause| ApiError::invalid(name, cause.to_string()))?;
            }
        }
        if let Some(model) = &self.model
            && (model.is_empty() || model.len() > MODEL_BYTES_MAX || model.contains('\0'))
        {
            return Err(ApiError::invalid("model", "a name of 1 to 256 bytes"));
        }
        let mut per = self.per;
        for dimension in &per {
            one_of("per", dimension, &DIMENSIONS)?;
        }
        per.sort_by_key(|name| DIMENSIONS.iter().position(|own| own == name));
        per.dedup();
        let window_kind = window_of(&self.meter, self.window_kind)?;
        let action = self.action.unwrap_or_else(|| "refuse".to_owned());
        one_of("action", &action, &ACTIONS)?;
        let fail = self.fail.unwrap_or_else(|| "closed".to_owned());
        one_of("fail", &fail, &FAILS)?;
        let basis = match self.basis {
            Some(basis) => basis,
            None if self.meter != "usd" => "billed".to_owned(),
            None if self.tenant_id.is_none() || self.provider.is_some() => "cost".to_owned(),
            None => "billed".to_owned(),
        };
        one_of("basis", &basis, &BASES)?;
        if self.meter != "usd" && basis != "billed" {
            return Err(ApiError::invalid("basis", "only money has one"));
        }
        let amount = amount_of(&self.meter, &self.amount)?;
        let expires_at = page::time("expires_at", self.expires_at.as_deref())?;
        Ok(LimitTerms {
            tenant_id: self.tenant_id,
            customer_id: self.customer_id,
            project: self.project,
            agent: self.agent,
            key_id: self.key_id,
            provider: self.provider,
            upstream: self.upstream,
            model: self.model,
            per,
            meter: self.meter,
            amount,
            window_kind,
            basis,
            action,
            fail,
            dry_run: self.dry_run,
            expires_at: expires_at.map(|at| at.to_string()),
        })
    }
}

/// The window, which fits what is counted.
fn window_of(meter: &str, asked: Option<String>) -> Result<String, ApiError> {
    let is_named = matches!(meter, "requests" | "concurrency" | "tokens" | "usd");
    if !is_named && meter.parse::<Meter>().is_err() {
        return Err(ApiError::invalid(
            "meter",
            "requests, concurrency, tokens, usd or a meter",
        ));
    }
    let window = match asked {
        Some(window) => window,
        None if meter == "concurrency" => "concurrent".to_owned(),
        None => return Err(ApiError::invalid("window_kind", "needed")),
    };
    one_of("window_kind", &window, &WINDOWS)?;
    if (meter == "concurrency") != (window == "concurrent") {
        return Err(ApiError::invalid(
            "window_kind",
            "concurrency is counted in `concurrent`, and nothing else is",
        ));
    }
    if window == "second" && meter != "requests" {
        return Err(ApiError::invalid("window_kind", "a second is for requests"));
    }
    Ok(window)
}

fn amount_of(meter: &str, asked: &Value) -> Result<String, ApiError> {
    let amount = match asked {
        Value::String(text) => text.parse::<Decimal>().ok(),
        // Numbers keep their text, so nothing is rounded on the way.
        Value::Number(number) => number.as_str().parse::<Decimal>().ok(),
        _ => None,
    };
    let amount = amount
        .filter(|amount| !amount.is_negative() && amount.scale() <= AMOUNT_SCALE_MAX)
        .filter(|amount| {
            let whole = amount.mantissa() / 10i128.pow(u32::from(amount.scale()));
            whole < 10i128.pow(AMOUNT_DIGITS_MAX)
        })
        .ok_or_else(|| {
            ApiError::invalid(
                "amount",
                "a decimal from 0, with at most 18 digits before and 12 behind the point",
            )
        })?;
    let is_counted = matches!(meter, "requests" | "concurrency");
    if is_counted && (amount.scale() > 0 || amount.mantissa() > REQUESTS_MAX) {
        return Err(ApiError::invalid(
            "amount",
            "a whole number between 0 and 4294967295",
        ));
    }
    Ok(amount.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operation::read;

    fn checked(body: &str) -> Result<LimitTerms, String> {
        let asked: SetLimit = read(body.as_bytes()).map_err(|error| error.code.to_owned())?;
        asked
            .checked()
            .map_err(|error| error.field.unwrap_or_default())
    }

    #[test]
    fn an_amount_is_a_decimal_in_a_string_or_a_number_and_whole_for_calls() {
        let amount = |meter: &str, amount: &str| {
            let body = format!(r#"{{"meter":"{meter}","window":"day","amount":{amount}}}"#);
            checked(&body).map(|terms| terms.amount)
        };
        assert_eq!(amount("requests", "\"60\""), Ok("60".into()));
        assert_eq!(amount("requests", "6e1"), Ok("60".into()));
        assert_eq!(
            amount("usd", "\"0.000000000001\""),
            Ok("0.000000000001".into())
        );
        assert_eq!(amount("requests", "0"), Ok("0".into()));
        for (meter, wrong) in [
            ("requests", "\"-1\""),
            ("requests", "1.5"),
            ("requests", "4294967296"),
            ("usd", "true"),
            ("usd", "\"\""),
            ("usd", "1e-13"),
            ("usd", "1e18"),
        ] {
            assert_eq!(amount(meter, wrong), Err("amount".into()), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let check = |body: &str, field: &str| {
            assert_eq!(checked(body).err().as_deref(), Some(field), "{body}");
        };
        check(r#"{"meter":"cost","window":"day","amount":"1"}"#, "meter");
        check(r#"{"meter":"requests","amount":"1"}"#, "window_kind");
        check(
            r#"{"meter":"tokens","window":"second","amount":"1"}"#,
            "window_kind",
        );
        check(
            r#"{"meter":"concurrency","window":"day","amount":"1"}"#,
            "window_kind",
        );
        check(
            r#"{"meter":"usd","window":"concurrent","amount":"1"}"#,
            "window_kind",
        );
        check(
            r#"{"meter":"tokens","basis":"cost","window":"day","amount":"1"}"#,
            "basis",
        );
        check(
            r#"{"meter":"requests","window":"day","amount":"1","per":["region"]}"#,
            "per",
        );
        check(
            r#"{"meter":"requests","window":"day","amount":"1","action":"cut"}"#,
            "action",
        );
        check(
            r#"{"meter":"requests","window":"day","amount":"1","colour":"x"}"#,
            "malformed_request",
        );
    }

    #[test]
    fn money_is_on_cost_where_it_is_the_operators() {
        let basis = |rest: &str| {
            let body = format!(r#"{{"meter":"usd","window":"day","amount":"1"{rest}}}"#);
            checked(&body).map(|terms| terms.basis)
        };
        assert_eq!(basis(""), Ok("cost".into()));
        assert_eq!(basis(r#","tenant":"acme""#), Ok("billed".into()));
        assert_eq!(
            basis(r#","tenant":"acme","provider":"openai""#),
            Ok("cost".into())
        );
        assert_eq!(basis(r#","basis":"billed""#), Ok("billed".into()));
        let concurrent = checked(r#"{"meter":"concurrency","amount":"5"}"#).unwrap();
        assert_eq!(concurrent.window_kind, "concurrent");
    }
}
