//! The cards in force: for each provider one active card, and the earlier ones still known.

use std::sync::{Arc, LazyLock};

use super::RateCard;
use super::by_name::ByName;
use super::selling::{Buyer, SellingRules};
use crate::time::Timestamp;

/// Cards compiled into the program, by provider.
const BUILT_IN: &[&str] = &[
    include_str!("../../rate_cards/anthropic.json"),
    include_str!("../../rate_cards/assemblyai.json"),
    include_str!("../../rate_cards/azure.json"),
    include_str!("../../rate_cards/bedrock.json"),
    include_str!("../../rate_cards/cartesia.json"),
    include_str!("../../rate_cards/cerebras.json"),
    include_str!("../../rate_cards/cohere.json"),
    include_str!("../../rate_cards/deepgram.json"),
    include_str!("../../rate_cards/deepseek.json"),
    include_str!("../../rate_cards/elevenlabs.json"),
    include_str!("../../rate_cards/fireworks.json"),
    include_str!("../../rate_cards/gemini.json"),
    include_str!("../../rate_cards/groq.json"),
    include_str!("../../rate_cards/mistral.json"),
    include_str!("../../rate_cards/moonshot.json"),
    include_str!("../../rate_cards/openai.json"),
    include_str!("../../rate_cards/openrouter.json"),
    include_str!("../../rate_cards/perplexity.json"),
    include_str!("../../rate_cards/together.json"),
    include_str!("../../rate_cards/vertex.json"),
    include_str!("../../rate_cards/voyage.json"),
    include_str!("../../rate_cards/xai.json"),
];

static BUILT_IN_SET: LazyLock<CardSet> = LazyLock::new(|| {
    BUILT_IN.iter().fold(CardSet::empty(), |set, text| {
        let card = RateCard::from_json(text).expect("a test loads every built-in card");
        set.with_active(Arc::new(card))
    })
});

/// All cards of a process. Cheap to clone; a change makes a new set.
#[derive(Clone, Debug, Default)]
pub struct CardSet {
    cost: Arc<ByName<Known<RateCard>>>,
    price: Arc<Known<SellingRules>>,
}

/// Revisions of one thing.
#[derive(Debug)]
struct Known<T> {
    active: Option<Arc<T>>,
    known: ByName<Arc<T>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            active: None,
            known: ByName::default(),
        }
    }
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self {
            active: self.active.clone(),
            known: self.known.clone(),
        }
    }
}

impl CardSet {
    /// No card at all: nothing has a price.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The cards compiled into the program; selling rules are the operator's alone.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN_SET
    }

    /// The active card of a provider.
    #[must_use]
    pub fn card(&self, provider: &str) -> Option<&RateCard> {
        self.cost.get(provider)?.active.as_deref()
    }

    /// The active selling rules.
    #[must_use]
    pub fn selling(&self) -> Option<&SellingRules> {
        self.price.active.as_deref()
    }

    /// Selling rules by their revision, active or not.
    #[must_use]
    pub fn selling_of_revision(&self, revision: &str) -> Option<&SellingRules> {
        self.price.known.get(revision).map(Arc::as_ref)
    }

    /// A card by its revision, to be put into another set.
    #[must_use]
    pub fn shared_card(&self, provider: &str, revision: &str) -> Option<Arc<RateCard>> {
        self.cost.get(provider)?.known.get(revision).cloned()
    }

    /// The active selling rules, to be put into another set.
    #[must_use]
    pub fn shared_selling(&self) -> Option<Arc<SellingRules>> {
        self.price.active.clone()
    }

    /// Whether a model has prices: on the provider's active card, on one it falls back on, or because
    /// the vendor tells its own cost.
    #[must_use]
    pub fn knows(&self, provider: &str, model: &str) -> bool {
        let has = |card: &RateCard| card.model(model).is_some();
        self.card(provider).is_some_and(|card| {
            let mut pins = card.fallback_cards().iter();
            card.authoritative().is_some()
                || has(card)
                || pins.any(|pin| {
                    self.card_of_revision(&pin.provider, &pin.revision)
                        .is_some_and(has)
                })
        })
    }

    /// Whether a buyer can be charged for a model: it has a cost, or the rules have a fixed price.
    #[must_use]
    pub fn sells(&self, buyer: Buyer<'_>, provider: &str, model: &str, at: Timestamp) -> bool {
        self.knows(provider, model)
            || self
                .selling()
                .is_some_and(|rules| rules.has_fixed_price(buyer, provider, model, at))
    }

    /// The active revision of a provider.
    #[must_use]
    pub fn revision(&self, provider: &str) -> Option<&str> {
        self.card(provider).map(RateCard::revision)
    }

    /// A card of a provider by its revision, active or not.
    #[must_use]
    pub fn card_of_revision(&self, provider: &str, revision: &str) -> Option<&RateCard> {
        self.cost
            .get(provider)?
            .known
            .get(revision)
            .map(Arc::as_ref)
    }

    /// The same cards with another revision of one provider active; `None` when it is not known.
    #[must_use]
    pub fn with_revision(&self, provider: &str, revision: &str) -> Option<Self> {
        if self.revision(provider) == Some(revision) {
            return Some(self.clone());
        }
        let card = self.cost.get(provider)?.known.get(revision)?;
        Some(self.with_active(Arc::clone(card)))
    }

    /// The same cards with another revision of the selling rules active, or with none; `None` when it
    /// is not known.
    #[must_use]
    pub fn with_selling_revision(&self, revision: Option<&str>) -> Option<Self> {
        let active = match revision {
            Some(revision) => Some(Arc::clone(self.price.known.get(revision)?)),
            None => None,
        };
        let mut price = Known::clone(&self.price);
        price.active = active;
        Some(Self {
            price: Arc::new(price),
            ..self.clone()
        })
    }

    /// The same cards and this one, active for its provider.
    #[must_use]
    pub fn with_active(&self, card: Arc<RateCard>) -> Self {
        self.with(card, true)
    }

    /// The same cards and this one, known by its revision but not active.
    #[must_use]
    pub fn with_known(&self, card: Arc<RateCard>) -> Self {
        self.with(card, false)
    }

    /// The same cards and these selling rules, active.
    #[must_use]
    pub fn with_selling(&self, rules: Arc<SellingRules>) -> Self {
        let with = self.with_known_selling(Arc::clone(&rules));
        let mut price = Known::clone(&with.price);
        price.active = Some(rules);
        Self {
            price: Arc::new(price),
            ..with
        }
    }

    /// The same cards and these selling rules, known by their revision but not active.
    #[must_use]
    pub fn with_known_selling(&self, rules: Arc<SellingRules>) -> Self {
        let mut price = Known::clone(&self.price);
        price.known.insert(rules.revision().into(), rules);
        Self {
            price: Arc::new(price),
            ..self.clone()
        }
    }

    /// The active cards, by provider.
    pub fn active(&self) -> impl Iterator<Item = &RateCard> {
        let mut cards: Vec<&RateCard> = self
            .cost
            .values()
            .filter_map(|cards| cards.active.as_deref())
            .collect();
        cards.sort_by_key(|card| card.provider());
        cards.into_iter()
    }

    fn with(&self, card: Arc<RateCard>, is_active: bool) -> Self {
        let mut cost = ByName::clone(&self.cost);
        let cards = cost.entry(card.provider().into()).or_default();
        cards
            .known
            .insert(card.revision().into(), Arc::clone(&card));
        if is_active {
            cards.active = Some(card);
        }
        Self {
            cost: Arc::new(cost),
            price: Arc::clone(&self.price),
        }
    }
}
