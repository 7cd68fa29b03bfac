//! The most a call can use and cost, told before the upstream sees it.
//!
//! Input is bounded by the request's bytes (no token is less than one), output by the request's own
//! maximum, the model's, or a stated reserve, audio by the bytes at the lowest rate of speech codecs. Prices are the
//! dearest that the card has for each side, so that a cache write or audio is within it.

use farebox_pricing::event::{EndpointKind, PaidBy};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::output_maximum;
use farebox_pricing::price;
use farebox_pricing::rate_card::selling::Buyer;
use farebox_pricing::rate_card::{CardSet, INPUT_AT_MOST, WHOLE_INPUT};
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage};

use super::pico;
use crate::directory::{Basis, Counted, Limit};

/// Output of a request that names no maximum, to a model of which none is known.
pub const OUTPUT_TOKENS_RESERVE: u64 = 8_192;
/// Input that a request only points to: images and files by address, stored conversations.
pub const UNSEEN_INPUT_TOKENS_RESERVE: u64 = 16_384;
/// Of a turn of a socket, whose size nothing tells beforehand.
pub const SOCKET_TOKENS_RESERVE: u64 = 1_024;
/// Of a socket that hears or speaks; more is taken as it passes.
pub const SOCKET_SECONDS_RESERVE: u64 = 1;
/// Bytes of a second of audio at least: 8 kbit/s, below what speech codecs are used with.
pub const AUDIO_BYTES_PER_SECOND_MIN: u64 = 1_000;
/// Of a call whose model has no price, or is not seen in time: 0.10 USD, in units of 1e-12.
pub const UNPRICED_RESERVE_PICO: i128 = 100_000_000_000;

/// Meters of output, of which a call's output is all of one.
const WHOLE_OUTPUT: [Meter; 4] = [
    Meter::OutputTokens,
    Meter::ReasoningTokens,
    Meter::OutputAudioTokens,
    Meter::OutputImageTokens,
];

/// What is known of a call for its ceiling.
pub(crate) struct Shape<'a> {
    pub(crate) provider: &'static str,
    pub(crate) kind: EndpointKind,
    pub(crate) is_metered: bool,
    pub(crate) is_socket: bool,
    pub(crate) paid_by: PaidBy,
    pub(crate) buyer: Buyer<'a>,
    pub(crate) cards: &'a CardSet,
    pub(crate) evidence: &'a Evidence,
    pub(crate) body_bytes: u64,
    pub(crate) at: Timestamp,
}

/// The most a call can use.
#[derive(Debug, Default)]
pub(crate) struct Ceiling {
    input_tokens: u64,
    output_tokens: u64,
    seconds: u64,
    characters: u64,
    cost: i128,
    billed: i128,
}

impl Ceiling {
    pub(crate) fn of(shape: &Shape<'_>) -> Self {
        if !shape.is_metered {
            return Self::default();
        }
        let mut ceiling = Self::quantities(shape);
        (ceiling.cost, ceiling.billed) = ceiling.money(shape);
        ceiling
    }

    fn quantities(shape: &Shape<'_>) -> Self {
        let request = &shape.evidence.request;
        let bytes = shape.body_bytes;
        let mut ceiling = Self::default();
        let is_heard = matches!(
            shape.kind,
            EndpointKind::Listen | EndpointKind::Transcription
        );
        let is_spoken = matches!(shape.kind, EndpointKind::Speak | EndpointKind::Speech);
        if shape.is_socket {
            ceiling.seconds = SOCKET_SECONDS_RESERVE;
            ceiling.characters = if is_spoken { SOCKET_TOKENS_RESERVE } else { 0 };
            if !is_heard && !is_spoken {
                ceiling.input_tokens = SOCKET_TOKENS_RESERVE;
                ceiling.output_tokens = SOCKET_TOKENS_RESERVE;
            }
            return ceiling;
        }
        if is_heard {
            ceiling.seconds = bytes.div_ceil(AUDIO_BYTES_PER_SECOND_MIN);
        }
        if is_spoken {
            ceiling.characters = bytes;
        }
        ceiling.input_tokens = if is_heard {
            // Models that bill heard audio in tokens take some ten a second.
            ceiling.seconds.saturating_mul(10)
        } else {
            bytes
        };
        if request.is_set("unbounded_input") {
            ceiling.input_tokens = ceiling
                .input_tokens
                .saturating_add(UNSEEN_INPUT_TOKENS_RESERVE);
        }
        ceiling.output_tokens = match shape.kind {
            EndpointKind::Embeddings | EndpointKind::Rerank | EndpointKind::Ocr => 0,
            _ => {
                let of_model = || {
                    let model = shape.evidence.request_text("model")?;
                    output_maximum::of(shape.provider, model)
                };
                let each = request.count("max_output_tokens").or_else(of_model);
                let times = request.count("n").unwrap_or(1).max(1);
                each.unwrap_or(OUTPUT_TOKENS_RESERVE).saturating_mul(times)
            }
        };
        ceiling
    }

    /// What it costs, and what of it the tenant owes.
    fn money(&self, shape: &Shape<'_>) -> (i128, i128) {
        let unpriced = || match shape.paid_by {
            PaidBy::Operator => (UNPRICED_RESERVE_PICO, UNPRICED_RESERVE_PICO),
            _ => (0, 0),
        };
        let Some(model) = shape.evidence.request_text("model") else {
            return unpriced();
        };
        let mut line = self.line(shape, model);
        let mut priced = self.dearest(shape, &line);
        if priced.is_none() && !line.conditions.is_empty() {
            // A tier that the card does not know, at what the base costs.
            line.conditions.retain(|name, _| name == INPUT_AT_MOST);
            priced = self.dearest(shape, &line);
        }
        priced.unwrap_or_else(unpriced)
    }

    fn line(&self, shape: &Shape<'_>, model: &str) -> Line {
        let mut usage = Usage::new();
        for meter in WHOLE_INPUT {
            usage.set(*meter, self.input_tokens);
        }
        for meter in WHOLE_OUTPUT {
            usage.set(meter, self.output_tokens);
        }
        if self.seconds > 0 {
            usage.set(Meter::AudioSeconds, self.seconds);
            usage.set(Meter::SessionSeconds, self.seconds);
        }
        if self.characters > 0 {
            usage.set(Meter::Characters, self.characters);
        }
        if shape.kind == EndpointKind::Image {
            let images = shape.evidence.request.count("n").unwrap_or(1).max(1);
            usage.set(Meter::Images, images);
        }
        if shape.kind == EndpointKind::Rerank {
            usage.set(Meter::Searches, 1_u64);
        }
        usage.set(Meter::Requests, 1_u64);
        // All the input is in every meter of it here; as a whole it is no more than once.
        let mut conditions = Conditions::new();
        conditions.insert(INPUT_AT_MOST.to_owned(), self.input_tokens.to_string());
        if let Some(tier) = shape.evidence.request_text("service_tier") {
            conditions.insert("service_tier".to_owned(), tier.to_owned());
        }
        Line {
            model: model.to_owned(),
            conditions,
            usage,
        }
    }

    /// The dearest input, the dearest output, and everything beside them; `None` without any price.
    fn dearest(&self, shape: &Shape<'_>, line: &Line) -> Option<(i128, i128)> {
        let lines = std::slice::from_ref(line);
        let (cards, buyer) = (shape.cards, shape.buyer);
        let priced = price::price(shape.provider, lines, cards, buyer, shape.at);
        let (mut input, mut output, mut beside) = ((0, 0), (0, 0), (0, 0));
        let mut is_priced = false;
        for charge in &priced.charges {
            let Some(cost) = charge.cost_usd else {
                continue;
            };
            is_priced = true;
            let cost = cost.as_pico();
            let billed = charge.billed_usd.map_or(cost, Usd::as_pico);
            if WHOLE_INPUT.contains(&charge.meter) {
                input = (cost.max(input.0), billed.max(input.1));
            } else if WHOLE_OUTPUT.contains(&charge.meter) {
                output = (cost.max(output.0), billed.max(output.1));
            } else {
                beside = (beside.0 + cost, beside.1 + billed);
            }
        }
        let sum = |input: i128, output: i128, beside: i128| {
            input.saturating_add(output).saturating_add(beside)
        };
        is_priced.then(|| {
            (
                sum(input.0, output.0, beside.0),
                sum(input.1, output.1, beside.1),
            )
        })
    }

    /// What of it a limit counts.
    pub(crate) fn of_limit(&self, limit: &Limit, paid_by: PaidBy) -> i128 {
        let tokens = self.input_tokens.saturating_add(self.output_tokens);
        match limit.meter {
            Counted::Requests | Counted::Concurrency => pico::ONE,
            Counted::Tokens => pico::of_count(tokens),
            Counted::Usd if limit.basis == Basis::Billed => self.billed,
            Counted::Usd if paid_by == PaidBy::Operator => self.cost,
            Counted::Usd => 0,
            Counted::Meter(meter) if WHOLE_INPUT.contains(&meter) => {
                pico::of_count(self.input_tokens)
            }
            Counted::Meter(meter) if WHOLE_OUTPUT.contains(&meter) => {
                pico::of_count(self.output_tokens)
            }
            Counted::Meter(Meter::AudioSeconds | Meter::SessionSeconds) => {
                pico::of_count(self.seconds)
            }
            Counted::Meter(Meter::Characters) => pico::of_count(self.characters),
            Counted::Meter(_) => 0,
        }
    }
}

/// The sum of all kinds of tokens.
pub(crate) fn tokens(usage: &Usage) -> i128 {
    usage
        .iter()
        .filter(|(meter, _)| meter.name().ends_with("_tokens"))
        .map(|(_, quantity): (Meter, Decimal)| pico::of(quantity))
        .fold(0, i128::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(model: Option<&str>, facts: &[(&'static str, u64)], body_bytes: u64) -> Ceiling {
        let mut evidence = Evidence::default();
        if let Some(model) = model {
            evidence.request.insert("model", model);
        }
        for (name, count) in facts {
            evidence.request.insert(*name, *count);
        }
        Ceiling::of(&Shape {
            provider: "openai",
            kind: EndpointKind::Chat,
            is_metered: true,
            is_socket: false,
            paid_by: PaidBy::Operator,
            buyer: PaidBy::Operator.into(),
            cards: CardSet::built_in(),
            evidence: &evidence,
            body_bytes,
            at: Timestamp::from_millis(1_795_317_480_000),
        })
    }

    #[test]
    fn a_request_costs_at_most_its_bytes_and_its_maximum() {
        // 0.15 and 0.60 USD a million.
        let small = ceiling(Some("gpt-4o-mini"), &[("max_output_tokens", 1_000)], 2_000);
        assert_eq!(small.cost, 2_000 * 150_000 + 1_000 * 600_000);
        assert_eq!(small.billed, small.cost);
        let twice = ceiling(
            Some("gpt-4o-mini"),
            &[("max_output_tokens", 1_000), ("n", 2)],
            2_000,
        );
        assert_eq!(twice.cost - small.cost, 1_000 * 600_000);
        let open = ceiling(Some("gpt-4o-mini"), &[], 2_000);
        assert_eq!(open.output_tokens, 16_384, "the model's own");
        let unknown = ceiling(Some("gpt-of-tomorrow"), &[], 2_000);
        assert_eq!(unknown.output_tokens, OUTPUT_TOKENS_RESERVE);
    }

    #[test]
    fn what_has_no_price_or_no_model_reserves_what_is_stated() {
        assert_eq!(ceiling(None, &[], 10).cost, UNPRICED_RESERVE_PICO);
        let unknown = ceiling(Some("gpt-of-tomorrow"), &[], 10);
        assert_eq!(unknown.billed, UNPRICED_RESERVE_PICO);
    }
}
