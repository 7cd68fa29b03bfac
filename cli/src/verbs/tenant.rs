//! `farebox tenant`.

pub(crate) mod login;

use serde_json::{Map, Value, json};

use super::{Column, ITEMS_MAX, cell, print_item, print_items, print_json};
use crate::api::{Api, path_segment};
use crate::args::{Reach, TenantFields, TenantVerb};
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::table::Align::{Left, Right};

const COLUMNS: [Column; 9] = [
    ("TENANT", Left, "tenant_id"),
    ("NAME", Left, "name"),
    ("STATUS", Left, "status"),
    ("SESSIONS", Right, "session_count"),
    ("CALLS", Right, "request_count"),
    ("COST USD", Right, "total_cost_usd"),
    ("BILLED USD", Right, "total_billed_usd"),
    ("FIRST SEEN", Left, "first_seen"),
    ("LAST SEEN", Left, "last_seen"),
];

pub(crate) fn run(verb: &TenantVerb) -> Outcome {
    match verb {
        TenantVerb::List(reach) => {
            list(reach)?;
        }
        TenantVerb::Show { tenant, reach } => {
            let path = format!("/api/v1/tenants/{}", path_segment(tenant));
            print_item(&Api::reach(reach)?.get(&path, &[])?, reach);
        }
        TenantVerb::Create {
            tenant,
            fields,
            reach,
        } => {
            let mut body = body(fields)?;
            body.insert("tenant_id".to_owned(), json!(tenant));
            let made = Api::reach(reach)?.post("/api/v1/tenants", &Value::Object(body))?;
            print_item(&made, reach);
        }
        TenantVerb::Set {
            tenant,
            fields,
            reach,
        } => {
            let body = body(fields)?;
            if body.is_empty() {
                return Err(Failure::Usage(
                    "nothing to set: give --name, --plan, --time-zone or --setting".to_owned(),
                ));
            }
            let path = format!("/api/v1/tenants/{}", path_segment(tenant));
            print_item(
                &Api::reach(reach)?.patch(&path, &Value::Object(body))?,
                reach,
            );
        }
        TenantVerb::Suspend {
            tenant,
            reason,
            reach,
        } => set_status(tenant, "suspended", reason.as_deref(), reach)?,
        TenantVerb::Resume { tenant, reach } => set_status(tenant, "active", None, reach)?,
        TenantVerb::Archive {
            tenant,
            reason,
            reach,
        } => set_status(tenant, "archived", reason.as_deref(), reach)?,
        TenantVerb::Login(verb) => login::run(verb)?,
    }
    Ok(())
}

/// All tenants and, beside them, what is nobody's.
fn list(reach: &Reach) -> Outcome {
    let api = Api::reach(reach)?;
    let items = api.list("/api/v1/tenants", &[], ITEMS_MAX)?;
    let page = api.get("/api/v1/tenants", &[("limit", "1")])?;
    let unattributed = page.get("unattributed").unwrap_or(&Value::Null);
    if reach.json {
        print_json(&json!({
            "items": items, "next_cursor": null, "unattributed": unattributed,
        }));
        return Ok(());
    }
    print_items(&items, &COLUMNS, reach, "There is no tenant yet.");
    let calls = unattributed.get("request_count").and_then(Value::as_u64);
    if !reach.csv && calls.is_some_and(|calls| calls > 0) {
        say(&format!("Unattributed: {}", cell(Some(unattributed))));
    }
    Ok(())
}

fn set_status(tenant: &str, status: &str, reason: Option<&str>, reach: &Reach) -> Outcome {
    let path = format!("/api/v1/tenants/{}", path_segment(tenant));
    let mut body = json!({ "status": status });
    if let Some(reason) = reason {
        body["status_reason"] = json!(reason);
    }
    let changed = Api::reach(reach)?.patch(&path, &body)?;
    print_item(&changed, reach);
    Ok(())
}

fn body(fields: &TenantFields) -> Outcome<Map<String, Value>> {
    let mut body = Map::new();
    if let Some(name) = &fields.name {
        body.insert("name".to_owned(), json!(name));
    }
    if let Some(plan) = &fields.plan {
        body.insert("plan".to_owned(), json!(plan));
    }
    if let Some(zone) = &fields.time_zone {
        body.insert("time_zone".to_owned(), json!(zone));
    }
    let mut settings = Map::new();
    for setting in &fields.settings {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--setting {setting}: write NAME=VALUE")))?;
        // `true`, `3`, `["a"]` and `null` are meant as such; anything else is a text.
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        settings.insert(name.to_owned(), value);
    }
    if !settings.is_empty() {
        body.insert("settings".to_owned(), Value::Object(settings));
    }
    Ok(body)
}
