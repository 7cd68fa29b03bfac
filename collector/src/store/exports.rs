//! What exports read: their columns, their statements, and the cursor that reads them. A portal gives a
//! thousand rows at a time, so that memory does not grow with the answer; everything is of one snapshot.
//!
//! Parameters of every statement: `$1` a tenant asks, `$2` tenant, `$3` month, `$4` from, `$5` to,
//! `$6` environment; null filters nothing.

use deadpool_postgres::Client;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, IsolationLevel};

use super::events;

/// Rows that are in memory at one time.
const ROWS_AT_ONCE: i32 = 1_000;

/// How a column stands in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Quoted.
    Text,
    /// A number, a boolean or JSON: as Postgres prints it.
    Raw,
    /// JSON whose members have lost their names on the way.
    Charges,
}

/// A file's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Events with all their fields.
    Events,
    /// A day's calls, tokens and money by client, service, model and project.
    Clients,
    /// FOCUS 1.2, a row for each day, tenant, customer, project, key and meter.
    Focus,
}

/// Which rows.
pub(crate) struct Question {
    pub(crate) is_tenant: bool,
    pub(crate) tenant: Option<String>,
    /// First day of the month they are invoiced in.
    pub(crate) period: Option<String>,
    /// Times for events, days otherwise.
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) environment: Option<String>,
}

/// The columns of a shape, in order.
pub(crate) fn columns(shape: Shape) -> Vec<(&'static str, Kind)> {
    let texts = |columns: &[(&'static str, &str)]| {
        columns
            .iter()
            .map(|(name, _)| (*name, Kind::Text))
            .collect()
    };
    match shape {
        Shape::Events => events::FIELDS.to_vec(),
        Shape::Clients => texts(&CLIENTS),
        Shape::Focus => texts(&FOCUS),
    }
}

/// What takes the rows.
pub(crate) trait Sink {
    /// One row, in the order of the columns.
    fn row(&mut self, cells: &[Option<&str>]);
    /// Hands on what has gathered; `false` when nobody wants more.
    fn hand_on(&mut self) -> impl Future<Output = bool> + Send;
}

/// Reads a shape's rows into a sink.
pub(crate) async fn read(
    client: &mut Client,
    shape: Shape,
    question: &Question,
    sink: &mut (impl Sink + Send),
) -> Result<(), Error> {
    let snapshot = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let statement = snapshot.prepare(&sql(shape)).await?;
    let parameters: [&(dyn ToSql + Sync); 6] = [
        &question.is_tenant,
        &question.tenant,
        &question.period,
        &question.from,
        &question.to,
        &question.environment,
    ];
    let portal = snapshot.bind(&statement, &parameters).await?;
    let charges = columns(shape)
        .iter()
        .position(|(_, kind)| *kind == Kind::Charges);
    loop {
        let rows = snapshot.query_portal(&portal, ROWS_AT_ONCE).await?;
        for row in &rows {
            let mut cells = (0..row.len())
                .map(|index| row.try_get::<_, Option<&str>>(index))
                .collect::<Result<Vec<_>, _>>()?;
            let shown = charges.and_then(|index| cells[index].map(events::shown_charges));
            if let (Some(index), Some(shown)) = (charges, &shown) {
                cells[index] = Some(shown);
            }
            sink.row(&cells);
        }
        let is_last = rows.len() < usize::try_from(ROWS_AT_ONCE).unwrap_or_default();
        if !sink.hand_on().await || is_last {
            break;
        }
    }
    snapshot.rollback().await
}

fn sql(shape: Shape) -> String {
    match shape {
        Shape::Events => events::export_sql(),
        Shape::Clients => {
            let columns: Vec<&str> = CLIENTS.iter().map(|(_, column)| *column).collect();
            format!(
                "select {}
                 from farebox_private.usage_daily
                 where $1::boolean is not null and {DAILY}
                 group by day, tenant_id, provider, model, project
                 {SOMETHING}
                 order by day, tenant_id nulls first, provider, model nulls first, project nulls first",
                columns.join(", ")
            )
        }
        Shape::Focus => {
            let columns: Vec<&str> = FOCUS.iter().map(|(_, column)| *column).collect();
            format!("select {} {FOCUS_ROWS}", columns.join(", "))
                .replace("{DAILY}", DAILY)
                .replace("{SOMETHING}", SOMETHING)
                .replace("{TIME}", TIME)
        }
    }
}

/// Which rows of `usage_daily`: what is on invoices unless test traffic is asked for.
const DAILY: &str = "($2::text is null or tenant_id = $2)
    and ($3::text is null or period = $3::text::date)
    and ($4::text is null or day >= $4::text::date)
    and ($5::text is null or day < $5::text::date)
    and environment = coalesce($6::text, 'live')";

/// What was moved elsewhere as a whole has no row: nothing of it is left.
const SOMETHING: &str =
    "having bool_or(quantity <> 0 or cost_usd <> 0 or billed_usd <> 0 or events <> 0)";

/// A client's sums of a day. The cost is what the client is billed, never the operator's own.
const CLIENTS: [(&str, &str); 8] = [
    ("Date", "day::text"),
    ("Client_ID", "coalesce(tenant_id, 'unattributed')"),
    ("Service", "provider"),
    ("Model", "model"),
    (
        "Calls",
        "trim_scale(coalesce(sum(quantity) filter (where meter = 'calls'), 0))::text",
    ),
    (
        "Tokens",
        r"trim_scale(coalesce(sum(quantity) filter (where meter like '%\_tokens'), 0))::text",
    ),
    ("Cost", "trim_scale(sum(billed_usd))::text"),
    ("Project", "project"),
];

const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS"Z"'"#;

/// The rows that FOCUS is made of: days of the roll-up with their tenant, zone, customer and invoice.
const FOCUS_ROWS: &str = "from (
        select
            day, period, tenant_id, customer_id, project, key_id, provider, endpoint, model, meter,
            sum(quantity) as quantity,
            sum(billed_usd) as billed_usd,
            case
                when $1::boolean then sum(cost_usd) filter (where paid_by <> 'operator')
                else sum(cost_usd)
            end as cost_usd
        from farebox_private.usage_daily
        where meter <> 'calls' and {DAILY}
        group by day, period, tenant_id, customer_id, project, key_id, provider, endpoint, model, meter
        {SOMETHING}
    ) as sums
    left join farebox_private.tenants using (tenant_id)
    left join farebox_private.customers
        on customers.tenant_id = sums.tenant_id and customers.reference = sums.customer_id
    left join farebox_private.invoices
        on invoices.tenant_id = sums.tenant_id and invoices.period = sums.period
        and coalesce($6::text, 'live') = 'live'
    cross join lateral (
        select case
            when tenants.time_zone is null then 'UTC'
            when tenants.time_zone_from is null or sums.day >= tenants.time_zone_from
            then tenants.time_zone
            else coalesce(tenants.time_zone_before, tenants.time_zone)
        end as name
    ) as zone
    cross join lateral (
        select case
            when sums.meter like '%\\_tokens' then 'Tokens'
            when sums.meter like '%token\\_hours' then 'Token-Hours'
            when sums.meter like '%\\_seconds' then 'Seconds'
            else initcap(replace(sums.meter, '_', ' '))
        end as name
    ) as unit
    where sums.quantity <> 0 or sums.billed_usd <> 0
    order by sums.day, sums.tenant_id nulls first, sums.provider, sums.endpoint, sums.model nulls first,
        sums.meter, coalesce(customers.customer_id, sums.customer_id) nulls first, sums.project nulls first, sums.key_id nulls first,
        sums.period";

/// The columns of FOCUS 1.2 in its order, and two of ours. What does not apply is null.
const FOCUS: [(&str, &str); 59] = [
    ("AvailabilityZone", "null::text"),
    ("BilledCost", "trim_scale(sums.billed_usd)::text"),
    (
        "BillingAccountId",
        "coalesce(sums.tenant_id, 'unattributed')",
    ),
    ("BillingAccountName", "tenants.name"),
    ("BillingAccountType", "'Tenant'"),
    ("BillingCurrency", "'USD'"),
    (
        "BillingPeriodEnd",
        "to_char((sums.period + interval '1 month')::timestamp at time zone zone.name at time zone 'UTC', {TIME})",
    ),
    (
        "BillingPeriodStart",
        "to_char(sums.period::timestamp at time zone zone.name at time zone 'UTC', {TIME})",
    ),
    ("CapacityReservationId", "null::text"),
    ("CapacityReservationStatus", "null::text"),
    ("ChargeCategory", "'Usage'"),
    (
        "ChargeClass",
        "case when sums.period > date_trunc('month', sums.day)::date then 'Correction' end",
    ),
    (
        "ChargeDescription",
        "concat_ws(' ', sums.provider, sums.model, replace(sums.meter, '_', ' '))",
    ),
    ("ChargeFrequency", "'Usage-Based'"),
    (
        "ChargePeriodEnd",
        "to_char((sums.day + 1)::timestamp at time zone zone.name at time zone 'UTC', {TIME})",
    ),
    (
        "ChargePeriodStart",
        "to_char(sums.day::timestamp at time zone zone.name at time zone 'UTC', {TIME})",
    ),
    ("CommitmentDiscountCategory", "null::text"),
    ("CommitmentDiscountId", "null::text"),
    ("CommitmentDiscountName", "null::text"),
    ("CommitmentDiscountQuantity", "null::text"),
    ("CommitmentDiscountStatus", "null::text"),
    ("CommitmentDiscountType", "null::text"),
    ("CommitmentDiscountUnit", "null::text"),
    ("ConsumedQuantity", "trim_scale(sums.quantity)::text"),
    ("ConsumedUnit", "unit.name"),
    ("ContractedCost", "trim_scale(sums.billed_usd)::text"),
    ("ContractedUnitPrice", "null::text"),
    ("EffectiveCost", "trim_scale(sums.billed_usd)::text"),
    ("InvoiceId", "invoices.number"),
    ("InvoiceIssuerName", "'Farebox'"),
    ("ListCost", "trim_scale(sums.billed_usd)::text"),
    ("ListUnitPrice", "null::text"),
    ("PricingCategory", "'Standard'"),
    ("PricingCurrency", "'USD'"),
    ("PricingCurrencyContractedUnitPrice", "null::text"),
    (
        "PricingCurrencyEffectiveCost",
        "trim_scale(sums.billed_usd)::text",
    ),
    ("PricingCurrencyListUnitPrice", "null::text"),
    ("PricingQuantity", "trim_scale(sums.quantity)::text"),
    ("PricingUnit", "unit.name"),
    ("ProviderName", "sums.provider"),
    ("PublisherName", "sums.provider"),
    ("RegionId", "null::text"),
    ("RegionName", "null::text"),
    ("ResourceId", "sums.model"),
    ("ResourceName", "sums.model"),
    (
        "ResourceType",
        "case when sums.model is not null then 'Model' end",
    ),
    ("ServiceCategory", "'AI and Machine Learning'"),
    ("ServiceName", "concat(sums.provider, ' ', sums.endpoint)"),
    ("ServiceSubcategory", "'Generative AI'"),
    ("SkuId", "concat_ws('/', sums.provider, sums.model)"),
    ("SkuMeter", "sums.meter"),
    ("SkuPriceDetails", "null::text"),
    (
        "SkuPriceId",
        "concat_ws('/', sums.provider, sums.model, sums.meter)",
    ),
    (
        "SubAccountId",
        "coalesce(customers.customer_id, sums.customer_id)",
    ),
    ("SubAccountName", "customers.name"),
    (
        "SubAccountType",
        "case when sums.customer_id is not null then 'Customer' end",
    ),
    (
        "Tags",
        "jsonb_strip_nulls(jsonb_build_object('project', sums.project, 'key', sums.key_id::text))::text",
    ),
    ("x_CostUsd", "trim_scale(sums.cost_usd)::text"),
    ("x_Endpoint", "sums.endpoint"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_uses_every_parameter() {
        for shape in [Shape::Events, Shape::Clients, Shape::Focus] {
            let sql = sql(shape);
            for parameter in 1..=6 {
                assert!(
                    sql.contains(&format!("${parameter}")),
                    "{shape:?} ${parameter}"
                );
            }
            assert!(!sql.contains("{TIME}") && !sql.contains("{DAILY}"), "{sql}");
        }
    }

    #[test]
    fn focus_has_its_columns_in_order() {
        let names: Vec<&str> = FOCUS.iter().map(|(name, _)| *name).collect();
        let own = names
            .iter()
            .position(|name| name.starts_with("x_"))
            .unwrap();
        assert!(names[..own].is_sorted(), "{names:?}");
        assert_eq!(own, 57);
    }
}
