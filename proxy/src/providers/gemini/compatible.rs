//! Gemini in OpenAI's dialect: thoughts are in the total and in nothing else.

use farebox_pricing::evidence::{Evidence, Json};
use farebox_pricing::usage::{Meter, UsageDraft, UsageSource};

use crate::provider::Endpoint;
use crate::providers::openai;

/// Chat completions at a path.
pub(crate) const fn chat(path: &'static str) -> Endpoint {
    Endpoint {
        usage_of,
        // Its streams report usage unasked.
        amend_request: None,
        ..openai::chat(path)
    }
}

/// What the total has beyond prompt and completion is reasoning.
fn usage_of(evidence: &Evidence) -> UsageDraft {
    let mut draft = (openai::chat("").usage_of)(evidence);
    if draft.source != UsageSource::Reported {
        return draft;
    }
    let rest = evidence.object("usage").and_then(beyond);
    if let (Some(rest), [line]) = (rest, draft.lines.as_mut_slice())
        && line.usage.quantity(Meter::ReasoningTokens).is_none()
    {
        line.usage.set(Meter::ReasoningTokens, rest);
    }
    draft
}

fn beyond(usage: Json<'_>) -> Option<u64> {
    let count = |name| usage.get(name)?.count();
    let told = count("prompt_tokens")?.checked_add(count("completion_tokens")?)?;
    count("total_tokens")?
        .checked_sub(told)
        .filter(|rest| *rest > 0)
}
