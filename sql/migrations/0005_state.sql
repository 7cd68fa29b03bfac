-- Who owns what vendors keep, and which answers are one.

create table farebox_private.objects (
    provider text not null,
    account text not null,
    object_id text not null,
    tenant_id text,
    event_id uuid not null,
    part_of text,
    constraint objects_pkey primary key (provider, account, object_id)
);
comment on table farebox_private.objects is 'Things that vendors keep (files, batches, responses), by the tenant that made them. The first row of a thing stays.';
comment on column farebox_private.objects.provider is 'The vendor.';
comment on column farebox_private.objects.account is 'The credential''s id; of a caller''s own credential, tenant/ and the tenant.';
comment on column farebox_private.objects.object_id is 'The vendor''s name of it: an id, or the last two parts of a resource''s name.';
comment on column farebox_private.objects.tenant_id is 'The tenant that made it; null: made without a tenant.';
comment on column farebox_private.objects.event_id is 'The call that made it, or first told of it.';
comment on column farebox_private.objects.part_of is 'Of a batch''s file of results: the batch.';

-- Usage that was told before the call that made it was booked.
create table farebox_private.late_settlements (
    settling_event_id uuid not null,
    pending_event_id uuid not null,
    tenant_id text,
    constraint late_settlements_pkey primary key (settling_event_id)
);
create index late_settlements_pending on farebox_private.late_settlements (pending_event_id);
comment on table farebox_private.late_settlements is 'Events whose usage was told by one that was booked before them: what usage_events shows as settles where the event itself could not know.';
comment on column farebox_private.late_settlements.settling_event_id is 'The event that tells the usage.';
comment on column farebox_private.late_settlements.pending_event_id is 'The pending event whose usage it is.';
comment on column farebox_private.late_settlements.tenant_id is 'The settling event''s tenant.';

alter table farebox_private.response_claims
    add column charged_is_original boolean not null default false;
comment on column farebox_private.response_claims.charged_is_original is 'The charged event made the answer itself: another one that did so is no repeat of it.';
comment on column farebox_private.response_claims.claim is 'First half of the SHA-256 over provider, account and response id.';

do $security$
declare
    table_name text;
begin
    foreach table_name in array array['objects', 'late_settlements']
    loop
        execute format('alter table farebox_private.%I enable row level security', table_name);
        execute format('alter table farebox_private.%I force row level security', table_name);
    end loop;
end
$security$;
create policy operator_rows on farebox_private.objects
    to public
    using ((select farebox_private.sees_all()));
create policy own_rows on farebox_private.late_settlements
    to public
    using ((select farebox_private.sees_all()) or tenant_id = (select farebox_private.own_tenant()));
grant select, insert on farebox_private.objects, farebox_private.late_settlements to farebox_collector;
grant select, delete on farebox_private.objects, farebox_private.late_settlements to farebox_retention;
