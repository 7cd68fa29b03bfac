//! The tenants' own end customers, with their totals.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;

/// An end customer, with its totals as far as the asker may see them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Customer {
    /// The tenant.
    pub tenant_id: String,
    /// The identifier used on the wire, unique in its tenant.
    pub customer_id: String,
    /// A name for people.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// Calls seen.
    pub request_count: i64,
    /// What the providers charge, as far as priced; a tenant sees what it pays itself.
    pub total_cost_usd: Option<String>,
    /// What the operator charges, as far as priced.
    pub total_billed_usd: Option<String>,
}

/// Which customers a list shows.
pub(crate) struct Filter<'a> {
    /// The asker is a tenant.
    pub(crate) is_tenant: bool,
    /// Of this tenant.
    pub(crate) tenant: Option<&'a str>,
    /// The one of this id.
    pub(crate) customer: Option<&'a str>,
    /// Last row of the page before.
    pub(crate) after: Option<[String; 2]>,
    /// Rows of a page.
    pub(crate) limit: u32,
}

fn read(row: &Row) -> Result<Customer, Error> {
    Ok(Customer {
        tenant_id: row.try_get(0)?,
        customer_id: row.try_get(1)?,
        name: row.try_get(2)?,
        created_at: row.try_get(3)?,
        request_count: row.try_get(4)?,
        total_cost_usd: row.try_get(5)?,
        total_billed_usd: row.try_get(6)?,
    })
}

/// A page of customers, by tenant and id.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<Customer>, Error> {
    let (tenant_after, customer_after) = match &filter.after {
        Some([tenant, customer]) => (Some(tenant.as_str()), Some(customer.as_str())),
        None => (None, None),
    };
    let rows = client
        .query(
            r#"with page as (
                select tenant_id, customer_id, reference, name, created_at
                from farebox_private.customers
                where ($2::text is null or tenant_id = $2)
                    and ($3::text is null or customer_id = $3)
                    and ($4::text is null or (tenant_id, customer_id) > ($4, $5::text))
                order by tenant_id, customer_id
                limit $6
            ),
            -- Each tenant's days once, however many of its customers are on the page.
            totals as (
                select
                    daily.tenant_id,
                    daily.customer_id as reference,
                    coalesce(sum(daily.quantity) filter (where daily.meter = 'calls'), 0)::bigint
                        as request_count,
                    trim_scale(
                        sum(daily.cost_usd) filter (where not $1::boolean or daily.paid_by <> 'operator')
                    ) as cost_usd,
                    trim_scale(sum(daily.billed_usd)) as billed_usd
                from farebox_private.usage_daily as daily
                where daily.tenant_id = any (array(select page.tenant_id from page))
                    -- Looked up by hashing, row by row: neither one by one in a list nor by an index that has them apart.
                    and (daily.customer_id in (select page.reference from page)) is true
                group by 1, 2
            )
            select
                page.tenant_id,
                page.customer_id,
                page.name,
                to_char(page.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                coalesce(totals.request_count, 0),
                (case when $1::boolean then totals.cost_usd else coalesce(totals.cost_usd, 0) end)::text,
                coalesce(totals.billed_usd, 0)::text
            from page
            left join totals
                on totals.tenant_id = page.tenant_id and totals.reference = page.reference
            order by page.tenant_id, page.customer_id"#,
            &[
                &filter.is_tenant,
                &filter.tenant,
                &filter.customer,
                &tenant_after,
                &customer_after,
                &(i64::from(filter.limit) + 1),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The name of a customer, held until the transaction ends; `None`: there is no such customer.
pub(crate) async fn lock(
    client: &impl GenericClient,
    tenant_id: &str,
    customer_id: &str,
) -> Result<Option<Option<String>>, Error> {
    let row = client
        .query_opt(
            "select name
             from farebox_private.customers
             where tenant_id = $1 and customer_id = $2
             for update",
            &[&tenant_id, &customer_id],
        )
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Makes a customer or names it anew.
pub(crate) async fn put(
    client: &impl GenericClient,
    tenant_id: &str,
    customer_id: &str,
    name: Option<&str>,
) -> Result<(), Error> {
    client
        .execute(
            "insert into farebox_private.customers (tenant_id, customer_id, name)
             values ($1, $2, $3)
             on conflict (tenant_id, customer_id) do update
             set name = excluded.name",
            &[&tenant_id, &customer_id, &name],
        )
        .await?;
    Ok(())
}
