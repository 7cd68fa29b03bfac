create or replace view farebox.rates as
select
    cards.provider,
    cards.kind,
    cards.sha256 as revision,
    cards.activated_at,
    model.value ->> 'model' as model,
    coalesce(model.value -> 'aliases', '[]') as aliases,
    (revision.value ->> 'from')::timestamp at time zone 'UTC' as valid_from,
    rate.value ->> 'meter' as meter,
    (rate.value ->> 'usd')::numeric as usd,
    (rate.value ->> 'per')::numeric as per,
    coalesce(rate.value -> 'when', '{}') as conditions,
    rate.value ->> 'source' as source,
    (rate.value ->> 'checked')::date as checked_on,
    null::text as rule,
    null::text as tenant_id,
    null::text as plan,
    null::numeric as markup,
    null::timestamptz as valid_to
from farebox_private.rate_card_revisions as cards
cross join lateral jsonb_array_elements(cards.canonical::jsonb -> 'models') as model (value)
cross join lateral jsonb_array_elements(model.value -> 'revisions') as revision (value)
cross join lateral jsonb_array_elements(revision.value -> 'rates') as rate (value)
where cards.kind = 'cost'
union all
select
    coalesce(rule.value ->> 'provider', cards.provider),
    cards.kind,
    cards.sha256,
    cards.activated_at,
    rule.value ->> 'model',
    '[]',
    (rule.value ->> 'from')::timestamp at time zone 'UTC',
    meter.value,
    (rule.value ->> 'usd')::numeric,
    (rule.value ->> 'per')::numeric,
    coalesce(rule.value -> 'when', '{}'),
    null,
    null,
    rule.value ->> 'rule',
    rule.value ->> 'tenant',
    rule.value ->> 'plan',
    (rule.value ->> 'markup')::numeric,
    (rule.value ->> 'to')::timestamp at time zone 'UTC'
from farebox_private.rate_card_revisions as cards
cross join lateral jsonb_array_elements(coalesce(cards.canonical::jsonb -> 'rules', '[]')) as rule (value)
left join lateral jsonb_array_elements_text(rule.value -> 'meters') as meter (value) on true
where cards.kind = 'price';

grant select on farebox.rates to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.rates is 'Prices of all cards, one row for each model, start, meter and condition, and the selling rules, one row for each rule and meter. Empty for tenants.';
comment on column farebox.rates.provider is 'The vendor; * for a selling rule of all.';
comment on column farebox.rates.kind is 'cost (a provider''s prices) or price (selling rules).';
comment on column farebox.rates.revision is 'The card.';
comment on column farebox.rates.activated_at is 'When it became active; null: not yet.';
comment on column farebox.rates.model is 'The card''s name of the model; null: a selling rule of all.';
comment on column farebox.rates.aliases is 'Its other names.';
comment on column farebox.rates.valid_from is 'When the price starts; null: since the model exists.';
comment on column farebox.rates.meter is 'What is counted; null: a markup on everything.';
comment on column farebox.rates.usd is 'US dollars for every per units; null: a price in credits, or a markup.';
comment on column farebox.rates.per is 'Units the dollars are for.';
comment on column farebox.rates.conditions is 'When the price holds; empty: always.';
comment on column farebox.rates.source is 'Where the price was read; null for selling rules.';
comment on column farebox.rates.checked_on is 'The day it was read.';
comment on column farebox.rates.rule is 'The selling rule''s name; null for a provider''s prices.';
comment on column farebox.rates.tenant_id is 'The tenant the selling rule is for; null: all.';
comment on column farebox.rates.plan is 'The plan the selling rule is for; null: all.';
comment on column farebox.rates.markup is 'What the selling rule multiplies the cost by; null: a fixed price.';
comment on column farebox.rates.valid_to is 'When the selling rule ends, not included; null: when a later one starts.';
