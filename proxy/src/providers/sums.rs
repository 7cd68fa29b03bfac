//! Sums over the results of a batch: what evidence keeps of thousands of results, and the lines it
//! makes again.
//!
//! Results are added up by model and conditions. A price may rise with the input of one request, so a
//! sum says with the condition `input_at_most` how much each of its results had at most; a result
//! with more than [`SMALL_INPUT_TOKENS`] has a line of its own, as long as there is room for one.

use farebox_pricing::evidence::{EVIDENCE_TEXT_BYTES_MAX, Evidence, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::rate_card::{INPUT_AT_MOST, WHOLE_INPUT};
use farebox_pricing::usage::{Conditions, Line, Usage, UsageDraft, UsageSource};

use crate::framing::{Frame, Origin};
use crate::provider::unread;
use crate::providers::facts;

/// No price rises below this many input tokens.
pub const SMALL_INPUT_TOKENS: u64 = 32_000;
/// Results with more input that have lines of their own; further ones are added up by size.
pub const OWN_LINES_MAX: usize = 12;
/// Most sums; what does not fit makes the whole unreadable.
pub const SUMS_MAX: usize = 20;
/// Where prices rise: no sum holds results from both sides of one of these.
const STEPS: [u64; 11] = [
    SMALL_INPUT_TOKENS,
    99_999,
    100_000,
    127_999,
    128_000,
    199_999,
    200_000,
    255_999,
    256_000,
    271_999,
    272_000,
];
/// Places in the evidence.
const SUM: &str = "sum";
const OWN: &str = "result";
/// Places whose texts are our own exact numbers.
pub const PLACES: [&str; 2] = [SUM, OWN];
/// The flag of results that were not added up.
pub const DROPPED: &str = "results_dropped";

/// One result as the reader of such answers has it, at the batch's price; `None` where it does not
/// report its usage. `one` holds what the request is known to have asked.
pub fn lines_of(
    mut one: Evidence,
    body: &[u8],
    collect: fn(&Frame<'_>, &mut Evidence),
    usage_of: fn(&Evidence) -> UsageDraft,
) -> Option<Vec<Line>> {
    one.response.insert("status", 200);
    one.counts.is_complete = true;
    let frame = Frame {
        origin: Origin::Body,
        data: body,
    };
    collect(&frame, &mut one);
    let draft = unread::told(usage_of(&one), &one);
    if draft.source != UsageSource::Reported {
        return None;
    }
    let mut lines = draft.lines;
    for line in &mut lines {
        line.conditions.insert("batch".into(), "true".into());
    }
    Some(lines)
}

/// Adds one result of a batch, whatever came of it. `lines` is empty for one that is not billed.
pub fn add(evidence: &mut Evidence, lines: &[Line]) {
    let results = facts::response_count(evidence, "results").unwrap_or(0);
    evidence.response.insert("results", results + 1);
    if !lines.is_empty() {
        let billed = facts::response_count(evidence, "results_billed").unwrap_or(0);
        evidence.response.insert("results_billed", billed + 1);
    }
    for line in lines {
        add_line(evidence, line);
    }
}

/// A result could not be read, so that no sum of them is the whole.
pub fn drop_one(evidence: &mut Evidence) {
    evidence.flag(DROPPED);
}

/// The lines of everything that was added.
#[must_use]
pub fn lines(evidence: &Evidence) -> Vec<Line> {
    [SUM, OWN]
        .iter()
        .flat_map(|at| evidence.objects_at(at))
        .map(line_of)
        .collect()
}

/// The draft of a batch's results: charged only when they were read to the end.
#[must_use]
pub fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = facts::refused(evidence) {
        return draft;
    }
    const UNREAD: [&str; 7] = [
        DROPPED,
        "objects_dropped",
        "frame_too_large",
        "invalid_event",
        "decoded_too_large",
        "invalid_encoding",
        "unknown_encoding",
    ];
    let is_whole = evidence.counts.is_complete
        && facts::status(evidence) == Some(200)
        && !UNREAD.iter().any(|flag| evidence.has_flag(flag));
    if !is_whole || facts::is_set(evidence, "error") {
        return facts::missing("incomplete_results", None, None);
    }
    let lines = lines(evidence);
    let source = if lines.is_empty() {
        UsageSource::None
    } else {
        UsageSource::Reported
    };
    UsageDraft {
        lines,
        source,
        ..UsageDraft::default()
    }
}

fn add_line(evidence: &mut Evidence, line: &Line) {
    let input = WHOLE_INPUT
        .iter()
        .filter_map(|meter| line.usage.quantity(*meter));
    let Some(input) = Decimal::checked_sum(input) else {
        return drop_one(evidence);
    };
    let is_within = |tokens: u64| {
        Decimal::from(tokens)
            .checked_sub(input)
            .is_some_and(|left| !left.is_negative())
    };
    let at_most = STEPS.into_iter().find(|tokens| is_within(*tokens));
    let has_room = evidence.objects_at(OWN).count() < OWN_LINES_MAX;
    if at_most != Some(SMALL_INPUT_TOKENS) && has_room {
        return push(evidence, OWN, line);
    }
    let mut named = Line {
        model: line.model.clone(),
        conditions: line.conditions.clone(),
        usage: Usage::new(),
    };
    if let Some(tokens) = at_most {
        named
            .conditions
            .insert(INPUT_AT_MOST.into(), tokens.to_string());
    }
    let sums = evidence
        .objects
        .iter_mut()
        .filter(|object| object.at == SUM);
    for object in sums {
        let sum = line_of(object.value.json());
        if sum.model != named.model || sum.conditions != named.conditions {
            continue;
        }
        let Some(usage) = added(&sum.usage, &line.usage) else {
            break;
        };
        named.usage = usage;
        return match kept(&named) {
            Some(value) => object.value = value,
            None => drop_one(evidence),
        };
    }
    if evidence.objects_at(SUM).count() >= SUMS_MAX {
        return drop_one(evidence);
    }
    named.usage = line.usage.clone();
    push(evidence, SUM, &named);
}

fn push(evidence: &mut Evidence, at: &'static str, line: &Line) {
    match kept(line) {
        Some(value) => evidence.push_object(at, value),
        None => drop_one(evidence),
    }
}

fn added(left: &Usage, right: &Usage) -> Option<Usage> {
    let mut sum = left.clone();
    for (meter, quantity) in right.iter() {
        sum.add(meter, quantity)?;
    }
    Some(sum)
}

/// A line as evidence keeps it; `None` for one whose names are too long for that. A model's name, such
/// as a fine-tuned one has, is kept in pieces where it is longer than a text of evidence.
fn kept(line: &Line) -> Option<Kept> {
    let mut json = serde_json::to_value(line).ok()?;
    if line.model.len() > EVIDENCE_TEXT_BYTES_MAX {
        *json.get_mut("model")? = pieces(&line.model).into();
    }
    let value = Kept::of(&json.to_string())?;
    (line_of(value.json()) == *line).then_some(value)
}

/// A text in pieces that evidence keeps.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(EVIDENCE_TEXT_BYTES_MAX));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

fn line_of(object: Json<'_>) -> Line {
    let text = |value: Json<'_>| value.str().map(std::borrow::Cow::into_owned);
    let members = |name| object.get(name).into_iter().flat_map(Json::members);
    let model = object.get("model").map(|model| match text(model) {
        Some(model) => model,
        None => model.items().filter_map(text).collect(),
    });
    Line {
        model: model.unwrap_or_default(),
        conditions: members("conditions")
            .filter_map(|(name, value)| Some((name.into_owned(), text(value)?)))
            .collect::<Conditions>(),
        usage: members("usage")
            .filter_map(|(name, value)| Some((name.parse().ok()?, value.str()?.parse().ok()?)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use farebox_pricing::evidence::EVIDENCE_BYTES_MAX;
    use farebox_pricing::usage::Meter;
    use proptest::prelude::*;

    use super::*;

    fn result(model: &str, input: u64, output: u64) -> Line {
        Line {
            model: model.to_owned(),
            conditions: Conditions::from([("batch".to_owned(), "true".to_owned())]),
            usage: facts::text_tokens(input, output),
        }
    }

    fn read(results: &[Line]) -> (Vec<Line>, Evidence) {
        let mut evidence = Evidence::default();
        evidence.response.insert("status", 200);
        evidence.counts.is_complete = true;
        for line in results {
            add(&mut evidence, std::slice::from_ref(line));
        }
        (usage_of(&evidence).lines, evidence)
    }

    fn shape(lines: &[Line]) -> Vec<(String, Option<String>, u64, u64)> {
        let count = |line: &Line, meter| {
            u64::try_from(line.usage.quantity(meter).unwrap().mantissa()).unwrap()
        };
        let mut shape: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line.model.clone(),
                    line.conditions.get(INPUT_AT_MOST).cloned(),
                    count(line, Meter::InputTokens),
                    count(line, Meter::OutputTokens),
                )
            })
            .collect();
        shape.sort();
        shape
    }

    #[test]
    fn small_results_are_summed_by_model_and_large_ones_stand_alone() {
        let small = Some("32000".to_owned());
        let (lines, evidence) = read(&[
            result("a", 30_000, 1),
            result("b", 5, 2),
            result("a", 32_000, 3),
            result("a", 32_001, 4),
            result("a", 500_000, 5),
        ]);
        let expected = [
            ("a".to_owned(), None, 32_001, 4),
            ("a".to_owned(), None, 500_000, 5),
            ("a".to_owned(), small.clone(), 62_000, 4),
            ("b".to_owned(), small, 5, 2),
        ];
        assert_eq!(shape(&lines), expected);
        assert_eq!(facts::response_count(&evidence, "results"), Some(5));
    }

    #[test]
    fn large_results_beyond_the_room_are_summed_between_the_steps() {
        let mut results = vec![result("m", 40_000, 1); OWN_LINES_MAX];
        results.extend([
            result("m", 150_000, 1),
            result("m", 199_999, 1),
            result("m", 200_000, 1),
            result("m", 272_001, 1),
            result("m", 900_000, 1),
        ]);
        let (lines, evidence) = read(&results);
        let sums: Vec<_> = shape(&lines)
            .into_iter()
            .filter(|line| line.2 != 40_000)
            .map(|(_, at_most, input, _)| (at_most, input))
            .collect();
        let expected = [
            (None, 1_172_001),
            (Some("199999".to_owned()), 349_999),
            (Some("200000".to_owned()), 200_000),
        ];
        assert_eq!(sums, expected);
        assert!(serde_json::to_string(&evidence).unwrap().len() < EVIDENCE_BYTES_MAX);
    }

    #[test]
    fn too_many_models_are_no_sum() {
        let results: Vec<Line> = (0..=SUMS_MAX)
            .map(|n| result(&format!("m{n}"), 1, 1))
            .collect();
        assert_eq!(read(&results[1..]).0.len(), SUMS_MAX);
        let (lines, evidence) = read(&results);
        assert!(lines.is_empty());
        assert_eq!(usage_of(&evidence).reason, Some("incomplete_results"));
    }

    #[test]
    fn a_fine_tuned_models_long_name_is_kept_whole() {
        let long = format!(
            "ft:gpt-4.1-mini-2025-04-14:{}:\u{e9}x",
            "organisation".repeat(12)
        );
        let (lines, _) = read(&[result(&long, 1, 1), result(&long, 2, 1), result("m", 1, 1)]);
        assert_eq!(shape(&lines).last().map(|line| line.2), Some(1));
        assert!(
            lines
                .iter()
                .any(|line| line.model == long && line.usage == facts::text_tokens(3, 2))
        );
    }

    proptest! {
        #[test]
        fn no_token_is_lost(
            results in prop::collection::vec(
                ("[ab]", prop_oneof![0u64..40_000, 0u64..400_000], 0u64..1000), 0..80,
            ),
        ) {
            let results: Vec<Line> = results
                .iter()
                .map(|(model, input, output)| result(model, *input, *output))
                .collect();
            let (lines, _) = read(&results);
            for meter in [Meter::InputTokens, Meter::OutputTokens] {
                let sum = |lines: &[Line]| {
                    Decimal::checked_sum(lines.iter().filter_map(|line| line.usage.quantity(meter)))
                };
                prop_assert_eq!(sum(&lines), sum(&results));
            }
        }
    }
}
