//! Rate cards and selling rules in force: those compiled in, unless the database has activated others.
//!
//! A call takes the set once, when it begins. A revision that this program cannot read leaves the one
//! in force before, and says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use farebox_pricing::rate_card::selling::{ALL_PROVIDERS, KIND, SellingRules};
use farebox_pricing::rate_card::{CardSet, InvalidCard, RateCard};
use serde::{Deserialize, Serialize};
use tokio_postgres::{Error, GenericClient};

use super::Directory;

const IN_FORCE: &str = "
    select kind::text, provider::text, revision::text
    from farebox_private.directory_rate_cards
    where is_active
    order by kind, provider";

const TEXT: &str = "
    select canonical::text
    from farebox_private.directory_rate_cards
    where revision = $1";

/// A card as the copy on disk keeps it.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptCard {
    is_active: bool,
    canonical: String,
}

impl Directory {
    /// The cards and selling rules in force now. Cheap.
    #[must_use]
    pub fn cards(&self) -> CardSet {
        let cards = self.cards.read();
        cards.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in force; calls that run keep theirs.
    pub(super) fn put_cards(&self, cards: CardSet) {
        *self.cards.write().unwrap_or_else(PoisonError::into_inner) = cards;
        self.unsaved.note_whole();
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// What the database says is in force. Texts are read only of what neither this program nor the set
/// before holds; revisions out of force are let go.
pub(super) async fn in_force(
    client: &(impl GenericClient + Sync),
    held: &CardSet,
) -> Result<CardSet, Error> {
    let mut cards = CardSet::built_in().clone();
    for row in client.query(IN_FORCE, &[]).await? {
        let (kind, provider, revision): (&str, &str, &str) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        cards = if kind == KIND {
            match held.selling().filter(|rules| rules.revision() == revision) {
                Some(_) => keep_selling(&cards, held),
                None => with_text(client, cards, (kind, provider, revision), true).await?,
            }
        } else {
            with_card(client, cards, held, (kind, provider, revision), true).await?
        };
    }
    let pins: Vec<(String, String)> = cards
        .active()
        .flat_map(RateCard::fallback_cards)
        .map(|pin| (pin.provider.clone(), pin.revision.clone()))
        .collect();
    for (provider, revision) in &pins {
        if cards.card_of_revision(provider, revision).is_none() {
            cards = with_card(client, cards, held, ("cost", provider, revision), false).await?;
        }
    }
    Ok(cards)
}

fn keep_selling(cards: &CardSet, held: &CardSet) -> CardSet {
    held.shared_selling()
        .map_or_else(|| cards.clone(), |rules| cards.with_selling(rules))
}

async fn with_card(
    client: &(impl GenericClient + Sync),
    cards: CardSet,
    held: &CardSet,
    named: (&str, &str, &str),
    is_active: bool,
) -> Result<CardSet, Error> {
    let (_, provider, revision) = named;
    let here = cards
        .shared_card(provider, revision)
        .or_else(|| held.shared_card(provider, revision));
    match here {
        Some(card) if is_active => Ok(cards.with_active(card)),
        Some(card) => Ok(cards.with_known(card)),
        None => with_text(client, cards, named, is_active).await,
    }
}

async fn with_text(
    client: &(impl GenericClient + Sync),
    cards: CardSet,
    (_, provider, revision): (&str, &str, &str),
    is_active: bool,
) -> Result<CardSet, Error> {
    let Some(row) = client.query_opt(TEXT, &[&revision]).await? else {
        tracing::error!(
            provider,
            revision,
            "a rate card that is pinned is not there"
        );
        return Ok(cards);
    };
    match with(&cards, row.try_get(0)?, is_active) {
        Ok(cards) => Ok(cards),
        Err(invalid) => {
            tracing::error!(provider, revision, %invalid, "rate card not used");
            Ok(cards)
        }
    }
}

/// The same cards and the one of a text.
fn with(cards: &CardSet, canonical: &str, is_active: bool) -> Result<CardSet, InvalidCard> {
    if SellingRules::is_meant(canonical) {
        return Ok(cards.with_selling(Arc::new(SellingRules::from_json(canonical)?)));
    }
    let card = Arc::new(RateCard::from_json(canonical)?);
    Ok(match is_active {
        true => cards.with_active(card),
        false => cards.with_known(card),
    })
}

/// What the copy on disk keeps: all that is in force, or named by it, and not compiled in.
pub(super) fn kept(cards: &CardSet) -> Vec<KeptCard> {
    let mut kept = Vec::new();
    let mut keep = |is_active, canonical: &str| {
        kept.push(KeptCard {
            is_active,
            canonical: canonical.to_owned(),
        });
    };
    let built_in = CardSet::built_in();
    let is_compiled_in =
        |card: &RateCard| built_in.revision(card.provider()) == Some(card.revision());
    for card in cards.active().filter(|card| !is_compiled_in(card)) {
        keep(true, card.canonical());
        for pin in card.fallback_cards() {
            let pinned = cards.card_of_revision(&pin.provider, &pin.revision);
            if let Some(pinned) = pinned.filter(|card| !is_compiled_in(card)) {
                keep(false, pinned.canonical());
            }
        }
    }
    if let Some(rules) = cards.selling() {
        keep(true, rules.canonical());
    }
    kept
}

/// What [`kept`] kept.
pub(super) fn from_kept(kept: Vec<KeptCard>) -> CardSet {
    let mut cards = CardSet::built_in().clone();
    for card in kept {
        match with(&cards, &card.canonical, card.is_active) {
            Ok(with) => cards = with,
            Err(invalid) => {
                tracing::error!(%invalid, of = ALL_PROVIDERS, "a kept rate card is not used");
            }
        }
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_survives_the_copy_on_disk() {
        let built_in = CardSet::built_in();
        let text = built_in.card("groq").unwrap().canonical();
        let other = text.replacen("\"per\":\"1000000\"", "\"per\":\"2000000\"", 1);
        let rules = r#"{"schema":1,"kind":"price","rules":[{"rule":"plus","markup":"1.2"}]}"#;
        let set = with(&with(built_in, &other, true).unwrap(), rules, true).unwrap();
        assert_ne!(set.revision("groq"), built_in.revision("groq"));
        let text = serde_json::to_string(&kept(&set)).unwrap();
        let loaded = from_kept(serde_json::from_str(&text).unwrap());
        for card in set.active() {
            assert_eq!(loaded.revision(card.provider()), Some(card.revision()));
        }
        let revision = |set: &CardSet| set.selling().map(|rules| rules.revision().to_owned());
        assert_eq!(revision(&loaded), revision(&set));
        assert!(kept(built_in).is_empty());
        // What a newer program kept and this one cannot read leaves the rest in force.
        let mut torn = kept(&set);
        torn[0].canonical = r#"{"schema":9}"#.to_owned();
        let rest = from_kept(torn);
        assert_eq!(rest.revision("groq"), built_in.revision("groq"));
        assert_eq!(revision(&rest), revision(&set));
    }
}
