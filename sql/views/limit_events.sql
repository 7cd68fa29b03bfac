create or replace view farebox.limit_events as
select
    limit_events.limit_event_id,
    limit_events.limit_id,
    limit_events.tenant_id,
    limit_events.at,
    limit_events.kind,
    limit_events.meter,
    limit_events.used,
    limit_events.amount,
    case when (select farebox_private.sees_all()) then limit_events.node end as node,
    limit_events.at as triggered_at,
    limit_events.sent_at,
    limit_events.expires_at,
    limit_events.scope,
    limit_events.window_start
from farebox_private.limit_events
where (select farebox_private.sees_all())
    or exists (
        select from farebox_private.limits
        where limits.limit_id = limit_events.limit_id
            and limits.basis <> 'cost'
            and limits.tenant_id is not null
    );

grant select on farebox.limit_events to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.limit_events is 'When limits warned, refused or cut. Tenants see those of limits they see.';
comment on column farebox.limit_events.limit_event_id is 'Identifier.';
comment on column farebox.limit_events.limit_id is 'The limit.';
comment on column farebox.limit_events.tenant_id is 'The tenant that met it.';
comment on column farebox.limit_events.at is 'When.';
comment on column farebox.limit_events.kind is 'warning, refusal, cut, dry_run or reset.';
comment on column farebox.limit_events.meter is 'What was counted.';
comment on column farebox.limit_events.used is 'How much was used.';
comment on column farebox.limit_events.amount is 'How much is allowed.';
comment on column farebox.limit_events.node is 'The proxy. Null for tenants.';
comment on column farebox.limit_events.triggered_at is 'When, as the proxy saw it.';
comment on column farebox.limit_events.sent_at is 'When the proxy''s report of it came in.';
comment on column farebox.limit_events.expires_at is 'When the window ends, and with it what the event says.';
comment on column farebox.limit_events.scope is 'The values of the limit''s per, as a JSON array in text.';
comment on column farebox.limit_events.window_start is 'The window it happened in; null: none.';
