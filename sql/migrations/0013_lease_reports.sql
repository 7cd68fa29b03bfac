-- Reports on leases are numbered, so that one that was overtaken changes nothing.

alter table farebox_private.limit_nodes add column report_no bigint not null default 0;
comment on column farebox_private.limit_nodes.report_no is
    'The last report of this start that was taken; an earlier one that arrives later is not listened to.';

-- What one part in so many of an amount is, never less than what the proxy makes of it: rounded down to
-- the twelfth decimal, exactly.
create function farebox_private.limit_share(amount numeric, parts integer) returns numeric
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $function$
    select case when parts > 0 then div(amount * 1000000000000, parts) * 0.000000000001 else 0 end
$function$;
comment on function farebox_private.limit_share(numeric, integer) is
    'One part in so many of an amount, rounded down to twelve decimals; of 0 parts nothing.';
