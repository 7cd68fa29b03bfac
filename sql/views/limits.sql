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
    limits.updated_at,
    limits.project,
    limits.agent,
    limits.provider,
    limits.per,
    limits.basis,
    limits.fail
from farebox_private.limits
where (select farebox_private.sees_all()) or (limits.basis <> 'cost' and limits.tenant_id is not null);

grant select on farebox.limits to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.limits is 'Limits. Tenants see their own, but none on cost and none wider than they are.';
comment on column farebox.limits.limit_id is 'Identifier of the limit.';
comment on column farebox.limits.tenant_id is 'The tenant it binds; null: everybody.';
comment on column farebox.limits.customer_id is 'The customer it binds; null: all.';
comment on column farebox.limits.key_id is 'The virtual key it binds; null: all.';
comment on column farebox.limits.upstream is 'The upstream it binds; null: all.';
comment on column farebox.limits.model is 'The model it binds; null: all.';
comment on column farebox.limits.meter is 'What is counted: requests, concurrency, tokens, a meter, or usd.';
comment on column farebox.limits.amount is 'How much a window allows.';
comment on column farebox.limits.window_kind is 'The window the amount is for.';
comment on column farebox.limits.action is 'What happens past it: refuse or warn.';
comment on column farebox.limits.dry_run is 'Counted and reported, never enforced.';
comment on column farebox.limits.expires_at is 'When it stops to hold; null: never.';
comment on column farebox.limits.created_at is 'When it was made.';
comment on column farebox.limits.created_by is 'Who made it.';
comment on column farebox.limits.updated_at is 'When it was last changed.';
comment on column farebox.limits.project is 'The project it binds; null: all.';
comment on column farebox.limits.agent is 'The agent it binds; null: all.';
comment on column farebox.limits.provider is 'The vendor it binds; null: all.';
comment on column farebox.limits.per is 'Dimensions each value of which has the amount for itself.';
comment on column farebox.limits.basis is 'For usd: billed (what the tenant owes) or cost (what the provider charges the operator).';
comment on column farebox.limits.fail is 'What holds while it cannot be checked: closed (refused) or open (passes).';
