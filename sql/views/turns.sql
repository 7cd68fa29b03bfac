create or replace view farebox.turns as
select
    events.event_id,
    events.call_id,
    events.tenant_id,
    coalesce(customers.customer_id, events.customer_id) as customer_id,
    events.session_id,
    events.run_id,
    events.part as turn,
    events.provider,
    events.endpoint,
    coalesce(events.model, events.model_requested) as model,
    events.started_at,
    events.ended_at,
    events.duration_ms,
    -- The first part counts from the handshake, which is no speech of anybody's.
    case when events.part > 1 then events.ttft_ms end as response_ms,
    null::numeric as talk_over_ms,
    events.ending,
    events.is_final,
    events.usage::jsonb as usage,
    case when (select farebox_private.sees_all()) or events.paid_by <> 'operator' then events.cost_usd end as cost_usd,
    events.billed_usd
from farebox_private.usage_events as events
left join farebox_private.customers
    on customers.tenant_id = events.tenant_id and customers.reference = events.customer_id
where events.transport = 'websocket'
    and events.endpoint in ('realtime', 'agent', 'listen', 'speak');

grant select on farebox.turns to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.turns is 'Turns of voice sockets: one row for each part, which ends where the vendor reports a turn''s usage. A socket that is reported as a whole is one turn.';
comment on column farebox.turns.event_id is 'The event of the turn.';
comment on column farebox.turns.call_id is 'The socket.';
comment on column farebox.turns.tenant_id is 'The tenant; null: unattributed.';
comment on column farebox.turns.customer_id is 'The tenant''s end customer.';
comment on column farebox.turns.session_id is 'A conversation.';
comment on column farebox.turns.run_id is 'A run of an agent.';
comment on column farebox.turns.turn is 'Number of the turn in its socket, from 1.';
comment on column farebox.turns.provider is 'The vendor.';
comment on column farebox.turns.endpoint is 'The kind of socket.';
comment on column farebox.turns.model is 'The model billed, else asked for.';
comment on column farebox.turns.started_at is 'Begin of the turn.';
comment on column farebox.turns.ended_at is 'End of the turn.';
comment on column farebox.turns.duration_ms is 'Length of the turn, in milliseconds.';
comment on column farebox.turns.response_ms is 'From the turn''s begin to its first generated output; null where it cannot be told, as in a socket''s first turn.';
comment on column farebox.turns.talk_over_ms is 'How long both sides spoke; null: not known.';
comment on column farebox.turns.ending is 'How the turn ended.';
comment on column farebox.turns.is_final is 'Whether it was the socket''s last.';
comment on column farebox.turns.usage is 'Quantity by meter, exact decimals as strings.';
comment on column farebox.turns.cost_usd is 'What the provider charges. Tenants see it where the operator does not pay.';
comment on column farebox.turns.billed_usd is 'What the operator charges; null: unpriced.';
