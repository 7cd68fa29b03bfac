-- A local day of another zone lies in two days of UTC. Its sums are kept for each of them, so that whole days of
-- UTC over all tenants are read from the daily sums as well, and not from 24 times as many hourly ones.

alter table farebox_private.usage_daily add column utc_day date;
comment on column farebox_private.usage_daily.utc_day is 'The day in UTC: of the events of a day in the tenant''s zone, those of this one.';

-- Days so far are one, which they are in UTC; where tenants live elsewhere, farebox_private.rebuild_rollups parts them.
update farebox_private.usage_daily set utc_day = day;
alter table farebox_private.usage_daily
    alter column utc_day set not null,
    drop constraint usage_daily_key,
    add constraint usage_daily_key unique nulls not distinct (
        tenant_id, day, meter, model, endpoint, provider, key_id, customer_id, project, period,
        environment, paid_by, pricing, utc_day
    );
create index usage_daily_utc_day on farebox_private.usage_daily (utc_day);
