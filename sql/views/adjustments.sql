create or replace view farebox.adjustments as
select
    adjustments.adjustment_id,
    adjustments.event_id,
    adjustments.kind,
    case when (select farebox_private.sees_all()) then adjustments.actor end as actor,
    adjustments.reason,
    case when (select farebox_private.sees_all()) then adjustments.old_revision end as old_revision,
    case when (select farebox_private.sees_all()) then adjustments.new_revision end as new_revision,
    adjustments.booked_at,
    adjustments.started_at,
    adjustments.day,
    adjustments.period,
    adjustments.tenant_id,
    coalesce(customers.customer_id, adjustments.customer_id) as customer_id,
    adjustments.project,
    adjustments.key_id,
    adjustments.environment,
    adjustments.paid_by,
    adjustments.provider,
    adjustments.endpoint,
    adjustments.model,
    adjustments.pricing,
    adjustments.meter,
    adjustments.quantity,
    case when (select farebox_private.sees_all()) or adjustments.paid_by <> 'operator' then adjustments.cost_usd end as cost_usd,
    adjustments.billed_usd,
    adjustments.batch_id,
    adjustments.event_period,
    adjustments.events,
    adjustments.unpriced_events
from farebox_private.adjustments
left join farebox_private.customers
    on customers.tenant_id = adjustments.tenant_id and customers.reference = adjustments.customer_id;

grant select on farebox.adjustments to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.adjustments is 'Corrections of booked events.';
comment on column farebox.adjustments.adjustment_id is 'Identifier of the adjustment.';
comment on column farebox.adjustments.event_id is 'The event it corrects.';
comment on column farebox.adjustments.kind is 'reprice, retag, reread or manual.';
comment on column farebox.adjustments.actor is 'Who booked it. Null for tenants.';
comment on column farebox.adjustments.reason is 'Why.';
comment on column farebox.adjustments.old_revision is 'The rate card or reader it was booked by. Null for tenants.';
comment on column farebox.adjustments.new_revision is 'The rate card or reader it is corrected to. Null for tenants.';
comment on column farebox.adjustments.booked_at is 'When it was booked.';
comment on column farebox.adjustments.started_at is 'started_at of its event; its hour in the roll-ups.';
comment on column farebox.adjustments.day is 'The day of its event in the roll-ups.';
comment on column farebox.adjustments.period is 'The month open when it was booked, by its first day.';
comment on column farebox.adjustments.tenant_id is 'The tenant it is booked to; null: unattributed.';
comment on column farebox.adjustments.customer_id is 'The customer it is booked to.';
comment on column farebox.adjustments.project is 'The project it is booked to.';
comment on column farebox.adjustments.key_id is 'The virtual key.';
comment on column farebox.adjustments.environment is 'live or test.';
comment on column farebox.adjustments.paid_by is 'Who the provider bills.';
comment on column farebox.adjustments.provider is 'The vendor.';
comment on column farebox.adjustments.endpoint is 'The kind of call.';
comment on column farebox.adjustments.model is 'The model.';
comment on column farebox.adjustments.pricing is 'Pricing of the row it moves in the roll-ups.';
comment on column farebox.adjustments.meter is 'What is corrected.';
comment on column farebox.adjustments.quantity is 'Signed change of the quantity.';
comment on column farebox.adjustments.cost_usd is 'Signed change of the cost. Null for tenants where the operator pays.';
comment on column farebox.adjustments.billed_usd is 'Signed change of what is billed.';
comment on column farebox.adjustments.batch_id is 'What was corrected together.';
comment on column farebox.adjustments.event_period is 'The month its event was first booked in; an earlier one than period makes it a credit or debit line.';
comment on column farebox.adjustments.events is 'Signed change of the count of events, on rows of the meter calls.';
comment on column farebox.adjustments.unpriced_events is 'Signed change of the count of events without a price, on rows of the meter calls.';
