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
    invoices.closed_by
from farebox_private.invoices;

grant select on farebox.invoices to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.invoices is 'Closed invoices.';
comment on column farebox.invoices.invoice_id is 'Identifier of the invoice.';
comment on column farebox.invoices.number is 'The number on the invoice.';
comment on column farebox.invoices.tenant_id is 'The tenant.';
comment on column farebox.invoices.period is 'The month''s first day.';
comment on column farebox.invoices.billed_usd is 'Sum of the lines.';
comment on column farebox.invoices.lines_sha256 is 'SHA-256 over the lines.';
comment on column farebox.invoices.events_sha256 is 'SHA-256 over the list of (event_id, amounts).';
comment on column farebox.invoices.closed_at is 'When the month was closed.';
comment on column farebox.invoices.closed_by is 'Who closed it.';
