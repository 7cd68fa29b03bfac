create or replace view farebox.invoice_lines as
select
    invoice_lines.invoice_id,
    invoice_lines.line,
    invoice_lines.tenant_id,
    invoice_lines.kind,
    invoice_lines.provider,
    invoice_lines.model,
    invoice_lines.meter,
    invoice_lines.quantity,
    invoice_lines.billed_usd,
    invoice_lines.text,
    invoice_lines.corrects
from farebox_private.invoice_lines;

grant select on farebox.invoice_lines to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.invoice_lines is 'Lines of closed invoices.';
comment on column farebox.invoice_lines.invoice_id is 'The invoice.';
comment on column farebox.invoice_lines.line is 'Number of the line, from 1.';
comment on column farebox.invoice_lines.tenant_id is 'The invoice''s tenant.';
comment on column farebox.invoice_lines.kind is 'usage, allowance (included in the plan), or a credit or debit for an earlier month.';
comment on column farebox.invoice_lines.provider is 'The vendor.';
comment on column farebox.invoice_lines.model is 'The model.';
comment on column farebox.invoice_lines.meter is 'What is counted.';
comment on column farebox.invoice_lines.quantity is 'How much of it.';
comment on column farebox.invoice_lines.billed_usd is 'The amount.';
comment on column farebox.invoice_lines.text is 'What a person reads.';
comment on column farebox.invoice_lines.corrects is 'The earlier month that a credit or debit is for.';
