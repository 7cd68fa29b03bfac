create or replace view farebox_private.directory_rate_cards as
select
    cards.kind,
    cards.provider,
    cards.sha256 as revision,
    cards.activated_at is not null
        and row_number() over (
            partition by cards.kind, cards.provider
            order by cards.activated_at desc nulls last, cards.sha256 desc
        ) = 1 as is_active,
    cards.canonical
from farebox_private.rate_card_revisions as cards;

grant select on farebox_private.directory_rate_cards to farebox_proxy, farebox_collector;
comment on view farebox_private.directory_rate_cards is 'What a proxy knows of rate cards and selling rules: every revision, and which is in force.';
comment on column farebox_private.directory_rate_cards.kind is 'cost (a provider''s prices) or price (selling rules).';
comment on column farebox_private.directory_rate_cards.provider is 'The vendor; * for selling rules.';
comment on column farebox_private.directory_rate_cards.revision is 'SHA-256 of the canonical form: the revision''s identity.';
comment on column farebox_private.directory_rate_cards.is_active is 'Whether it is the revision in force.';
comment on column farebox_private.directory_rate_cards.canonical is 'The card''s canonical JSON text.';
