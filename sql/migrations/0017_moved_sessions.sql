-- Sessions and runs are where their events are booked now: what a retag moves names both.

alter table farebox_private.adjustments
    add column session_id text,
    add column run_id text;
comment on column farebox_private.adjustments.session_id is 'Its event''s conversation, for a tenant that does not see the event.';
comment on column farebox_private.adjustments.run_id is 'Its event''s run, for a tenant that does not see the event.';
update farebox_private.adjustments
set session_id = usage_events.session_id, run_id = usage_events.run_id
from farebox_private.usage_events
where usage_events.event_id = adjustments.event_id;
create index adjustments_of_session on farebox_private.adjustments (session_id) where session_id is not null;
create index adjustments_of_run on farebox_private.adjustments (run_id) where run_id is not null;
