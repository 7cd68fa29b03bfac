-- Selling: the plan an event was priced by, and what is included in a month's price.

alter table farebox_private.usage_events add column plan text;
comment on column farebox_private.usage_events.plan is 'The tenant''s plan when the call began; selling rules go by it.';

-- What was billed without a known cost: it has no place in the index of what is unpriced.
create index usage_events_without_cost on farebox_private.usage_events (tenant_id, period)
    where cost_usd is null and pricing = 'priced';

-- What is included is part of the selling rules, which only the operator reads. Tenants see what is
-- included in their own price, so it stands in rows of its own.
create table farebox_private.allowances (
    revision text not null references farebox_private.rate_card_revisions (sha256),
    allowance text not null,
    tenant_id text,
    plan text,
    provider text,
    model text,
    meters text[],
    usd farebox_private.usd,
    quantity numeric,
    valid_from date,
    valid_to date,
    constraint allowances_pkey primary key (revision, allowance),
    constraint includes_one_thing check ((usd is null) <> (quantity is null)),
    constraint includes_something check (usd > 0 or quantity > 0),
    constraint valid_from_is_month check (extract(day from valid_from) = 1),
    constraint valid_to_is_month check (extract(day from valid_to) = 1)
);
comment on table farebox_private.allowances is 'What each revision of the selling rules includes in a calendar month''s price.';
comment on column farebox_private.allowances.revision is 'The revision of the selling rules.';
comment on column farebox_private.allowances.allowance is 'Its name in them.';
comment on column farebox_private.allowances.tenant_id is 'The tenant it is for; null: all of the plan.';
comment on column farebox_private.allowances.plan is 'The plan it is for; null: every plan.';
comment on column farebox_private.allowances.provider is 'The vendor; null: all.';
comment on column farebox_private.allowances.model is 'The model; null: all.';
comment on column farebox_private.allowances.meters is 'The meters; null: all.';
comment on column farebox_private.allowances.usd is 'How much of the billed amount is included.';
comment on column farebox_private.allowances.quantity is 'How many units of the meters are included.';
comment on column farebox_private.allowances.valid_from is 'First month it holds in; null: always.';
comment on column farebox_private.allowances.valid_to is 'First month it does not hold in any more; null: none.';

alter table farebox_private.allowances enable row level security;
alter table farebox_private.allowances force row level security;
create policy own_rows on farebox_private.allowances
    to public
    using (
        (select farebox_private.sees_all())
        or tenant_id = (select farebox_private.own_tenant())
        or (
            tenant_id is null
            and (
                plan is null
                or plan = (
                    select tenants.plan
                    from farebox_private.tenants
                    where tenants.tenant_id = (select farebox_private.own_tenant())
                )
            )
        )
    );
grant select, insert on farebox_private.allowances to farebox_collector;

-- Tenants may not read revisions; of the selling rules they learn which one is in force, no more.
create function farebox_private.is_selling_revision(revision text) returns boolean
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    return revision = (
        select cards.sha256
        from farebox_private.rate_card_revisions as cards
        where cards.kind = 'price'
            and cards.activated_at is not null
        order by cards.activated_at desc, cards.sha256 desc
        limit 1
    );
comment on function farebox_private.is_selling_revision(text) is
    'Whether these are the selling rules in force.';
