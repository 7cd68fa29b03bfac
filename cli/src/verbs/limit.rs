//! `farebox limit`.

use serde_json::json;

use super::{Column, ITEMS_MAX, print_item, print_items};
use crate::api::Api;
use crate::args::{Action, LimitVerb, Window};
use crate::failure::Outcome;
use crate::table::Align::{Left, Right};

const COLUMNS: [Column; 7] = [
    ("LIMIT", Left, "limit_id"),
    ("TENANT", Left, "tenant_id"),
    ("METER", Left, "meter"),
    ("AMOUNT", Right, "amount"),
    ("WINDOW", Left, "window_kind"),
    ("ACTION", Left, "action"),
    ("DRY RUN", Left, "dry_run"),
];

pub(crate) fn run(verb: &LimitVerb) -> Outcome {
    match verb {
        LimitVerb::Set {
            tenant,
            meter,
            amount,
            window,
            action,
            dry_run,
            reach,
        } => {
            let body = json!({
                "tenant_id": tenant,
                "meter": meter,
                "amount": amount,
                "window_kind": match window {
                    Window::Second => "second",
                    Window::Minute => "minute",
                    Window::Hour => "hour",
                    Window::Day => "day",
                },
                "action": match action {
                    Action::Refuse => "refuse",
                    Action::Warn => "warn",
                },
                "dry_run": dry_run,
            });
            print_item(&Api::reach(reach)?.post("/api/v1/limits", &body)?, reach);
        }
        LimitVerb::List { tenant, reach } => {
            let query: Vec<(&str, &str)> = tenant
                .iter()
                .map(|tenant| ("tenant", tenant.as_str()))
                .collect();
            let items = Api::reach(reach)?.list("/api/v1/limits", &query, ITEMS_MAX)?;
            print_items(&items, &COLUMNS, reach, "There is no limit.");
        }
        LimitVerb::Remove { limit_id, reach } => {
            let path = format!("/api/v1/limits/{limit_id}");
            print_item(&Api::reach(reach)?.delete(&path)?, reach);
        }
    }
    Ok(())
}
