//! What was booked, read back by the SQL that anybody can run.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_util::sync::CancellationToken;

use super::exact;
use super::traffic::Call;
use crate::database::reason;
use crate::deployment::now;
use crate::failure::{Failure, Outcome};
use crate::table::{Align, Table};

/// Longest wait for the last event.
const BOOKED_WAIT: Duration = Duration::from_secs(60);
const BOOKED_PAUSE: Duration = Duration::from_millis(100);

/// One booked event.
pub(super) struct Booked {
    pub(super) tenant: String,
    pub(super) event_id: String,
    pub(super) usage: BTreeMap<String, String>,
    pub(super) cost_usd: String,
}

/// What a tenant's invoice of this month comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) billed_pico: i128,
}

/// The SQL that gives a tenant's invoice.
fn invoice_sql(tenant: &str) -> String {
    let now = now().to_string();
    let month = now.get(..7).unwrap_or_default();
    format!("select * from farebox.invoice_preview('{tenant}', '{month}-01')")
}

async fn rows(client: &Client, sql: &str) -> Outcome<Vec<SimpleQueryRow>> {
    let messages = client
        .simple_query(sql)
        .await
        .map_err(|error| Failure::missing("database", reason(&error)))?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect())
}

/// Every tenant's sums.
pub(super) async fn read_all(
    client: &Client,
    tenants: &[&'static str],
) -> Outcome<BTreeMap<&'static str, Sums>> {
    let mut all = BTreeMap::new();
    for tenant in tenants {
        let mut sums = Sums::default();
        for row in rows(client, &invoice_sql(tenant)).await? {
            if let Some(billed) = cell(&row, "billed_usd") {
                sums.billed_pico += exact::pico(&billed).map_err(Failure::No)?;
            }
        }
        all.insert(*tenant, sums);
    }
    Ok(all)
}

/// Waits until every call is booked.
pub(super) async fn wait_for(
    client: &Client,
    calls: &[Call],
    stop: &CancellationToken,
) -> Outcome<HashMap<String, Booked>> {
    let ids: Vec<String> = calls
        .iter()
        .map(|call| format!("'{}'", call.response_id))
        .collect();
    let sql = format!(
        "select response_id, tenant_id, event_id, usage, trim_scale(cost_usd) as cost_usd
         from farebox.usage_events
         where response_id in ({})",
        ids.join(", ")
    );
    let end = Instant::now() + BOOKED_WAIT;
    loop {
        let found = rows(client, &sql).await?;
        if found.len() >= calls.len() {
            return found.iter().map(booked).collect();
        }
        if stop.is_cancelled() || Instant::now() >= end {
            return Err(Failure::No(format!(
                "{} of {} calls are booked; see the log",
                found.len(),
                calls.len()
            )));
        }
        tokio::time::sleep(BOOKED_PAUSE).await;
    }
}

fn booked(row: &SimpleQueryRow) -> Outcome<(String, Booked)> {
    let text = |name: &str| cell(row, name).unwrap_or_default();
    let usage: BTreeMap<String, Value> = serde_json::from_str(&text("usage"))
        .map_err(|error| Failure::No(format!("usage of an event: {error}")))?;
    let usage = usage
        .into_iter()
        .map(|(meter, quantity)| {
            let quantity = match quantity {
                Value::String(text) => text,
                other => other.to_string(),
            };
            (meter, quantity)
        })
        .collect();
    let booked = Booked {
        tenant: text("tenant_id"),
        event_id: text("event_id"),
        usage,
        cost_usd: text("cost_usd"),
    };
    Ok((text("response_id"), booked))
}

/// A tenant's invoice of this month, and how to ask for it.
pub(super) async fn print(client: &Client, tenant: &str) -> Outcome {
    let sql = invoice_sql(tenant);
    let rows = rows(client, &sql).await?;
    let mut table = Table::new(&[
        ("PROVIDER", Align::Left),
        ("MODEL", Align::Left),
        ("METER", Align::Left),
        ("QUANTITY", Align::Right),
        ("BILLED USD", Align::Right),
    ]);
    let mut total = 0;
    for row in &rows {
        let text = |name: &str| cell(row, name).unwrap_or_else(|| "–".to_owned());
        let billed = cell(row, "billed_usd");
        if let Some(billed) = &billed {
            total += exact::pico(billed).map_err(Failure::No)?;
        }
        table.row([
            text("provider"),
            text("model"),
            text("meter"),
            cell(row, "quantity").map_or_else(|| "–".to_owned(), trimmed),
            billed.map_or_else(|| "–".to_owned(), trimmed),
        ]);
    }
    println!("Invoice of {tenant}\n");
    print!("{}", table.for_terminal());
    println!("\n  total {} USD\n  {sql};\n", exact::text(total));
    Ok(())
}

fn cell(row: &SimpleQueryRow, name: &str) -> Option<String> {
    row.try_get(name).ok().flatten().map(str::to_owned)
}

/// Without zeros that say nothing.
fn trimmed(decimal: String) -> String {
    if decimal.contains('.') {
        decimal
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        decimal
    }
}
