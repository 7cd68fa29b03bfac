create or replace view farebox.rates as
select
    cards.provider,
    cards.kind,
    cards.sha256 as revision,
    cards.activated_at,
    model.value ->> 'model' as model,
    coalesce(model.value -> 'aliases', '[]') as aliases,
    (revision.value ->> 'from')::timestamptz as valid_from,
    rate.value ->> 'meter' as meter,
    (rate.value ->> 'usd')::numeric as usd,
    (rate.value ->> 'per')::numeric as per,
    coalesce(rate.value -> 'when', '{}') as conditions,
    rate.value ->> 'source' as source,
    (rate.value ->> 'checked')::date as checked_on
from farebox_private.rate_card_revisions as cards
cross join lateral jsonb_array_elements(cards.canonical::jsonb -> 'models') as model (value)
cross join lateral jsonb_array_elements(model.value -> 'revisions') as revision (value)
cross join lateral jsonb_array_elements(revision.value -> 'rates') as rate (value);

grant select on farebox.rates to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.rates is 'Prices of all cards, one row for each model, start, meter and condition. Empty for tenants.';
comment on column farebox.rates.provider is 'The vendor.';
comment on column farebox.rates.kind is 'cost (a provider''s prices) or price (selling rules).';
comment on column farebox.rates.revision is 'The card.';
comment on column farebox.rates.activated_at is 'When it became active; null: not yet.';
comment on column farebox.rates.model is 'The card''s name of the model.';
comment on column farebox.rates.aliases is 'Its other names.';
comment on column farebox.rates.valid_from is 'When the price starts; null: since the model exists.';
comment on column farebox.rates.meter is 'What is counted.';
comment on column farebox.rates.usd is 'US dollars for every per units.';
comment on column farebox.rates.per is 'Units the dollars are for.';
comment on column farebox.rates.conditions is 'When the price holds; empty: always.';
comment on column farebox.rates.source is 'Where the price was read.';
comment on column farebox.rates.checked_on is 'The day it was read.';
