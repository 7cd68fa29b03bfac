-- Whether a proxy's leases still bind: it has spoken within its grace and is not retired.
create or replace function farebox_private.is_live_limit_node(node_id text) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
as $function$
    select exists (
        select from farebox_private.limit_nodes
        left join farebox_private.nodes using (node)
        where limit_nodes.node = node_id
            and limit_nodes.lapses_at > now()
            and nodes.retired_at is null
    )
$function$;
comment on function farebox_private.is_live_limit_node(text) is
    'Whether a proxy''s leases still bind: it has spoken within its grace and is not retired.';

-- Everything a proxy says of limits and is told of them, in one transaction. Amounts are absolute, so
-- that a report that comes twice, or whose answer is lost, counts once; reports are numbered, so that one
-- that was overtaken on its way counts not at all. What the proxy may spend is only ever raised here and
-- only ever lowered by the proxy, before it says so.
--
-- What holds of each counter after each call, with a proxy's part being its lease where it has one, and
-- the share it takes without asking where it has none:
--     used + parts of live proxies + what the others had reported as spent <= amount
-- A proxy's part here is never less than what the proxy itself believes it may spend.
create or replace function farebox_private.renew_limit_leases(node_id text, node_epoch bigint, report jsonb)
    returns jsonb
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $function$
declare
    live integer;
    known farebox_private.limit_nodes%rowtype;
    report_no bigint := (report ->> 'report_no')::bigint;
    has_lapsed boolean := false;
    share integer := coalesce((report ->> 'share_of')::integer, 0);
    told_share integer;
    others_share numeric;
    item jsonb;
    answers jsonb := '[]';
    bound farebox_private.limits%rowtype;
    counter farebox_private.limit_usage%rowtype;
    start_at timestamptz;
    end_at timestamptz;
    is_soft boolean;
    lease_granted numeric;
    lease_spent numeric;
    lease_reserved numeric;
    lease_wanted numeric;
    is_done boolean;
    others_granted numeric;
    others_spent numeric;
    others_reserved numeric;
    implied numeric;
    room numeric;
    agents_last bigint;
    -- Counters told to a proxy at once; each is some hundred bytes.
    counters_max constant integer := 50000;
    agents_new jsonb;
    contended jsonb;
    counters jsonb := '[]';
    running_count integer;
begin
    -- One at a time: no two proxies are granted the same amount.
    perform pg_advisory_xact_lock(hashtextextended('farebox_limits', 1));

    select * into known from farebox_private.limit_nodes where limit_nodes.node = node_id;
    if known.epoch > node_epoch then
        return jsonb_build_object('is_stale', true);
    end if;
    if known.epoch = node_epoch then
        -- Its connection was given up and a later report was faster.
        if report_no <= known.report_no then
            return jsonb_build_object('is_late', true);
        end if;
        -- Its part was others' meanwhile: it has none before it asks.
        has_lapsed := known.lapses_at <= clock_timestamp();
        if has_lapsed then
            share := 0;
        end if;
    end if;
    insert into farebox_private.limit_nodes (node, epoch, share_of, lapses_at, report_no)
    values (
        node_id, node_epoch, 0, now() + make_interval(secs => (report ->> 'grace_seconds')::integer), coalesce(report_no, 0)
    )
    on conflict (node) do update set
        epoch = excluded.epoch,
        share_of = case when limit_nodes.epoch = excluded.epoch and not has_lapsed then limit_nodes.share_of else 0 end,
        renewed_at = now(),
        lapses_at = excluded.lapses_at,
        report_no = excluded.report_no;

    if has_lapsed then
        update farebox_private.limit_leases as lease
        set granted = least(lease.granted, lease.spent + lease.reserved)
        where lease.node = node_id
            and lease.epoch = node_epoch;
    end if;

    -- What an earlier start of this proxy held is over; what it spent is in its own notes, each start's
    -- taken once. The lease of the start that held one takes its own; the rest is used at once.
    with recovered as (
        select
            note.epoch, note.limit_id, note.scope, note.spent, coalesce(note.values, '{}') as scope_values,
            to_timestamp(note.start::numeric / 1000) as window_start,
            case when note."end" is null then 'infinity' else to_timestamp(note."end"::numeric / 1000) end as window_end
        from jsonb_to_recordset(coalesce(report -> 'recovered', '[]'))
            as note (epoch bigint, limit_id uuid, scope text, start bigint, "end" bigint, "values" jsonb, spent numeric)
        where note.epoch > coalesce(known.closed_epoch, -1)
            and note.epoch < node_epoch
    ),
    matched as (
        update farebox_private.limit_leases as lease
        set spent = greatest(lease.spent, recovered.spent)
        from recovered
        where (lease.limit_id, lease.scope, lease.window_start) = (recovered.limit_id, recovered.scope, recovered.window_start)
            and lease.node = node_id
            and lease.epoch = recovered.epoch
        returning recovered.limit_id, recovered.scope, recovered.window_start, recovered.epoch
    )
    insert into farebox_private.limit_usage as usage
        (limit_id, scope, window_start, window_end, tenant_id, scope_values, used)
    select
        recovered.limit_id, recovered.scope, recovered.window_start, max(recovered.window_end),
        coalesce(max(limits.tenant_id), max(recovered.scope_values ->> 'tenant')),
        (max(recovered.scope_values::text))::jsonb, sum(recovered.spent)
    from recovered
    join farebox_private.limits using (limit_id)
    where recovered.window_end > now()
        and not exists (
            select from matched
            where (matched.limit_id, matched.scope, matched.window_start, matched.epoch)
                = (recovered.limit_id, recovered.scope, recovered.window_start, recovered.epoch)
        )
    group by recovered.limit_id, recovered.scope, recovered.window_start
    on conflict on constraint limit_usage_pkey do update set used = usage.used + excluded.used;
    update farebox_private.limit_nodes
    set closed_epoch = greatest(closed_epoch, node_epoch - 1)
    where node = node_id;
    with closed as (
        delete from farebox_private.limit_leases as lease
        where lease.node = node_id and lease.epoch < node_epoch
        returning lease.*
    )
    update farebox_private.limit_usage as usage
    set used = usage.used + closed.spent,
        would_refuse = usage.would_refuse + closed.would_refuse,
        updated_at = now()
    from closed
    where (usage.limit_id, usage.scope, usage.window_start) = (closed.limit_id, closed.scope, closed.window_start);

    for item in select value from jsonb_array_elements(coalesce(report -> 'leases', '[]')) as value
    loop
        select * into bound from farebox_private.limits where limits.limit_id = (item ->> 'limit_id')::uuid;
        if not found then
            answers := answers || jsonb_build_array(null);
            continue;
        end if;
        start_at := to_timestamp((item ->> 'start')::numeric / 1000);
        end_at := case when item ->> 'end' is null then 'infinity' else to_timestamp((item ->> 'end')::numeric / 1000) end;
        is_soft := bound.action = 'warn' or bound.dry_run;
        lease_spent := (item ->> 'spent')::numeric;
        lease_reserved := (item ->> 'reserved')::numeric;
        lease_granted := (item ->> 'granted')::numeric;
        lease_wanted := (item ->> 'wanted')::numeric;
        is_done := (item ->> 'is_done')::boolean;
        -- It was said before, and only the answer was lost.
        if is_done and (item ->> 'done_no')::bigint <= known.report_no and known.epoch = node_epoch then
            answers := answers || jsonb_build_array(jsonb_build_object(
                'granted', lease_granted::text, 'used', lease_spent::text, 'reserved', '0'
            ));
            continue;
        end if;

        insert into farebox_private.limit_usage (limit_id, scope, window_start, window_end, tenant_id, scope_values)
        values (
            bound.limit_id, item ->> 'scope', start_at, end_at,
            coalesce(bound.tenant_id, item -> 'values' ->> 'tenant'), item -> 'values'
        )
        on conflict on constraint limit_usage_pkey do update set updated_at = now()
        returning * into counter;

        select
            coalesce(sum(case
                when farebox_private.is_live_limit_node(lease.node) and not is_soft
                then greatest(lease.granted, lease.spent + lease.reserved)
                else lease.spent
            end), 0),
            coalesce(sum(lease.spent), 0),
            coalesce(sum(lease.reserved) filter (where farebox_private.is_live_limit_node(lease.node)), 0)
        into others_granted, others_spent, others_reserved
        from farebox_private.limit_leases as lease
        where (lease.limit_id, lease.scope, lease.window_start) = (counter.limit_id, counter.scope, counter.window_start)
            and lease.node <> node_id;
        select coalesce(sum(farebox_private.limit_share(bound.amount, other.share_of)), 0)
        into implied
        from farebox_private.limit_nodes as other
        where other.node <> node_id
            and other.share_of > 0
            and farebox_private.is_live_limit_node(other.node)
            and not exists (
                select from farebox_private.limit_leases as lease
                where (lease.limit_id, lease.scope, lease.window_start) = (counter.limit_id, counter.scope, counter.window_start)
                    and lease.node = other.node
            );
        select count(*) into live
        from farebox_private.limit_nodes as other
        where farebox_private.is_live_limit_node(other.node);

        room := bound.amount - counter.used - others_granted - implied;
        if is_soft then
            lease_granted := lease_spent + lease_reserved;
        else
            if lease_granted > room then
                lease_granted := greatest(lease_spent + lease_reserved, room, 0);
            end if;
            if lease_wanted > 0 and room - lease_granted >= lease_wanted then
                -- A share of what is free, so that leases shrink as it comes to its end; but what is asked for,
                -- or nothing: parts of it with each would be of use to none.
                lease_granted := lease_granted + least(
                    room - lease_granted,
                    greatest((room - lease_granted) / greatest(live, 1), lease_wanted)
                );
            end if;
            if lease_wanted > 0 and lease_granted < lease_spent + lease_reserved + lease_wanted then
                update farebox_private.limit_usage as usage
                set contended_at = now()
                where (usage.limit_id, usage.scope, usage.window_start) = (counter.limit_id, counter.scope, counter.window_start);
            end if;
        end if;
        lease_granted := trunc(lease_granted, 12);

        if is_done then
            delete from farebox_private.limit_leases as lease
            where (lease.limit_id, lease.scope, lease.window_start, lease.node)
                = (counter.limit_id, counter.scope, counter.window_start, node_id);
            update farebox_private.limit_usage as usage
            set used = usage.used + lease_spent,
                would_refuse = usage.would_refuse + (item ->> 'would_refuse')::bigint
            where (usage.limit_id, usage.scope, usage.window_start) = (counter.limit_id, counter.scope, counter.window_start);
        else
            insert into farebox_private.limit_leases as lease
                (limit_id, scope, window_start, node, tenant_id, epoch, granted, spent, reserved, would_refuse)
            values (
                counter.limit_id, counter.scope, counter.window_start, node_id, counter.tenant_id, node_epoch,
                lease_granted, lease_spent, lease_reserved, (item ->> 'would_refuse')::bigint
            )
            on conflict on constraint limit_leases_pkey do update set
                epoch = excluded.epoch,
                granted = excluded.granted,
                spent = excluded.spent,
                reserved = excluded.reserved,
                would_refuse = excluded.would_refuse,
                renewed_at = now();
        end if;
        answers := answers || jsonb_build_array(jsonb_build_object(
            'granted', lease_granted::text,
            'used', (counter.used + others_spent)::text,
            'reserved', others_reserved::text
        ));
    end loop;

    -- The share of counters without a lease: smaller at once, larger only where the others' leave room.
    select count(*) into live
    from farebox_private.limit_nodes as other
    where farebox_private.is_live_limit_node(other.node);
    select coalesce(sum(1::numeric / other.share_of), 0)
    into others_share
    from farebox_private.limit_nodes as other
    where other.node <> node_id
        and other.share_of > 0
        and farebox_private.is_live_limit_node(other.node);
    told_share := share;
    if (report ->> 'is_leaving')::boolean then
        share := 0;
        told_share := 0;
    elsif share > 0 and live >= share then
        told_share := live;
    elsif others_share + 1::numeric / live <= 1 then
        -- A larger share is of what nobody has used yet. Of the counters there are by now it keeps what it
        -- could take without asking, as a lease, and is told so; what is told once more, because an answer
        -- was lost, is the same. Where they are too many, every counter has to be asked for. A clock that
        -- is behind may still be in a window that has ended here.
        select count(*) into running_count
        from (
            select from farebox_private.limit_usage as usage
            where usage.window_end > now() - interval '1 minute'
            limit counters_max + 1
        ) as running;
        if running_count <= counters_max then
            insert into farebox_private.limit_leases
                (limit_id, scope, window_start, node, tenant_id, epoch, granted, spent, reserved)
            select
                usage.limit_id, usage.scope, usage.window_start, node_id, usage.tenant_id, node_epoch,
                farebox_private.limit_share(limits.amount, share), 0, 0
            from farebox_private.limit_usage as usage
            join farebox_private.limits using (limit_id)
            where usage.window_end > now() - interval '1 minute'
            on conflict on constraint limit_leases_pkey do nothing;
            select coalesce(jsonb_agg(jsonb_build_object(
                'limit_id', usage.limit_id,
                'scope', usage.scope,
                'start', (extract(epoch from usage.window_start) * 1000)::bigint,
                'end', case when isfinite(usage.window_end) then (extract(epoch from usage.window_end) * 1000)::bigint end,
                'granted', lease.granted::text
            )), '[]')
            into counters
            from farebox_private.limit_usage as usage
            join farebox_private.limit_leases as lease using (limit_id, scope, window_start)
            where usage.window_end > now() - interval '1 minute'
                and lease.node = node_id;
            share := live;
            told_share := live;
        end if;
    end if;
    update farebox_private.limit_nodes set share_of = share where node = node_id;

    insert into farebox_private.limit_events
        (limit_event_id, limit_id, tenant_id, at, kind, meter, used, amount, node, scope, window_start, sent_at, expires_at)
    select
        gen_random_uuid(), limits.limit_id, coalesce(limits.tenant_id, event ->> 'tenant_id'),
        to_timestamp((event ->> 'at')::numeric / 1000), event ->> 'kind', limits.meter,
        (event ->> 'used')::numeric, limits.amount, node_id, event ->> 'scope',
        to_timestamp((event ->> 'start')::numeric / 1000), now(),
        case when event ->> 'end' is not null then to_timestamp((event ->> 'end')::numeric / 1000) end
    from jsonb_array_elements(coalesce(report -> 'events', '[]')) as event
    join farebox_private.limits on limits.limit_id = (event ->> 'limit_id')::uuid
    on conflict on constraint one_of_a_window do nothing;

    insert into farebox_private.agents (tenant_id, agent)
    select agent ->> 0, agent ->> 1
    from jsonb_array_elements(coalesce(report -> 'agents', '[]')) as agent
    on conflict do nothing;
    select coalesce(jsonb_agg(jsonb_build_array(tenant_id, agent)), '[]'), max(agent_no)
    into agents_new, agents_last
    from (
        select agent_no, tenant_id, agent
        from farebox_private.agents
        where agent_no > coalesce((report ->> 'agents_after')::bigint, 0)
        order by agent_no
        limit 10000
    ) as later;

    -- Others ask for more than is free: what this proxy does not need is theirs.
    select coalesce(jsonb_agg(jsonb_build_object(
        'limit_id', usage.limit_id,
        'scope', usage.scope,
        'values', usage.scope_values,
        'start', (extract(epoch from usage.window_start) * 1000)::bigint,
        'end', case when isfinite(usage.window_end) then (extract(epoch from usage.window_end) * 1000)::bigint end
    )), '[]')
    into contended
    from (
        select *
        from farebox_private.limit_usage
        where contended_at > now() - interval '5 seconds'
            and window_end > now()
        order by contended_at desc
        limit 200
    ) as usage;

    if (report ->> 'is_leaving')::boolean then
        with closed as (
            delete from farebox_private.limit_leases as lease
            where lease.node = node_id
            returning lease.*
        )
        update farebox_private.limit_usage as usage
        set used = usage.used + closed.spent,
            would_refuse = usage.would_refuse + closed.would_refuse
        from closed
        where (usage.limit_id, usage.scope, usage.window_start) = (closed.limit_id, closed.scope, closed.window_start);
        update farebox_private.limit_nodes
        set closed_epoch = node_epoch, lapses_at = now()
        where node = node_id;
    end if;
    -- Windows long past, now and then.
    if random() < 0.001 then
        delete from farebox_private.limit_usage where window_end < now() - interval '400 days';
    end if;

    return jsonb_build_object(
        'is_stale', false,
        'has_lapsed', has_lapsed,
        'live', live,
        'share_of', told_share,
        'leases', answers,
        'contended', contended,
        'counters', counters,
        'agents', agents_new,
        'agents_last', agents_last
    );
end
$function$;
revoke execute on function farebox_private.renew_limit_leases(text, bigint, jsonb) from public;
grant execute on function farebox_private.renew_limit_leases(text, bigint, jsonb) to farebox_proxy;
comment on function farebox_private.renew_limit_leases(text, bigint, jsonb) is
    'What a proxy spends of limits goes in, what it may spend comes out; events and agents with it. For farebox_proxy.';
