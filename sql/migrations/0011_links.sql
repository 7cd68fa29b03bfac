-- What an event is to an earlier or later one, beside the events: they are never touched.

create table farebox_private.event_links (
    event_id uuid not null,
    relation text not null,
    other_event_id uuid not null,
    tenant_id text,
    constraint event_links_pkey primary key (event_id, relation),
    constraint relation_is_known check (relation in ('settles', 'repeats')),
    constraint not_of_itself check (event_id <> other_event_id)
);
create index event_links_to on farebox_private.event_links (other_event_id, relation);
comment on table farebox_private.event_links is 'How events of one answer of a provider stand to each other, whichever was booked first: what usage_events shows as settles and repeats.';
comment on column farebox_private.event_links.event_id is 'The event that settles or repeats another.';
comment on column farebox_private.event_links.relation is 'settles: it tells the usage that the other left pending. repeats: the other was charged for the same provider id.';
comment on column farebox_private.event_links.other_event_id is 'The event that it settles or repeats.';
comment on column farebox_private.event_links.tenant_id is 'The tenant of the event that settles or repeats.';

alter table farebox_private.event_links enable row level security;
create policy own_rows on farebox_private.event_links
    to public
    using ((select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()));
grant select, insert on farebox_private.event_links to farebox_collector;
grant select, delete on farebox_private.event_links to farebox_retention;

insert into farebox_private.event_links (event_id, relation, other_event_id, tenant_id)
select event_id, 'settles', settles, tenant_id
from farebox_private.usage_events
where settles is not null
union all
select event_id, 'repeats', repeats, tenant_id
from farebox_private.usage_events
where repeats is not null
union all
select settling_event_id, 'settles', pending_event_id, tenant_id
from farebox_private.late_settlements
on conflict do nothing;
alter table farebox_private.event_links force row level security;

-- They are made anew behind the migrations, from the links.
drop function if exists farebox.explain(uuid);
drop function if exists farebox.invoice_preview(text, date);
drop view if exists farebox.usage_events;
drop view if exists farebox.unpriced_usage;

drop table farebox_private.late_settlements;
alter table farebox_private.usage_events
    drop constraint repeat_costs_nothing,
    drop column settles,
    drop column repeats,
    add constraint repeat_costs_nothing check (pricing <> 'repeat' or (cost_usd = 0 and billed_usd = 0));
