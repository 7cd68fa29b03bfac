create or replace view farebox.limits as
select
    limits.limit_id,
    limits.tenant_id,
    limits.customer_id,
    limits.key_id,
    limits.upstream,
    limits.model,
    limits.meter,
    limits.amount,
    limits.window_kind,
    limits.action,
    limits.dry_run,
    limits.expires_at,
    limits.created_at,
    limits.created_by,
    limits.updated_at
from farebox_private.limits
where (select farebox_private.sees_all()) or limits.meter <> 'cost';

grant select on farebox.limits to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.limits is 'Limits. Tenants see their own, but none on cost.';
comment on column farebox.limits.limit_id is 'Identifier of the limit.';
comment on column farebox.limits.tenant_id is 'The tenant it binds; null: everybody.';
comment on column farebox.limits.customer_id is 'The customer it binds; null: all.';
comment on column farebox.limits.key_id is 'The virtual key it binds; null: all.';
comment on column farebox.limits.upstream is 'The upstream it binds; null: all.';
comment on column farebox.limits.model is 'The model it binds; null: all.';
comment on column farebox.limits.meter is 'What is counted: requests, a meter, cost or billed.';
comment on column farebox.limits.amount is 'How much a window allows.';
comment on column farebox.limits.window_kind is 'The window the amount is for.';
comment on column farebox.limits.action is 'What happens past it: refuse, warn or cut.';
comment on column farebox.limits.dry_run is 'Counted and reported, never enforced.';
comment on column farebox.limits.expires_at is 'When it stops to hold; null: never.';
comment on column farebox.limits.created_at is 'When it was made.';
comment on column farebox.limits.created_by is 'Who made it.';
comment on column farebox.limits.updated_at is 'When it was last changed.';
