create or replace view farebox.dead_air_events as
select
    events.event_id,
    events.call_id,
    events.tenant_id,
    events.session_id,
    events.part as turn,
    events.started_at,
    events.ended_at,
    events.duration_ms,
    null::numeric as threshold_ms
from farebox_private.usage_events as events
-- The proxy keeps no marks of speech.
where false;

grant select on farebox.dead_air_events to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.dead_air_events is 'Silences in voice sockets, with their full length. Empty: no marks of speech are kept.';
comment on column farebox.dead_air_events.event_id is 'The event of the turn it is in.';
comment on column farebox.dead_air_events.call_id is 'The socket.';
comment on column farebox.dead_air_events.tenant_id is 'The tenant.';
comment on column farebox.dead_air_events.session_id is 'A conversation.';
comment on column farebox.dead_air_events.turn is 'Number of the turn in its socket.';
comment on column farebox.dead_air_events.started_at is 'Begin of the silence.';
comment on column farebox.dead_air_events.ended_at is 'End of the silence.';
comment on column farebox.dead_air_events.duration_ms is 'Its full length, in milliseconds.';
comment on column farebox.dead_air_events.threshold_ms is 'From which length a silence counts.';
