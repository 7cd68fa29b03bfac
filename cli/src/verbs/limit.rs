//! `farebox limit`.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Column, ITEMS_MAX, print_item, print_items};
use crate::api::Api;
use crate::args::limit::{LimitArgs, LimitVerb, word};
use crate::failure::Outcome;
use crate::table::Align::{Left, Right};

const COLUMNS: [Column; 16] = [
    ("LIMIT", Left, "limit_id"),
    ("TENANT", Left, "tenant_id"),
    ("CUSTOMER", Left, "customer_id"),
    ("PROJECT", Left, "project"),
    ("AGENT", Left, "agent"),
    ("KEY", Left, "key_id"),
    ("PROVIDER", Left, "provider"),
    ("UPSTREAM", Left, "upstream"),
    ("MODEL", Left, "model"),
    ("PER", Left, "per"),
    ("METER", Left, "meter"),
    ("AMOUNT", Right, "amount"),
    ("WINDOW", Left, "window_kind"),
    ("ACTION", Left, "action"),
    ("FAIL", Left, "fail"),
    ("DRY RUN", Left, "dry_run"),
];
const STATUS: [Column; 12] = [
    ("LIMIT", Left, "limit_id"),
    ("TENANT", Left, "tenant_id"),
    ("OF", Left, "scope_values"),
    ("METER", Left, "meter"),
    ("WINDOW", Left, "window_kind"),
    ("USED", Right, "used"),
    ("RESERVED", Right, "reserved"),
    ("REMAINING", Right, "remaining"),
    ("AMOUNT", Right, "amount"),
    ("%", Right, "percent"),
    ("WOULD REFUSE", Right, "would_refuse"),
    ("RESETS", Left, "resets_at"),
];
const EVENTS: [Column; 8] = [
    ("TRIGGERED", Left, "triggered_at"),
    ("KIND", Left, "kind"),
    ("LIMIT", Left, "limit_id"),
    ("TENANT", Left, "tenant_id"),
    ("METER", Left, "meter"),
    ("USED", Right, "used"),
    ("AMOUNT", Right, "amount"),
    ("EXPIRES", Left, "expires_at"),
];

pub(crate) fn run(verb: &LimitVerb) -> Outcome {
    match verb {
        LimitVerb::Set(args) => {
            let set = Api::reach(&args.reach)?.post("/api/v1/limits", &body(args))?;
            print_item(&set, &args.reach);
        }
        LimitVerb::List { tenant, reach } => {
            let query = query(tenant.as_deref(), None);
            let items = Api::reach(reach)?.list("/api/v1/limits", &pairs(&query), ITEMS_MAX)?;
            print_items(&items, &COLUMNS, reach, "There is no limit.");
        }
        LimitVerb::Status { of, reach } => {
            let query = query(of.tenant.as_deref(), of.limit);
            let path = "/api/v1/limits/status";
            let items = Api::reach(reach)?.list(path, &pairs(&query), ITEMS_MAX)?;
            print_items(&items, &STATUS, reach, "There is no limit that holds.");
        }
        LimitVerb::Events { of, reach } => {
            let query = query(of.tenant.as_deref(), of.limit);
            let path = "/api/v1/limits/events";
            let items = Api::reach(reach)?.list(path, &pairs(&query), ITEMS_MAX)?;
            print_items(&items, &EVENTS, reach, "No limit was reached.");
        }
        LimitVerb::Remove { limit_id, reach } => {
            let path = format!("/api/v1/limits/{limit_id}");
            print_item(&Api::reach(reach)?.delete(&path)?, reach);
        }
    }
    Ok(())
}

fn query(tenant: Option<&str>, limit_id: Option<Uuid>) -> Vec<(&'static str, String)> {
    let tenant = tenant.map(|tenant| ("tenant", tenant.to_owned()));
    let limit_id = limit_id.map(|limit_id| ("limit_id", limit_id.to_string()));
    tenant.into_iter().chain(limit_id).collect()
}

fn pairs<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

fn body(args: &LimitArgs) -> Value {
    json!({
        "tenant_id": args.tenant,
        "customer_id": args.customer,
        "project": args.project,
        "agent": args.agent,
        "key_id": args.key,
        "provider": args.provider,
        "upstream": args.upstream,
        "model": args.model,
        "per": args.per.iter().map(word).collect::<Vec<_>>(),
        "meter": args.meter,
        "amount": args.amount,
        "window_kind": args.window.as_ref().map(word),
        "basis": args.basis.as_ref().map(word),
        "action": word(&args.action),
        "fail": word(&args.fail),
        "dry_run": args.dry_run,
        "expires_at": args.expires_at,
    })
}
