create or replace view farebox.invoices as
select
    invoices.invoice_id,
    invoices.number,
    invoices.tenant_id,
    invoices.period,
    invoices.billed_usd,
    invoices.lines_sha256,
    invoices.events_sha256,
    invoices.closed_at,
    case when (select farebox_private.sees_all()) then invoices.closed_by end as closed_by,
    invoices.currency,
    invoices.from_at,
    invoices.to_at,
    invoices.events,
    invoices.unknown_events,
    case when (select farebox_private.sees_all()) then invoices.despite end as despite
from farebox_private.invoices;

grant select on farebox.invoices to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.invoices is 'Closed invoices.';
comment on column farebox.invoices.invoice_id is 'Identifier of the invoice.';
comment on column farebox.invoices.number is 'The number on the invoice.';
comment on column farebox.invoices.tenant_id is 'The tenant.';
comment on column farebox.invoices.period is 'The month''s first day.';
comment on column farebox.invoices.billed_usd is 'Sum of the lines.';
comment on column farebox.invoices.lines_sha256 is 'SHA-256 over the lines.';
comment on column farebox.invoices.events_sha256 is 'SHA-256 over a line `id billed_usd` for each event and adjustment of the month, in the order of their ids.';
comment on column farebox.invoices.closed_at is 'When the month was closed.';
comment on column farebox.invoices.closed_by is 'Who closed it. Null for tenants.';
comment on column farebox.invoices.currency is 'USD.';
comment on column farebox.invoices.from_at is 'The month''s begin in the tenant''s zone.';
comment on column farebox.invoices.to_at is 'Its end, exclusive.';
comment on column farebox.invoices.events is 'Events and adjustments in the list that was hashed.';
comment on column farebox.invoices.unknown_events is 'Events of which no usage was known at the close; they are on no line.';
comment on column farebox.invoices.despite is 'Nodes that had not shipped past its end. Null for tenants.';
