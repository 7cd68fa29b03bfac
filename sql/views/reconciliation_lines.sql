create or replace view farebox.reconciliation_lines as
select
    reconciliation_lines.reconciliation_id,
    reconciliation_lines.line,
    reconciliation_lines.day,
    reconciliation_lines.id,
    reconciliation_lines.credential,
    reconciliation_lines.model,
    reconciliation_lines.meter,
    reconciliation_lines.vendor_quantity,
    reconciliation_lines.quantity,
    reconciliation_lines.vendor_cost_usd,
    reconciliation_lines.cost_usd,
    reconciliation_lines.quantity_difference,
    reconciliation_lines.cost_difference_usd,
    reconciliation_lines.cause,
    reconciliation_lines.implied_rate,
    reconciliation_lines.booked_rate
from farebox_private.reconciliation_lines;

grant select on farebox.reconciliation_lines to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.reconciliation_lines is 'What was compared with a vendor''s report, line by line. Empty for tenants.';
comment on column farebox.reconciliation_lines.reconciliation_id is 'The comparison.';
comment on column farebox.reconciliation_lines.line is 'Number of the line, from 1.';
comment on column farebox.reconciliation_lines.day is 'The day, UTC; null where calls are compared one by one.';
comment on column farebox.reconciliation_lines.id is 'The vendor''s request or response id; null where days are compared.';
comment on column farebox.reconciliation_lines.credential is 'The provider credential, where the report names it.';
comment on column farebox.reconciliation_lines.model is 'The model as the rate card names it; null: the report does not say.';
comment on column farebox.reconciliation_lines.meter is 'What is counted; cost where the report has amounts without units.';
comment on column farebox.reconciliation_lines.vendor_quantity is 'Units that the vendor reports.';
comment on column farebox.reconciliation_lines.quantity is 'Units in the ledger, corrections included.';
comment on column farebox.reconciliation_lines.vendor_cost_usd is 'What the vendor charges.';
comment on column farebox.reconciliation_lines.cost_usd is 'Cost in the ledger, corrections included.';
comment on column farebox.reconciliation_lines.quantity_difference is 'The vendor''s units less the ledger''s.';
comment on column farebox.reconciliation_lines.cost_difference_usd is 'The vendor''s cost less the ledger''s.';
comment on column farebox.reconciliation_lines.cause is 'coverage: one side has nothing of it. units: the quantities differ. rate: the quantities agree and the amounts do not. Null: they agree.';
comment on column farebox.reconciliation_lines.implied_rate is 'What the vendor charged for one unit, in US dollars.';
comment on column farebox.reconciliation_lines.booked_rate is 'What the ledger has for one unit, in US dollars.';
