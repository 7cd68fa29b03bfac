//! The rate cards and selling rules of this collector: which are in force, and every revision that an
//! event has named.
//!
//! Revisions never change, so what was read once stays. Which are in force is asked of the database
//! every second and after every activation; ingest does not wait for it, because events name their
//! revisions.

use std::sync::{Arc, PoisonError, RwLock};

use farebox_pricing::event::{Event, RateCards};
use farebox_pricing::price::UnknownRevision;
use farebox_pricing::rate_card::selling::{ALL_PROVIDERS, KIND, SellingRules};
use farebox_pricing::rate_card::{CardSet, InvalidCard, RateCard};

use crate::records::prices;
use crate::store::{DatabaseError, GenericClient, Store, StoreError};

/// The cards in memory.
#[derive(Debug)]
pub struct Cards(RwLock<CardSet>);

/// A card or selling rules, read from a text.
pub(crate) enum Read {
    Cost(Arc<RateCard>),
    Price(Arc<SellingRules>),
}

impl Read {
    /// Reads whichever the text is meant as; all of its mistakes are told.
    pub(crate) fn from_json(text: &str) -> Result<Self, InvalidCard> {
        if SellingRules::is_meant(text) {
            return SellingRules::from_json(text).map(|rules| Self::Price(Arc::new(rules)));
        }
        RateCard::from_json(text).map(|card| Self::Cost(Arc::new(card)))
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Cost(_) => "cost",
            Self::Price(_) => KIND,
        }
    }

    pub(crate) fn provider(&self) -> &str {
        match self {
            Self::Cost(card) => card.provider(),
            Self::Price(_) => ALL_PROVIDERS,
        }
    }

    pub(crate) fn revision(&self) -> &str {
        match self {
            Self::Cost(card) => card.revision(),
            Self::Price(rules) => rules.revision(),
        }
    }

    pub(crate) fn canonical(&self) -> &str {
        match self {
            Self::Cost(card) => card.canonical(),
            Self::Price(rules) => rules.canonical(),
        }
    }

    /// The revisions that this one names.
    pub(crate) fn pins(&self) -> Vec<String> {
        match self {
            Self::Cost(card) => {
                let pins = card.fallback_cards().iter();
                pins.map(|pin| pin.revision.clone()).collect()
            }
            Self::Price(_) => Vec::new(),
        }
    }

    /// The same cards and this one, in force.
    pub(crate) fn in_force_in(&self, cards: &CardSet) -> CardSet {
        match self {
            Self::Cost(card) => cards.with_active(Arc::clone(card)),
            Self::Price(rules) => cards.with_selling(Arc::clone(rules)),
        }
    }

    fn known_in(&self, cards: &CardSet) -> CardSet {
        match self {
            Self::Cost(card) => cards.with_known(Arc::clone(card)),
            Self::Price(rules) => cards.with_known_selling(Arc::clone(rules)),
        }
    }
}

impl Cards {
    /// What came with the program, until the database is asked.
    #[must_use]
    pub fn built_in() -> Self {
        Self(RwLock::new(CardSet::built_in().clone()))
    }

    /// Every card known, those in force active.
    #[must_use]
    pub fn in_force(&self) -> CardSet {
        let cards = self.0.read().unwrap_or_else(PoisonError::into_inner);
        cards.clone()
    }

    fn change(&self, change: impl FnOnce(&CardSet) -> Option<CardSet>) {
        let mut cards = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = change(&cards) {
            *cards = changed;
        }
    }

    /// Asks which revisions are in force, and reads those not yet known. Without Postgres, what is
    /// known stays.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let active = prices::active(&store.client().await?).await?;
        let is_known = |cards: &CardSet, provider: &str, revision: &str| match provider {
            ALL_PROVIDERS => cards.selling_of_revision(revision).is_some(),
            provider => cards.card_of_revision(provider, revision).is_some(),
        };
        let cards = self.in_force();
        let unknown: Vec<UnknownRevision> = active
            .iter()
            .filter(|(provider, revision)| !is_known(&cards, provider, revision))
            .map(|(provider, revision)| UnknownRevision {
                provider: provider.clone(),
                revision: revision.clone(),
            })
            .collect();
        if !unknown.is_empty() {
            self.with_revisions(store, unknown.iter()).await?;
        }
        self.change(|cards| {
            let mut changed = cards.clone();
            for (provider, revision) in &active {
                let with = match provider.as_str() {
                    ALL_PROVIDERS => changed.with_selling_revision(Some(revision)),
                    provider => changed.with_revision(provider, revision),
                };
                // One that this program cannot read leaves the one before in force.
                changed = with.unwrap_or(changed);
            }
            Some(changed)
        });
        let pins: Vec<UnknownRevision> = self
            .in_force()
            .active()
            .flat_map(RateCard::fallback_cards)
            .map(|pin| UnknownRevision {
                provider: pin.provider.clone(),
                revision: pin.revision.clone(),
            })
            .collect();
        let cards = self.in_force();
        let missing = pins
            .iter()
            .filter(|pin| !is_known(&cards, &pin.provider, &pin.revision));
        if missing.clone().next().is_some() {
            self.with_revisions(store, missing).await?;
        }
        Ok(())
    }

    /// All that is known after the database was asked for these.
    pub(crate) async fn with_revisions<'a>(
        &self,
        store: &Store,
        missing: impl Iterator<Item = &'a UnknownRevision>,
    ) -> Result<CardSet, StoreError> {
        let revisions = missing.map(|unknown| unknown.revision.as_str()).collect();
        Ok(self.read(&store.client().await?, revisions).await?)
    }

    /// All that is known after the database was asked for what these events were priced by.
    pub(crate) async fn knowing<'a>(
        &self,
        client: &impl GenericClient,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<CardSet, DatabaseError> {
        let cards = self.in_force();
        let mut missing: Vec<&str> = Vec::new();
        for event in events {
            let RateCards { cost, price } = &event.rate_cards;
            let cost = cost
                .as_deref()
                .filter(|revision| cards.card_of_revision(&event.provider, revision).is_none());
            let price = price
                .as_deref()
                .filter(|revision| cards.selling_of_revision(revision).is_none());
            missing.extend(cost.into_iter().chain(price));
        }
        if missing.is_empty() {
            return Ok(cards);
        }
        self.read(client, missing).await
    }

    async fn read(
        &self,
        client: &impl GenericClient,
        mut revisions: Vec<&str>,
    ) -> Result<CardSet, DatabaseError> {
        revisions.sort_unstable();
        revisions.dedup();
        let texts = prices::texts(client, &revisions).await?;
        for (revision, text) in texts {
            match Read::from_json(&text) {
                Ok(read) => self.change(|cards| Some(read.known_in(cards))),
                Err(invalid) => tracing::error!(revision, %invalid, "rate card cannot be read"),
            }
        }
        Ok(self.in_force())
    }
}
