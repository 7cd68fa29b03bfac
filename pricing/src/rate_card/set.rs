//! The cards in force: for each provider one active card, and the earlier ones still known.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::RateCard;

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
pub struct CardSet(Arc<HashMap<String, Cards>>);

/// One provider's cards.
#[derive(Clone, Debug, Default)]
struct Cards {
    active: Option<Arc<RateCard>>,
    known: HashMap<String, Arc<RateCard>>,
}

impl CardSet {
    /// No card at all: nothing has a price.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The cards compiled into the program.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &BUILT_IN_SET
    }

    /// The active card of a provider.
    #[must_use]
    pub fn card(&self, provider: &str) -> Option<&RateCard> {
        self.0.get(provider)?.active.as_deref()
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

    /// The active revision of a provider.
    #[must_use]
    pub fn revision(&self, provider: &str) -> Option<&str> {
        self.card(provider).map(RateCard::revision)
    }

    /// A card of a provider by its revision, active or not.
    #[must_use]
    pub fn card_of_revision(&self, provider: &str, revision: &str) -> Option<&RateCard> {
        self.0.get(provider)?.known.get(revision).map(Arc::as_ref)
    }

    /// The same cards with another revision of one provider active; `None` when it is not known.
    #[must_use]
    pub fn with_revision(&self, provider: &str, revision: &str) -> Option<Self> {
        if self.revision(provider) == Some(revision) {
            return Some(self.clone());
        }
        let card = self.0.get(provider)?.known.get(revision)?;
        Some(self.with_active(Arc::clone(card)))
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

    /// The active cards, by provider.
    pub fn active(&self) -> impl Iterator<Item = &RateCard> {
        let mut cards: Vec<&RateCard> = self
            .0
            .values()
            .filter_map(|cards| cards.active.as_deref())
            .collect();
        cards.sort_by_key(|card| card.provider());
        cards.into_iter()
    }

    fn with(&self, card: Arc<RateCard>, is_active: bool) -> Self {
        let mut providers = HashMap::clone(&self.0);
        let cards = providers.entry(card.provider().to_owned()).or_default();
        cards
            .known
            .insert(card.revision().to_owned(), Arc::clone(&card));
        if is_active {
            cards.active = Some(card);
        }
        Self(Arc::new(providers))
    }
}
