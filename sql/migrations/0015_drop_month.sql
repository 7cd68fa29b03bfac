-- A month is dropped without ever costing a reader or a booking its transaction.

create or replace function farebox_private.drop_expired_month(month date, default_days integer) returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set lock_timeout = '500ms'
as $function$
declare
    from_month date := date_trunc('month', month)::date;
    to_at timestamptz := (date_trunc('month', month) + interval '1 month')::timestamptz;
    partition_name text := 'usage_events_' || to_char(from_month, 'YYYYMM');
    is_kept boolean;
begin
    perform pg_advisory_xact_lock(hashtextextended('farebox_partitions', 0));
    if to_regclass('farebox_private.' || partition_name) is null then
        return false;
    end if;
    -- Most months are kept: that is seen before anything is locked, and looked at again under the locks, so
    -- that nobody books into it between the look and the end.
    for look in 1..2 loop
        if look = 2 then
            -- Who reads takes the table above first, then its months, and so does this. Against any other order
            -- the time-out is below Postgres' deadlock_timeout, so that it is this that gives up, and never who
            -- reads or books.
            lock table only farebox_private.usage_events in access exclusive mode;
            execute format('lock table farebox_private.%I in access exclusive mode', partition_name);
        end if;
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
    end loop;
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
