create or replace view farebox_private.directory_limits as
select
    limits.limit_id,
    limits.tenant_id,
    limits.meter,
    limits.amount,
    limits.window_kind,
    limits.action,
    limits.dry_run,
    limits.expires_at,
    limits.customer_id,
    limits.project,
    limits.agent,
    limits.key_id,
    limits.provider,
    limits.upstream,
    limits.model,
    limits.per,
    limits.basis,
    limits.fail
from farebox_private.limits;

grant select on farebox_private.directory_limits to farebox_proxy;
comment on view farebox_private.directory_limits is 'What a proxy knows of limits.';
comment on column farebox_private.directory_limits.limit_id is 'Identifier of the limit.';
comment on column farebox_private.directory_limits.tenant_id is 'The tenant it binds; null: everybody.';
comment on column farebox_private.directory_limits.meter is 'What is counted.';
comment on column farebox_private.directory_limits.amount is 'How much a window allows.';
comment on column farebox_private.directory_limits.window_kind is 'The window the amount is for.';
comment on column farebox_private.directory_limits.action is 'What happens past it.';
comment on column farebox_private.directory_limits.dry_run is 'Counted and reported, never enforced.';
comment on column farebox_private.directory_limits.expires_at is 'When it stops to hold; null: never.';
comment on column farebox_private.directory_limits.customer_id is 'The customer it binds; null: all.';
comment on column farebox_private.directory_limits.project is 'The project it binds; null: all.';
comment on column farebox_private.directory_limits.agent is 'The agent it binds; null: all.';
comment on column farebox_private.directory_limits.key_id is 'The virtual key it binds; null: all.';
comment on column farebox_private.directory_limits.provider is 'The vendor it binds; null: all.';
comment on column farebox_private.directory_limits.upstream is 'The upstream it binds; null: all.';
comment on column farebox_private.directory_limits.model is 'The model it binds; null: all.';
comment on column farebox_private.directory_limits.per is 'Dimensions each value of which has the amount for itself.';
comment on column farebox_private.directory_limits.basis is 'For usd: billed or cost.';
comment on column farebox_private.directory_limits.fail is 'What holds while it cannot be checked: closed or open.';
