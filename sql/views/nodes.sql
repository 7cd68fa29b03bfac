create or replace view farebox.nodes as
select
    nodes.node,
    nodes.epoch,
    nodes.first_seen_at,
    nodes.last_seen_at,
    nodes.sent_at,
    nodes.open_since,
    nodes.retired_at,
    nodes.retired_by,
    nodes.retired_at is null as is_live,
    (
        select coalesce(sum(
            upper(received.ranges) - 1
            - (select sum(upper(part) - lower(part)) from unnest(received.ranges) as part)
        ), 0)::bigint
        from farebox_private.received_sequences as received
        where received.node = nodes.node
            and not isempty(received.ranges)
    ) as missing
from farebox_private.nodes
where (select farebox_private.sees_all());

grant select on farebox.nodes to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.nodes is 'Proxies that shipped. Empty for tenants.';
comment on column farebox.nodes.node is 'The proxy''s name.';
comment on column farebox.nodes.epoch is 'Its latest process start.';
comment on column farebox.nodes.first_seen_at is 'Its first request.';
comment on column farebox.nodes.last_seen_at is 'Its latest request, by the collector''s clock.';
comment on column farebox.nodes.sent_at is 'Its latest request, by its own clock.';
comment on column farebox.nodes.open_since is 'Earliest started_at of what it has not shipped yet.';
comment on column farebox.nodes.retired_at is 'When the operator retired it.';
comment on column farebox.nodes.retired_by is 'Who retired it.';
comment on column farebox.nodes.is_live is 'Not retired: a close waits for it.';
comment on column farebox.nodes.missing is 'Settlements that it numbered and that have not arrived.';
