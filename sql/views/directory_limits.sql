create or replace view farebox_private.directory_limits as
select
    limits.limit_id,
    limits.tenant_id,
    limits.meter,
    limits.amount,
    limits.window_kind,
    limits.action,
    limits.dry_run,
    limits.expires_at
from farebox_private.limits
-- A narrower limit would bind the whole tenant in a proxy that does not know its scope.
where limits.customer_id is null
    and limits.key_id is null
    and limits.upstream is null
    and limits.model is null;

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
