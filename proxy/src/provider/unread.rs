//! Counts that are there and cannot be read: a number in quotes, one beyond all numbers, a list where a count
//! belongs. A reader takes such a member for absent, and the rest would be reported as the whole.
//!
//! Holds true: of an answer whose usage holds such a count, the row says so; what could be read is its lower
//! bound.

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{UsageDraft, UsageSource, is_bookable};

use crate::providers::facts::{self, COUNT_UNREAD};
use crate::providers::sums::PLACES;

/// The reason of a row of which a part could not be read.
const NOT_READ: &str = "count_not_read";
/// Objects in objects that are looked into; vendors have three.
const DEPTH_MAX: u32 = 6;

/// The draft, which is not the whole where a count could not be read.
pub(crate) fn told(mut draft: UsageDraft, evidence: &Evidence) -> UsageDraft {
    let is_unread = facts::is_set(evidence, COUNT_UNREAD);
    if is_unread && draft.source == UsageSource::None {
        return facts::missing(NOT_READ, None, None);
    }
    if draft.source != UsageSource::Reported {
        return draft;
    }
    let mut objects = evidence
        .objects
        .iter()
        .filter(|object| !PLACES.contains(&&*object.at));
    if is_unread || objects.any(|object| holds_unread(&object.value)) {
        draft.source = UsageSource::Partial;
        draft.reason = Some(NOT_READ);
        draft.low = Some(draft.total());
    }
    draft
}

fn holds_unread(object: &Kept) -> bool {
    if object.has_counts_alone() {
        // All that can be wrong is an object where a count belongs.
        return match object.names_of_objects() {
            Some(mut names) => names.any(is_of_tokens),
            None => before_braces(object.text()).any(is_of_tokens),
        };
    }
    has_unread("", object.json(), DEPTH_MAX)
}

/// The names of members that are objects, in a text that holds no other strings; perhaps with what stands
/// before them.
fn before_braces(text: &str) -> impl Iterator<Item = &str> {
    memchr::memchr_iter(b'{', text.as_bytes()).filter_map(|at| text.get(..at)?.strip_suffix("\":"))
}

fn has_unread(name: &str, value: Json<'_>, depth: u32) -> bool {
    if value.is_object() || value.is_array() {
        return is_of_tokens(name)
            || depth > 0
                && (value
                    .members()
                    .any(|(name, member)| has_unread(&name, member, depth - 1))
                    || value.items().any(|item| has_unread("", item, depth - 1)));
    }
    if value.number().is_some() {
        return !value.decimal().is_some_and(is_bookable);
    }
    match value.str() {
        Some(_) if is_of_tokens(name) => true,
        Some(text) => is_count(name) && text.parse::<Decimal>().is_ok(),
        None => value.bool().is_some() && is_of_tokens(name),
    }
}

/// Whether nothing but a count can stand there.
fn is_of_tokens(name: &str) -> bool {
    ["_tokens", "_token_count", "Tokens", "TokenCount"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether a count may stand there: a text may too.
fn is_count(name: &str) -> bool {
    const PARTS: [&str; 13] = [
        "second",
        "duration",
        "cost",
        "ticks",
        "count",
        "request",
        "calls",
        "queries",
        "units",
        "pages",
        "characters",
        "channels",
        "credits",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use farebox_pricing::usage::{Line, Meter};
    use proptest::prelude::*;

    use super::*;

    fn told_of(usage: &str) -> UsageDraft {
        let mut evidence = Evidence::default();
        evidence.replace_object("usage", Kept::of(usage).unwrap());
        let draft = UsageDraft {
            lines: vec![Line {
                usage: [(Meter::OutputTokens, 3.into())].into_iter().collect(),
                ..Line::default()
            }],
            source: UsageSource::Reported,
            ..UsageDraft::default()
        };
        told(draft, &evidence)
    }

    #[test]
    fn a_count_that_cannot_be_read_makes_a_row_partial() {
        for usage in [
            r#"{"prompt_tokens":"12","completion_tokens":3}"#,
            r#"{"prompt_tokens":{},"completion_tokens":3}"#,
            r#"{"tokens":{"input_tokens":{"a":1}},"completion_tokens":3}"#,
            r#"{"prompt_tokens":[12],"completion_tokens":3}"#,
            r#"{"prompt_tokens":true,"completion_tokens":3}"#,
            r#"{"prompt_tokens":1e300,"completion_tokens":3}"#,
            r#"{"completion_tokens":3,"details":[{"cached_tokens":"x"}]}"#,
            r#"{"completion_tokens":3,"cost_in_usd_ticks":"7"}"#,
        ] {
            let draft = told_of(usage);
            assert_eq!(draft.source, UsageSource::Partial, "{usage}");
            assert_eq!(draft.reason, Some("count_not_read"));
            assert_eq!(draft.low, Some(draft.lines[0].usage.clone()));
        }
    }

    #[test]
    fn texts_and_counts_of_every_kind_are_read() {
        for usage in [
            r#"{"prompt_tokens":12,"prompt_tokens_details":{"cached_tokens":1},"x{":{"y":2}}"#,
            r#"{"prompt_tokens":12,"completion_tokens":3.0,"cached_tokens":null,"type":"tokens"}"#,
            r#"{"tokens":{"input_tokens":1.5},"service_tier":"default","search_context_size":"low"}"#,
            r#"{"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}],"version":"2.0"}"#,
            r#"{"cost":1.2e-5,"prompt_tokens":-3}"#,
        ] {
            assert_eq!(told_of(usage).source, UsageSource::Reported, "{usage}");
        }
    }

    proptest! {
        #[test]
        fn what_is_known_of_counts_is_what_a_walk_finds(
            members in prop::collection::vec(("[a-c]?(_tokens|Tokens|x|)", "1|null|[{][}]|[{]\"(a|b_tokens)\":(2|[{][}])[}]"), 1..70),
        ) {
            let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
            let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            let object = Kept::of(&text).unwrap();
            prop_assert!(object.has_counts_alone());
            prop_assert_eq!(holds_unread(&object), has_unread("", object.json(), DEPTH_MAX));
        }
    }
}
