//! A month of many rows, made of one real one by the database itself: as a ledger has them that took each by itself,
//! with their sums, sessions and customers, in a fraction of the time.
//!
//! Rows are written into an empty month that no index slows and no log repeats (the cluster's `wal_level` is
//! `minimal`); indexes follow. Sums are those of one row times the rows that are like it.

use tokio_postgres::Client;

use crate::Result;

/// Tenants; a quarter of all rows is the first one's, and a fifth of the tenants live in other zones.
pub(super) const TENANTS: i64 = 50;
/// Calls of one session.
const SESSION_CALLS: i64 = 8;
/// Calls of one run.
const RUN_CALLS: i64 = 12;
/// Models; each tenant but the first has six of them.
const MODELS: i64 = 24;
/// Customers of a tenant; one more has few calls, and all of nobody's.
const CUSTOMERS: i64 = 5;
/// One row of so many has no price, another one no usage, a third one broke off.
const UNPRICED_ONE_OF: i64 = 4_999;

/// Fills September 2026: every hour of it, each tenant with six of two dozen models, two projects and five
/// customers; some of it nobody's, some of it without a price.
pub(super) async fn fill(client: &Client, rows: i64) -> Result {
    client
        .batch_execute(&format!(
            "insert into farebox_private.tenants (tenant_id, created_by, time_zone)
             select 'tenant-' || n, 'test', case n % 10 when 0 then 'Asia/Kolkata' when 5 then 'America/New_York' else 'UTC' end
             from generate_series(1, {TENANTS} - 1) n;
             insert into farebox_private.tenant_activity
             select 'tenant-' || n, '2026-09-01T00:00:00Z', '2026-09-30T23:59:59Z', now()
             from generate_series(1, {TENANTS} - 1) n;
             insert into farebox_private.customers (tenant_id, customer_id, reference)
             select 'tenant-' || t, 'customer-' || c, {reference}
             from generate_series(0, {TENANTS} - 1) t, generate_series(0, {CUSTOMERS}) c;
             insert into farebox_private.tenant_sessions
             select {tenant}, farebox_private.session_digest('session-' || s)
             from generate_series(0, {rows} / {SESSION_CALLS}) s
             where {tenant} is not null;
             update farebox_private.received_sequences
             set ranges = ranges + int8multirange(int8range(1, {rows} + 1001));
             select farebox_private.ensure_partition('2026-09-01');
             select farebox_private.ensure_partition('2026-10-01')",
            reference = reference("t", "c"),
            tenant = tenant("s"),
        ))
        .await?;
    // Compiling these takes longer than what it saves, and so does sorting on disk.
    client
        .batch_execute("set jit = off; set work_mem = '256MB'; set maintenance_work_mem = '512MB'")
        .await?;
    let events = events(client, rows).await?;
    client
        .batch_execute(&format!("begin; {DETACH} {events}; {ATTACH} commit"))
        .await?;
    client
        .batch_execute(&format!("begin; {SUMS} commit"))
        .await?;
    // What autovacuum does within the hour.
    for table in [
        "usage_events",
        "daily_sums",
        "hourly_sums",
        "total_sums",
        "tenant_sessions",
        "new_sums",
    ] {
        client
            .batch_execute(&format!("vacuum (analyze) farebox_private.{table}"))
            .await?;
    }
    Ok(())
}

/// The month by itself, empty, its indexes noted and gone.
const DETACH: &str = "
    create temporary table indexes on commit drop as
    select
        indexrelid::regclass::text as name, conname as key,
        coalesce(pg_get_constraintdef(pg_constraint.oid), pg_get_indexdef(indexrelid)) as definition
    from pg_index
    left join pg_constraint on conindid = indexrelid and contype = 'p'
    where indrelid = 'farebox_private.usage_events_202609'::regclass;
    alter table farebox_private.usage_events detach partition farebox_private.usage_events_202609;
    truncate farebox_private.usage_events_202609;
    do $$
    declare
        known record;
    begin
        for known in select * from indexes loop
            if known.key is null then
                execute 'drop index ' || known.name;
            else
                execute format('alter table farebox_private.usage_events_202609 drop constraint %I', known.key);
            end if;
        end loop;
    end
    $$;";

/// Its indexes, and the month where it belongs.
const ATTACH: &str = "
    do $$
    declare
        known record;
    begin
        for known in select * from indexes order by name loop
            if known.key is null then
                execute known.definition;
            else
                execute format(
                    'alter table farebox_private.usage_events_202609 add constraint %I %s', known.key, known.definition
                );
            end if;
        end loop;
        execute format(
            'alter table farebox_private.usage_events attach partition farebox_private.usage_events_202609'
            ' for values from (%L) to (%L)',
            farebox_private.first_event_id('2026-09-01T00:00:00Z'),
            farebox_private.first_event_id('2026-10-01T00:00:00Z')
        );
    end
    $$;";

/// Rows that are alike but for their ids, counted, and what one of them adds to the sums as many times.
const SUMS: &str = "
    create temporary table alike on commit drop as
    select
        date_trunc('hour', started_at, 'UTC') as hour, day, period, tenant_id, customer_id, project, key_id,
        environment, paid_by, provider, endpoint, model, pricing,
        count(*) as rows, max(event_id::text)::uuid as event_id
    from farebox_private.usage_events_202609
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13;
    create temporary table parts on commit drop as
    select
        alike.hour, alike.day, alike.period, alike.tenant_id, alike.customer_id, alike.project, alike.key_id,
        alike.environment, alike.paid_by, alike.provider, alike.endpoint, part.model, alike.pricing, part.meter,
        sum(part.quantity * alike.rows) as quantity, sum(part.cost_usd * alike.rows) as cost_usd,
        sum(part.billed_usd * alike.rows) as billed_usd, sum(part.events * alike.rows) as events,
        sum(part.unpriced_events * alike.rows) as unpriced_events
    from alike
    join farebox_private.usage_events_202609 as booked using (event_id)
    cross join lateral (
        select
            booked.model, 'calls' as meter, 1::numeric as quantity, 0::numeric as cost_usd, 0::numeric as billed_usd,
            1 as events, (booked.pricing = 'unpriced')::integer as unpriced_events
        union all
        select line ->> 'model', counted.meter, counted.quantity::numeric, 0, 0, 0, 0
        from jsonb_array_elements(booked.lines::jsonb) as line
        cross join lateral jsonb_each_text(line -> 'usage') as counted (meter, quantity)
        union all
        select charge ->> 0, charge ->> 1, 0, (charge ->> 5)::numeric, (charge ->> 6)::numeric, 0, 0
        from jsonb_array_elements(booked.charges::jsonb) as charge
    ) as part
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;
    insert into farebox_private.hourly_sums
    select
        hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, sum(quantity), sum(cost_usd), sum(billed_usd), sum(events), sum(unpriced_events)
    from parts
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
    -- One after the other, as they are made.
    order by 1, 3;
    insert into farebox_private.daily_sums (
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, utc_day, quantity, cost_usd, billed_usd, events, unpriced_events
    )
    select
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        model, pricing, meter, (hour at time zone 'UTC')::date, sum(quantity), sum(cost_usd), sum(billed_usd),
        sum(events), sum(unpriced_events)
    from parts
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    order by 1, 3;
    insert into farebox_private.total_sums
    select
        day, utc_day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        sum(quantity), sum(cost_usd), sum(billed_usd), sum(events), sum(unpriced_events)
    from farebox_private.daily_sums
    where day < '2026-10-02'
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    order by 1, 4;";

/// A session's tenant.
fn tenant(session: &str) -> String {
    format!(
        "case when {session} % 997 <> 3 then 'tenant-' || case when {session} % 4 = 0 then 0 else {session} % {TENANTS} end end"
    )
}

/// What a tenant's customer is kept as.
fn reference(tenant: &str, customer: &str) -> String {
    format!("left(md5({tenant} || ' ' || {customer}), 24)")
}

/// The columns are read from the catalog, so that a new one is not forgotten.
async fn events(client: &Client, rows: i64) -> Result<String> {
    let columns: Vec<String> = client
        .query(
            "select attname::text from pg_attribute
             where attrelid = 'farebox_private.usage_events'::regclass and attnum > 0 and not attisdropped and attgenerated = ''
             order by attnum",
            &[],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let id = "(lpad(to_hex(extract(epoch from at)::bigint * 1000), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid";
    let priced = |value: &str| {
        format!("case when n % {UNPRICED_ONE_OF} not in (7, 13) then seed.{value} end")
    };
    let renamed =
        |column: &str| format!("replace(seed.{column}, '\"' || seed.model, '\"' || month.model)");
    let values: Vec<String> = columns
        .iter()
        .map(|column| match column.as_str() {
            "event_id" | "call_id" => id.to_owned(),
            "started_at" | "ended_at" | "received_at" => "at".to_owned(),
            "period" => "date_trunc('month', at at time zone zone)::date".to_owned(),
            "day" => "(at at time zone zone)::date".to_owned(),
            "tenant_id" => "month.tenant_id".to_owned(),
            "attribution" => {
                "case when month.tenant_id is null then 'none' else seed.attribution end".to_owned()
            }
            "customer_id" => "month.customer_id".to_owned(),
            "project" => format!("'project-' || s / {} % 2", TENANTS * 6 * CUSTOMERS),
            "session_id" => "'session-' || s".to_owned(),
            "response_id" => "'response-' || n".to_owned(),
            "upstream_request_id" => "'request-' || n".to_owned(),
            "seq" => "n + 1000".to_owned(),
            "run_id" => format!("'run-' || n / {RUN_CALLS}"),
            "span_id" => "'span-' || n".to_owned(),
            "parent_span_id" => format!("case when n % {RUN_CALLS} > 0 then 'span-' || n - 1 end"),
            "model" => "month.model".to_owned(),
            "cost_usd" | "billed_usd" | "claimed_usd" => priced(column),
            "pricing" => format!(
                "case n % {UNPRICED_ONE_OF} when 7 then 'unpriced' when 13 then 'unknown' else seed.pricing end"
            ),
            // The model of their lines.
            "lines" => format!(
                "case when n % {UNPRICED_ONE_OF} = 13 then '[]' else {} end",
                renamed(column)
            ),
            "charges" => format!(
                "case when n % {UNPRICED_ONE_OF} in (7, 13) then '[]' else {} end",
                renamed(column)
            ),
            "ending" => format!("case n % {UNPRICED_ONE_OF} when 17 then 'timeout' else seed.ending end"),
            "status" => format!("case n % {UNPRICED_ONE_OF} when 17 then 504 else seed.status end"),
            "usage_source" => {
                format!("case when n % {UNPRICED_ONE_OF} = 13 then 'missing' else seed.usage_source end")
            }
            other => format!("seed.\"{other}\""),
        })
        .collect();
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    Ok(format!(
        "insert into farebox_private.usage_events_202609 ({names})
         select {values}
         from (select * from farebox_private.usage_events where session_id = 'seed') as seed,
             lateral (
                 select
                     n, s, of_session.tenant_id, coalesce(tenants.time_zone, 'UTC') as zone,
                     'model-' || (s % {TENANTS} * 5 + s / {TENANTS} % 6) % {MODELS} as model,
                     case
                         when of_session.tenant_id is null then 'customer-{CUSTOMERS}'
                         else {reference}
                     end as customer_id,
                     timestamptz '2026-09-01T00:00:00Z'
                         + floor(n * 2592000.0 / {end}) * interval '1 second' as at
                 from generate_series(1, {rows}) n,
                     lateral (
                         select
                             n / {SESSION_CALLS} as s,
                             -- One more customer has one session in a thousand of its tenants'.
                             case
                                 when n / {SESSION_CALLS} / {TENANTS} % 1000 = 0 then {CUSTOMERS}
                                 else n / {SESSION_CALLS} / {sessions} % {CUSTOMERS}
                             end as c
                     ) as session,
                     lateral (
                         select {tenant} as tenant_id,
                             case when s % 4 = 0 then 0 else s % {TENANTS} end as t
                     ) as of_session
                 left join farebox_private.tenants using (tenant_id)
             ) as month",
        names = names.join(", "),
        values = values.join(", "),
        reference = reference("of_session.t", "c"),
        tenant = tenant("s"),
        sessions = TENANTS * 6,
        end = rows + 1,
    ))
}
