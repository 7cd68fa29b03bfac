create or replace view farebox.rate_cards as
select
    cards.provider,
    cards.kind,
    cards.sha256 as revision,
    cards.activated_at is not null
        and not exists (
            select from farebox_private.rate_card_revisions as newer
            where newer.provider = cards.provider
                and newer.kind = cards.kind
                and newer.activated_at > cards.activated_at
        ) as is_active,
    cards.loaded_at,
    cards.activated_at,
    cards.activated_by,
    cards.canonical::jsonb as card
from farebox_private.rate_card_revisions as cards;

grant select on farebox.rate_cards to farebox_reader, farebox_collector, farebox_tenant;
comment on view farebox.rate_cards is 'Revisions of rate cards. Empty for tenants.';
comment on column farebox.rate_cards.provider is 'The vendor.';
comment on column farebox.rate_cards.kind is 'cost (a provider''s prices) or price (selling rules).';
comment on column farebox.rate_cards.revision is 'SHA-256 of the canonical form: the revision''s identity.';
comment on column farebox.rate_cards.is_active is 'Whether it is the revision in force.';
comment on column farebox.rate_cards.loaded_at is 'When it came into the database.';
comment on column farebox.rate_cards.activated_at is 'When it became active; null: not yet.';
comment on column farebox.rate_cards.activated_by is 'Who activated it; built-in cards: migrate.';
comment on column farebox.rate_cards.card is 'The card itself.';
