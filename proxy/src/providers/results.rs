//! Sums over the results of a batch: what thousands of them used, in as many lines as they have models
//! and conditions.
//!
//! A result with a large input keeps a line of its own: prices that depend on a request's input are
//! then those of that request, and a sum holds none that could have reached such a bound.

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, Usage};

/// Most input tokens of a result that goes into a sum; below every bound that a price depends on.
pub const SUMMED_INPUT_MAX: u64 = 32_000;
/// Most lines kept apart of results with a large input; further ones go into a sum of their own.
const LARGE_MAX: usize = 24;
/// Most different models and conditions of one batch.
const SUMS_MAX: usize = 16;
/// The flag of a batch in which large results had to be summed.
pub const LARGE_SUMMED: &str = "large_results_summed";
/// The flag of a batch some of whose results found no room.
pub const DROPPED: &str = "results_dropped";

/// Where sums stand in the evidence.
const SUMS: &str = "sums";
/// Where results with a line of their own stand.
const LARGE: &str = "large_results";
/// Where sums of results with large inputs stand.
const LARGE_SUMS: &str = "large_sums";
/// What every line of a batch says.
const BATCH: &str = "batch";

const INPUT: [Meter; 9] = [
    Meter::InputTokens,
    Meter::CacheReadTokens,
    Meter::CacheWriteTokens,
    Meter::CacheWrite1hTokens,
    Meter::CacheWrite12hTokens,
    Meter::InputAudioTokens,
    Meter::CacheReadAudioTokens,
    Meter::InputImageTokens,
    Meter::CacheReadImageTokens,
];

/// Adds one line of one result.
pub fn add(evidence: &mut Evidence, mut line: Line) {
    line.conditions.insert(BATCH.to_owned(), "true".to_owned());
    let input = INPUT.iter().filter_map(|meter| line.usage.quantity(*meter));
    let is_large = Decimal::checked_sum(input).is_none_or(|sum| sum > SUMMED_INPUT_MAX.into());
    if !is_large {
        return add_to_sum(evidence, SUMS, line);
    }
    if evidence.objects_at(LARGE).count() < LARGE_MAX {
        if let Some(kept) = written(&line, 1) {
            evidence.push_object(LARGE, kept);
        }
        return;
    }
    evidence.flag(LARGE_SUMMED);
    add_to_sum(evidence, LARGE_SUMS, line);
}

fn add_to_sum(evidence: &mut Evidence, place: &'static str, line: Line) {
    let found = evidence.objects.iter_mut().find_map(|object| {
        let (before, results) = (object.at == place).then(|| read(object.value.json()))??;
        let is_same = before.model == line.model && before.conditions == line.conditions;
        is_same.then_some((object, before, results))
    });
    if let Some((object, mut sum, results)) = found {
        for (meter, quantity) in line.usage.iter() {
            let before = sum.usage.quantity(meter).unwrap_or(Decimal::ZERO);
            if let Some(after) = before.checked_add(quantity) {
                sum.usage.set(meter, after);
            }
        }
        if let Some(kept) = written(&sum, results + 1) {
            object.value = kept;
        }
    } else if evidence.objects_at(place).count() < SUMS_MAX {
        if let Some(kept) = written(&line, 1) {
            evidence.push_object(place, kept);
        }
    } else {
        evidence.flag(DROPPED);
    }
}

/// The lines of all results that were added.
#[must_use]
pub fn lines(evidence: &Evidence) -> Vec<Line> {
    [SUMS, LARGE_SUMS, LARGE]
        .iter()
        .flat_map(|place| evidence.objects_at(place))
        .filter_map(|object| Some(read(object)?.0))
        .collect()
}

/// How many results were added.
#[must_use]
pub fn count(evidence: &Evidence) -> u64 {
    [SUMS, LARGE_SUMS, LARGE]
        .iter()
        .flat_map(|place| evidence.objects_at(place))
        .filter_map(|object| Some(read(object)?.1))
        .sum()
}

fn written(line: &Line, results: u64) -> Option<Kept> {
    Kept::of(&serde_json::json!({"line": line, "results": results}).to_string())
}

fn read(object: Json<'_>) -> Option<(Line, u64)> {
    let line = object.get("line")?;
    let text = |value: Json<'_>| value.str().map(std::borrow::Cow::into_owned);
    let conditions: Conditions = line
        .get("conditions")
        .into_iter()
        .flat_map(Json::members)
        .filter_map(|(name, value)| Some((name.into_owned(), text(value)?)))
        .collect();
    let usage: Usage = line
        .get("usage")?
        .members()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.str()?.parse().ok()?)))
        .collect();
    let line = Line {
        model: line.get("model").and_then(text).unwrap_or_default(),
        conditions,
        usage,
    };
    Some((line, object.get("results")?.count()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(model: &str, input: u64) -> Line {
        let mut usage = Usage::new();
        usage.set(Meter::InputTokens, input);
        usage.set(Meter::OutputTokens, 7);
        Line {
            model: model.into(),
            conditions: Conditions::new(),
            usage,
        }
    }

    #[test]
    fn small_results_are_summed_and_large_ones_stand_alone() {
        let mut evidence = Evidence::default();
        for input in [1_000, SUMMED_INPUT_MAX, SUMMED_INPUT_MAX + 1] {
            add(&mut evidence, line("m", input));
        }
        add(&mut evidence, line("n", 5));
        let inputs: Vec<_> = lines(&evidence)
            .iter()
            .map(|line| {
                assert_eq!(line.conditions["batch"], "true");
                (line.model.clone(), line.usage.quantity(Meter::InputTokens))
            })
            .collect();
        let expected = [("m", 33_000), ("n", 5), ("m", 32_001)];
        assert_eq!(
            inputs,
            expected.map(|(model, input): (&str, u64)| (model.to_owned(), Some(input.into())))
        );
        assert_eq!(count(&evidence), 4);
    }

    #[test]
    fn thousands_of_large_results_find_room() {
        let mut evidence = Evidence::default();
        for _ in 0..1_000 {
            add(&mut evidence, line("m", 100_000));
        }
        let lines = lines(&evidence);
        assert_eq!(lines.len(), LARGE_MAX + 1);
        let total = Decimal::checked_sum(
            lines
                .iter()
                .filter_map(|line| line.usage.quantity(Meter::InputTokens)),
        );
        assert_eq!(total, Some(100_000_000u64.into()));
        assert!(evidence.has_flag(LARGE_SUMMED));
        let bytes: usize = evidence
            .objects
            .iter()
            .map(|object| object.value.text().len())
            .sum();
        assert!(bytes < farebox_pricing::evidence::EVIDENCE_BYTES_MAX / 2);
    }
}
