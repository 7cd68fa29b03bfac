create or replace view farebox.reconciliations as
select
    reconciliations.reconciliation_id,
    reconciliations.provider,
    reconciliations.from_day,
    reconciliations.to_day,
    reconciliations.by_id,
    reconciliations.tolerance_usd,
    reconciliations.tolerance_percent,
    reconciliations.lines,
    reconciliations.disagreeing,
    reconciliations.vendor_cost_usd,
    reconciliations.cost_usd,
    reconciliations.is_within,
    reconciliations.files_sha256,
    reconciliations.created_at,
    reconciliations.created_by
from farebox_private.reconciliations;

grant select on farebox.reconciliations to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.reconciliations is 'Comparisons of the ledger with a vendor''s own usage or cost report. Empty for tenants.';
comment on column farebox.reconciliations.reconciliation_id is 'Identifier.';
comment on column farebox.reconciliations.provider is 'The vendor.';
comment on column farebox.reconciliations.from_day is 'First day compared, UTC.';
comment on column farebox.reconciliations.to_day is 'The day after the last one.';
comment on column farebox.reconciliations.by_id is 'Whether the vendor''s report names single calls, so that they are compared one by one.';
comment on column farebox.reconciliations.tolerance_usd is 'A difference of cost up to this is none.';
comment on column farebox.reconciliations.tolerance_percent is 'A difference of units or cost up to this share of the vendor''s is none.';
comment on column farebox.reconciliations.lines is 'Lines compared.';
comment on column farebox.reconciliations.disagreeing is 'Lines with a cause.';
comment on column farebox.reconciliations.vendor_cost_usd is 'Sum of what the vendor reports; null: its report has no cost.';
comment on column farebox.reconciliations.cost_usd is 'Sum of what the ledger has for the same lines; null: the report has no cost.';
comment on column farebox.reconciliations.is_within is 'Whether no line has a cause.';
comment on column farebox.reconciliations.files_sha256 is 'SHA-256 over the files compared.';
comment on column farebox.reconciliations.created_at is 'When.';
comment on column farebox.reconciliations.created_by is 'Who.';
