//! `farebox ingest-token`: what proxies ship with.

use serde_json::{Value, json};

use super::{Column, ITEMS_MAX, hand_over, print_item, print_items, refuse_existing};
use crate::api::Api;
use crate::args::IngestTokenVerb;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::Left;

const COLUMNS: [Column; 4] = [
    ("TOKEN", Left, "token_id"),
    ("NAME", Left, "name"),
    ("CREATED", Left, "created_at"),
    ("REVOKED", Left, "revoked_at"),
];

pub(crate) fn run(verb: &IngestTokenVerb) -> Outcome {
    match verb {
        IngestTokenVerb::Issue {
            name,
            out,
            reveal: _,
            reach,
        } => {
            refuse_existing(out.as_deref())?;
            let secret = issue(&Api::reach(reach)?, name)?;
            hand_over(&secret, out.as_deref())?;
            if let Some(path) = out {
                say(&format!(
                    "the token is in {}; it is shown nowhere again",
                    path.display()
                ));
            }
        }
        IngestTokenVerb::List(reach) => {
            let items = Api::reach(reach)?.list("/api/v1/ingest-tokens", &[], ITEMS_MAX)?;
            print_items(&items, &COLUMNS, reach, "There is no token yet.");
        }
        IngestTokenVerb::Revoke { token_id, reach } => {
            let path = format!("/api/v1/ingest-tokens/{token_id}");
            print_item(&Api::reach(reach)?.delete(&path)?, reach);
        }
    }
    Ok(())
}

/// A new token's secret.
pub(crate) fn issue(api: &Api, name: &str) -> Outcome<String> {
    let answer = api.post("/api/v1/ingest-tokens", &json!({ "name": name }))?;
    answer
        .get("secret")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Failure::missing("/api/v1/ingest-tokens", "the answer holds no token"))
}
