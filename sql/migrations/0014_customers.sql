-- End customers by reference: what is kept for long holds the reference, and one row says whom it stands for.

alter table farebox_private.customers
    add column reference text not null default left(replace(gen_random_uuid()::text, '-', ''), 24),
    add column erased_at timestamptz,
    add constraint reference_is_unique unique (tenant_id, reference);
comment on table farebox_private.customers is 'The tenants'' own end customers, made by hand or by their first event: the one place that holds their ids.';
comment on column farebox_private.customers.reference is 'What stands for the customer in events, sums and corrections; random, so nothing leads from it to the id.';
comment on column farebox_private.customers.erased_at is 'When the id was erased; another stands in its place since.';

-- What was booked before.
do $references$
declare
    place text[];
begin
    foreach place slice 1 in array array[
        ['usage_events', 'tenant_id', 'customer_id'],
        ['usage_hourly', 'tenant_id', 'customer_id'],
        ['usage_daily', 'tenant_id', 'customer_id'],
        ['adjustments', 'tenant_id', 'customer_id'],
        ['corrections', 'tenant_id', 'customer_id'],
        ['corrections', 'tenant_before', 'customer_before']
    ]
    loop
        execute format(
            'update farebox_private.%1$I as kept set %3$I = customers.reference'
            ' from farebox_private.customers'
            ' where customers.tenant_id = kept.%2$I and customers.customer_id = kept.%3$I',
            place[1], place[2], place[3]
        );
    end loop;
end
$references$;

-- Erasing changes one row; what is booked stays as it is.
revoke update (customer_id) on farebox_private.usage_events, farebox_private.usage_hourly, farebox_private.usage_daily,
    farebox_private.adjustments from farebox_retention;
revoke update (customer_id, customer_before) on farebox_private.corrections from farebox_retention;
revoke delete on farebox_private.customers from farebox_retention;
grant update (customer_id, name, settings, erased_at) on farebox_private.customers to farebox_retention;
-- Sessions hand the id on to their later calls.
grant select, update (labels) on farebox_private.session_attributions to farebox_retention;

-- A session's id leads to it by itself; the tenant before it made each entry as dear as two.
drop index farebox_private.usage_events_of_session;
create index usage_events_of_session on farebox_private.usage_events (session_id) where session_id is not null;
