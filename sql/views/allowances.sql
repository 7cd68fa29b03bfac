create or replace view farebox.allowances as
select
    tenants.tenant_id,
    allowances.allowance,
    allowances.plan,
    allowances.provider,
    allowances.model,
    allowances.meters,
    allowances.usd,
    allowances.quantity,
    allowances.valid_from,
    allowances.valid_to,
    allowances.revision
from farebox_private.allowances
cross join farebox_private.tenants
where (allowances.tenant_id is null or allowances.tenant_id = tenants.tenant_id)
    and (allowances.plan is null or allowances.plan = tenants.plan)
    and farebox_private.is_selling_revision(allowances.revision);

grant select on farebox.allowances to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.allowances is 'What the selling rules in force include in a calendar month''s price of each tenant. Tenants see their own.';
comment on column farebox.allowances.tenant_id is 'The tenant.';
comment on column farebox.allowances.allowance is 'The allowance''s name in the selling rules.';
comment on column farebox.allowances.plan is 'The plan it comes with; null: it does not go by the plan.';
comment on column farebox.allowances.provider is 'The vendor; null: all.';
comment on column farebox.allowances.model is 'The model; null: all.';
comment on column farebox.allowances.meters is 'The meters; null: all.';
comment on column farebox.allowances.usd is 'How much of the billed amount is included.';
comment on column farebox.allowances.quantity is 'How many units of the meters are included.';
comment on column farebox.allowances.valid_from is 'First month it holds in; null: always.';
comment on column farebox.allowances.valid_to is 'First month it does not hold in any more; null: none.';
comment on column farebox.allowances.revision is 'The revision of the selling rules.';
