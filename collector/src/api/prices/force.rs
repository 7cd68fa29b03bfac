//! Loading a revision and putting one in force, as parts of a larger transaction.

use farebox_pricing::rate_card::selling::ALL_PROVIDERS;
use serde_json::{Map, Value, json};

use super::{Activated, read_card, the_one, usable};
use crate::api::Shared;
use crate::api::operation::Operation;
use crate::cards::Read;
use crate::error::ApiError;
use crate::records::audit::Change;
use crate::records::prices::{self, PriceRevision};

/// Refused where prices come in signed bundles only.
pub(super) fn check_unsigned(app: &Shared) -> Result<(), ApiError> {
    match app.price_keys.is_empty() {
        true => Ok(()),
        false => Err(ApiError::conflict(
            "unsigned_prices",
            "this collector takes prices in signed bundles only; see `farebox price bundle`",
        )),
    }
}

/// Keeps a card by its revision; whether it is new here.
pub(super) async fn load(
    operation: &Operation<'_>,
    card: &Read,
) -> Result<(bool, PriceRevision), ApiError> {
    let is_new = prices::load(&operation.transaction, card).await?;
    let found = prices::find(&operation.transaction, card.revision()).await?;
    let (loaded, _) = found.into_iter().next().ok_or_else(ApiError::not_found)?;
    if is_new {
        operation
            .record(&Change {
                action: "price.load",
                tenant_id: None,
                entity_kind: "rate_card",
                entity_id: card.revision(),
                before: Value::Null,
                after: json!({"provider": card.provider(), "kind": card.kind()}),
                reason: None,
            })
            .await?;
    }
    Ok((is_new, loaded))
}

/// Puts the loaded revision in force that begins so.
pub(super) async fn activate(
    operation: &Operation<'_>,
    start: &str,
    reason: Option<&str>,
) -> Result<Activated, ApiError> {
    let (wanted, canonical) = the_one(prices::find(&operation.transaction, start).await?)?;
    let pins = usable(&canonical)?.pins();
    let names: Vec<&str> = pins.iter().map(String::as_str).collect();
    let there = prices::texts(&operation.transaction, &names).await?;
    let missing = pins
        .iter()
        .find(|pin| !there.iter().any(|(revision, _)| revision == *pin));
    if let Some(missing) = missing {
        let message = format!("it falls back on revision {missing}, which is not loaded");
        return Err(ApiError::conflict("missing_revision", message));
    }
    let before = prices::lock_active(&operation.transaction, &wanted.provider).await?;
    if before.as_ref() != Some(&wanted.revision) {
        let actor = operation.actor();
        prices::activate(&operation.transaction, &wanted.revision, actor).await?;
        operation
            .record(&Change {
                action: "price.activate",
                tenant_id: None,
                entity_kind: "rate_card",
                entity_id: &wanted.provider,
                before: json!({"revision": before}),
                after: json!({"revision": wanted.revision}),
                reason,
            })
            .await?;
    }
    let found = prices::find(&operation.transaction, &wanted.revision).await?;
    let (revision, _) = the_one(found)?;
    Ok(Activated { revision, before })
}

/// Has this collector quote by what is in force now; the others have it within a second.
pub(crate) async fn refresh(app: &Shared) {
    if let Err(cause) = app.cards.refresh(&app.store).await {
        tracing::warn!(%cause, "rate cards are read again in a second");
    }
}

/// Puts selling rules in force that a document declares: all of the deployment's, as its `rules` and
/// `allowances`. What it says before and after, a member for each rule; of those that stay none.
pub(crate) async fn declare(
    app: &Shared,
    operation: &Operation<'_>,
    mut declared: Map<String, Value>,
) -> Result<(Value, Value), ApiError> {
    check_unsigned(app)?;
    declared.entry("schema").or_insert_with(|| json!(1));
    declared.entry("kind").or_insert_with(|| json!("price"));
    let Read::Price(rules) = read_card(&Value::Object(declared).to_string())? else {
        return Err(ApiError::invalid("kind", "`price`: selling rules"));
    };
    let transaction = &operation.transaction;
    let before = prices::lock_active(transaction, ALL_PROVIDERS).await?;
    if before.as_deref() == Some(rules.revision()) {
        return Ok((Value::Null, Value::Null));
    }
    let was = match &before {
        Some(before) => {
            let texts = prices::texts(transaction, &[before]).await?;
            texts.into_iter().next().map(|(_, text)| text)
        }
        None => None,
    };
    let was = match was.as_deref().map(usable) {
        Some(Ok(Read::Price(was))) => Some(was.file()),
        _ => None,
    };
    let revision = rules.revision().to_owned();
    let changes = super::compare::rule_changes(was.as_ref(), &rules.file());
    load(operation, &Read::Price(rules)).await?;
    activate(operation, &revision, Some("declared by a document")).await?;
    let mut shown = (Map::new(), Map::new());
    for change in changes {
        shown.0.insert(change.rule.clone(), json!(change.before));
        shown.1.insert(change.rule, json!(change.after));
    }
    shown.1.insert("revision".to_owned(), json!(revision));
    let before = match before {
        Some(before) => {
            shown.0.insert("revision".to_owned(), json!(before));
            Value::Object(shown.0)
        }
        None => Value::Null,
    };
    Ok((before, Value::Object(shown.1)))
}
