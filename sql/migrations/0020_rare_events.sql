-- What few events have and people look for: nobody's, those without a price, how a call went wrong, and the later
-- attempts and parts of a call. An ordinary event has no entry in any of these.

-- The index of tenants' events holds nobody's as well, but Postgres takes no order from it for `is null`.
create index usage_events_of_nobody on farebox_private.usage_events (event_id)
    where tenant_id is null;

create index usage_events_of_pricing on farebox_private.usage_events (pricing, event_id)
    where pricing in ('unpriced', 'partial', 'unknown');
create index usage_events_of_ending on farebox_private.usage_events (ending, event_id)
    where ending <> 'complete' and ending <> 'continues';
create index usage_events_of_status on farebox_private.usage_events (status, event_id)
    where status >= 400;
create index usage_events_of_usage_source on farebox_private.usage_events (usage_source, event_id)
    where usage_source in ('partial', 'estimated', 'pending', 'missing');
create index usage_events_of_call on farebox_private.usage_events (call_id)
    where call_id <> event_id;
