-- Corrections, closing, and what retention removes.

-- How an event stands after each correction. The difference to how it stood before is the adjustments'.
create table farebox_private.corrections (
    correction_id uuid not null,
    batch_id uuid not null,
    event_id uuid not null,
    number integer not null,
    kind text not null,
    actor text not null,
    reason text not null,
    old_revision text,
    new_revision text,
    undoes uuid,
    booked_at timestamptz not null default now(),
    tenant_before text,
    customer_before text,
    project_before text,
    tenant_id text,
    customer_id text,
    project text,
    lines text not null,
    usage_source text not null,
    charges text not null,
    cost_usd farebox_private.usd,
    billed_usd farebox_private.usd,
    pricing text not null,
    cost_card bytea,
    price_card bytea,
    constraint corrections_pkey primary key (correction_id),
    constraint corrections_follow_each_other unique (event_id, number),
    constraint kind_is_known check (kind in ('reprice', 'retag', 'reread')),
    constraint reason_is_given check (reason <> ''),
    constraint number_from_one check (number >= 1),
    constraint usage_source_is_known check (usage_source in ('reported', 'partial', 'measured', 'estimated', 'pending', 'missing', 'none')),
    constraint pricing_is_known check (pricing in ('priced', 'partial', 'unpriced', 'unknown', 'free', 'repeat')),
    constraint amounts_not_negative check (cost_usd >= 0 and billed_usd >= 0)
);
create index corrections_of_batch on farebox_private.corrections (batch_id, event_id);
comment on table farebox_private.corrections is 'How an event stands after each of its corrections; only grows. The differences are booked as adjustments.';
comment on column farebox_private.corrections.correction_id is 'Identifier of the correction.';
comment on column farebox_private.corrections.batch_id is 'What was corrected together.';
comment on column farebox_private.corrections.event_id is 'The event.';
comment on column farebox_private.corrections.number is 'Its how many-th correction, from 1.';
comment on column farebox_private.corrections.kind is 'reprice, retag or reread.';
comment on column farebox_private.corrections.actor is 'Who booked it.';
comment on column farebox_private.corrections.reason is 'Why.';
comment on column farebox_private.corrections.old_revision is 'The rate card or reader it stood by before.';
comment on column farebox_private.corrections.new_revision is 'The rate card or reader it stands by.';
comment on column farebox_private.corrections.undoes is 'The batch that it takes back.';
comment on column farebox_private.corrections.booked_at is 'When it was booked.';
comment on column farebox_private.corrections.tenant_before is 'The tenant it was booked to before.';
comment on column farebox_private.corrections.customer_before is 'The customer it was booked to before.';
comment on column farebox_private.corrections.project_before is 'The project it was booked to before.';
comment on column farebox_private.corrections.tenant_id is 'The tenant it is booked to; null: unattributed.';
comment on column farebox_private.corrections.customer_id is 'The customer it is booked to.';
comment on column farebox_private.corrections.project is 'The project it is booked to.';
comment on column farebox_private.corrections.lines is 'What pricing reads; JSON as text.';
comment on column farebox_private.corrections.usage_source is 'How the quantities are known.';
comment on column farebox_private.corrections.charges is 'Each meter priced, in the form of usage_events.charges.';
comment on column farebox_private.corrections.cost_usd is 'What the provider charges; null: a rate is missing.';
comment on column farebox_private.corrections.billed_usd is 'What the operator charges; null: unpriced.';
comment on column farebox_private.corrections.pricing is 'priced, partial, unpriced, unknown, free or repeat.';
comment on column farebox_private.corrections.cost_card is 'SHA-256 of the provider''s card it was priced by.';
comment on column farebox_private.corrections.price_card is 'SHA-256 of the selling rules it was priced by.';

alter table farebox_private.corrections enable row level security;
alter table farebox_private.corrections force row level security;
create policy own_rows on farebox_private.corrections
    to public
    using (
        (select farebox_private.sees_all())
        or tenant_id = (select farebox_private.own_tenant())
        or tenant_before = (select farebox_private.own_tenant())
    );
grant select, insert on farebox_private.corrections to farebox_collector;

alter table farebox_private.adjustments
    add column batch_id uuid not null,
    add column event_period date not null,
    add column events bigint not null default 0,
    add column unpriced_events bigint not null default 0,
    add constraint event_period_is_month check (extract(day from event_period) = 1);
create index adjustments_of_batch on farebox_private.adjustments (batch_id);
-- The same reference books nothing the second time.
create unique index adjustments_by_hand_once
    on farebox_private.adjustments (event_id, new_revision)
    where kind = 'manual' and new_revision is not null;
comment on column farebox_private.adjustments.batch_id is 'What was corrected together.';
comment on column farebox_private.adjustments.event_period is 'The month its event was first booked in; an earlier one than period makes it a credit or debit line.';
comment on column farebox_private.adjustments.events is 'Signed change of the count of events, on rows of the meter calls.';
comment on column farebox_private.adjustments.unpriced_events is 'Signed change of the count of events without a price, on rows of the meter calls.';

-- Late events are few, and a close asks for them by their month.
create index usage_events_that_came_late on farebox_private.usage_events (tenant_id, period) where is_late;

alter table farebox_private.invoices
    add column currency text not null default 'USD',
    add column from_at timestamptz not null,
    add column to_at timestamptz not null,
    add column events bigint not null,
    add column unknown_events bigint not null,
    add column despite text[] not null default '{}',
    add constraint currency_is_usd check (currency = 'USD');
comment on column farebox_private.invoices.currency is 'USD.';
comment on column farebox_private.invoices.from_at is 'The month''s begin in the tenant''s zone.';
comment on column farebox_private.invoices.to_at is 'Its end, exclusive.';
comment on column farebox_private.invoices.events is 'Events and adjustments in the list that was hashed.';
comment on column farebox_private.invoices.unknown_events is 'Events of which no usage was known at the close; they are on no line.';
comment on column farebox_private.invoices.despite is 'Nodes that had not shipped past its end.';

-- The lines come first: the invoice has their hash.
alter table farebox_private.invoice_lines
    alter constraint invoice_lines_invoice_id_fkey deferrable initially deferred;
alter table farebox_private.invoice_lines
    drop constraint kind_is_known,
    add column corrects date,
    add constraint kind_is_known check (kind in ('usage', 'allowance', 'credit', 'debit')),
    add constraint corrections_name_their_month check ((kind in ('credit', 'debit')) = (corrects is not null));
comment on column farebox_private.invoice_lines.kind is 'usage, allowance (included in the plan), or a credit or debit for an earlier month.';
comment on column farebox_private.invoice_lines.corrects is 'The earlier month that a credit or debit is for.';

-- What retention took away, so that sums are not made again from what is left, and what comes again
-- is known.
create table farebox_private.retained (
    tenant_id text,
    removed_before timestamptz not null,
    removed_at timestamptz not null default now(),
    constraint retained_key unique nulls not distinct (tenant_id)
);
comment on table farebox_private.retained is 'Up to where a tenant''s events were removed.';
comment on column farebox_private.retained.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox_private.retained.removed_before is 'Events that started before are gone.';
comment on column farebox_private.retained.removed_at is 'When that was done.';
alter table farebox_private.retained enable row level security;
alter table farebox_private.retained force row level security;
create policy operator_rows on farebox_private.retained to public using ((select farebox_private.sees_all()));
grant select on farebox_private.retained to farebox_collector;
grant select, insert, update on farebox_private.retained to farebox_retention;

grant select, delete on farebox_private.usage_events to farebox_retention;
grant select on farebox_private.tenants, farebox_private.periods to farebox_retention;
grant insert on farebox_private.audit_log to farebox_retention;
-- An end customer's id may be taken out of what is kept; nothing else of it changes.
grant select, update (customer_id) on farebox_private.usage_hourly, farebox_private.usage_daily,
    farebox_private.adjustments to farebox_retention;
grant select, update (customer_id, customer_before) on farebox_private.corrections to farebox_retention;
grant update (customer_id) on farebox_private.usage_events to farebox_retention;
grant select, delete on farebox_private.customers to farebox_retention;

-- As before, but for two collectors that meet a new month at the same time.
create or replace function farebox_private.ensure_partition(month date) returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
as $function$
declare
    from_month date := date_trunc('month', month)::date;
    to_month date := (date_trunc('month', month) + interval '1 month')::date;
    partition_name text := 'usage_events_' || to_char(from_month, 'YYYYMM');
    is_made boolean := false;
begin
    if from_month < date '2000-01-01' or from_month >= date '2100-01-01' then
        raise exception 'no partition for %: events are of the years 2000 to 2099', month
            using errcode = 'datetime_field_overflow';
    end if;
    if to_regclass('farebox_private.' || partition_name) is not null then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('farebox_partitions', 0));
    if to_regclass('farebox_private.' || partition_name) is null then
        execute format(
            'create table farebox_private.%I (like farebox_private.usage_events including all,'
            ' constraint started_in_month check (started_at >= %L and started_at < %L))'
            -- A row is about two kilobytes; compressing it would cost more than all its indexes.
            ' with (toast_tuple_target = 8160)',
            partition_name,
            from_month::timestamptz,
            to_month::timestamptz
        );
        -- Rows are read through the table above it, whose policies hold there. The collector copies
        -- straight into the month, which row security of its own would refuse; nobody may read it.
        execute format('grant insert on farebox_private.%I to farebox_collector', partition_name);
        execute format(
            'alter table farebox_private.usage_events attach partition farebox_private.%I'
            ' for values from (%L) to (%L)',
            partition_name,
            farebox_private.first_event_id(from_month::timestamptz),
            farebox_private.first_event_id(to_month::timestamptz)
        );
        execute format(
            'comment on table farebox_private.%I is %L',
            partition_name,
            'Usage events that started in ' || to_char(from_month, 'YYYY-MM') || ' (UTC).'
        );
        is_made := true;
    end if;
    return is_made;
exception
    -- What was looked up before the wait may still be remembered as missing after it.
    when duplicate_table then
        return false;
end
$function$;

-- Whole months go at once. The months of the table above are the owner's, so this runs as the owner.
create function farebox_private.drop_expired_month(month date, default_days integer) returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
as $function$
declare
    from_month date := date_trunc('month', month)::date;
    to_at timestamptz := (date_trunc('month', month) + interval '1 month')::timestamptz;
    partition_name text := 'usage_events_' || to_char(from_month, 'YYYYMM');
    is_kept boolean;
begin
    if to_regclass('farebox_private.' || partition_name) is null then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('farebox_partitions', 0));
    -- Nobody books into it between the look and the end.
    execute format('lock table farebox_private.%I in access exclusive mode', partition_name);
    execute format(
        'select exists ('
        ' select from (select tenant_id, settings from farebox_private.tenants union all select null, ''{}'') as tenants'
        ' where now() - make_interval(days => coalesce((settings ->> ''retention_days'')::integer, $1)) >= $2 is not true'
        ' and exists (select from farebox_private.%1$I as events where events.tenant_id = tenants.tenant_id'
        '     or (events.tenant_id is null and tenants.tenant_id is null)))',
        partition_name
    ) into is_kept using default_days, to_at;
    if is_kept then
        return false;
    end if;
    execute format(
        'insert into farebox_private.retained (tenant_id, removed_before)'
        ' select tenant_id, $1 from ('
        '     select tenant_id from farebox_private.tenants union all select null) as tenants'
        ' where exists (select from farebox_private.%1$I as events where events.tenant_id = tenants.tenant_id'
        '     or (events.tenant_id is null and tenants.tenant_id is null))'
        ' on conflict (tenant_id) do update'
        ' set removed_before = greatest(retained.removed_before, excluded.removed_before), removed_at = now()',
        partition_name
    ) using to_at;
    execute format('drop table farebox_private.%I', partition_name);
    return true;
end
$function$;
comment on function farebox_private.drop_expired_month(date, integer) is
    'Drops the partition of a month (UTC) that is older than every tenant''s retention, by default of so many days (null: for ever); true when it did.';
revoke execute on function farebox_private.drop_expired_month(date, integer) from public;
grant execute on function farebox_private.drop_expired_month(date, integer) to farebox_retention;
