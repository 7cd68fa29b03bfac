create or replace view farebox.customers as
select
    customers.tenant_id,
    customers.customer_id,
    customers.name,
    customers.settings,
    customers.created_at
from farebox_private.customers;

grant select on farebox.customers to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.customers is 'The tenants'' own end customers.';
comment on column farebox.customers.tenant_id is 'The tenant.';
comment on column farebox.customers.customer_id is 'The identifier used on the wire, unique in its tenant.';
comment on column farebox.customers.name is 'A name for people.';
comment on column farebox.customers.settings is 'Settings by name.';
comment on column farebox.customers.created_at is 'When the customer was made.';
