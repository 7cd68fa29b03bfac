//! `farebox.explain` as the API shows it. The function runs with the collector's eyes, so what a tenant
//! must not see is taken out here: purchase prices, what was seen on the wire, rules, the keys
//! and limits that may be the operator's, and to whom it was moved.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// One step of an explanation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    /// Its place.
    pub step: i32,
    /// `call`, `limit`, `limit event`, `evidence`, `usage`, `bounds`, `charge`, `booked`,
    /// `adjustment`, `invoice`, `invoice line` or `moved`.
    pub topic: String,
    /// What of the topic.
    pub item: Option<String>,
    /// How much.
    pub quantity: Option<String>,
    /// At which selling price, or in which window.
    pub rate: Option<String>,
    /// What the provider charges.
    pub cost_usd: Option<String>,
    /// What the operator charges.
    pub billed_usd: Option<String>,
    /// In words.
    pub detail: Option<String>,
}

/// The steps of one event. `hides_cost`: the asker is a tenant and the operator pays the provider.
pub(crate) async fn steps(
    client: &impl GenericClient,
    event_id: Uuid,
    is_tenant: bool,
    hides_cost: bool,
) -> Result<Vec<Step>, Error> {
    let rows = client
        .query(
            "select
                steps.step,
                steps.topic,
                steps.item,
                trim_scale(steps.quantity)::text,
                steps.rate,
                trim_scale(case when not $3 then steps.cost_usd end)::text,
                trim_scale(steps.billed_usd)::text,
                case when not ($2 and steps.topic in ('booked', 'charge', 'adjustment')) then steps.detail end
             from farebox.explain($1) as steps
             where not ($2 and steps.topic in ('limit', 'limit event', 'moved'))
                and not ($2 and steps.topic = 'call' and steps.item = 'key')
                and not ($3 and steps.topic = 'evidence')",
            &[&event_id, &is_tenant, &hides_cost],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Step, Error> {
    Ok(Step {
        step: row.try_get(0)?,
        topic: row.try_get(1)?,
        item: row.try_get(2)?,
        quantity: row.try_get(3)?,
        rate: row.try_get(4)?,
        cost_usd: row.try_get(5)?,
        billed_usd: row.try_get(6)?,
        detail: row.try_get(7)?,
    })
}
