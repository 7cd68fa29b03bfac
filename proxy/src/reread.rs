//! Reads stored evidence again with today's readers: the same code as a live call's, without its wire.

use farebox_pricing::event::EndpointKind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageDraft;

use crate::provider::{self, Endpoint};

/// Flags of evidence that is not all there: what is left would be read as something else.
const INCOMPLETE: [&str; 1] = ["evidence_dropped"];

/// What a call's evidence says by today's reader; `None` where no reader is known to be its own, or the
/// evidence was cut down to fit.
#[must_use]
pub fn usage_of(provider: &str, kind: EndpointKind, evidence: &Evidence) -> Option<UsageDraft> {
    if INCOMPLETE.iter().any(|flag| evidence.has_flag(flag)) {
        return None;
    }
    let endpoint = endpoint(provider, kind, evidence.route.as_deref())?;
    Some(endpoint.draft(evidence))
}

/// The endpoint of a route as evidence names it; of evidence that names none, the one reader that the
/// vendor has for the kind of call.
fn endpoint(provider: &str, kind: EndpointKind, route: Option<&str>) -> Option<&'static Endpoint> {
    let endpoints = provider::find(provider)?.endpoints;
    if let Some(route) = route {
        return endpoints.iter().find(|endpoint| endpoint.route() == route);
    }
    let mut of_kind = endpoints
        .iter()
        .filter(|endpoint| endpoint.kind == kind && endpoint.is_read);
    let first = of_kind.next()?;
    of_kind
        .all(|other| std::ptr::fn_addr_eq(other.usage_of, first.usage_of))
        .then_some(first)
}

#[cfg(test)]
mod tests {
    use farebox_pricing::evidence::Kept;
    use farebox_pricing::usage::{Meter, UsageSource};

    use super::*;

    #[test]
    fn stored_evidence_is_read_as_a_live_calls_was() {
        let mut evidence = Evidence::default();
        evidence.response.insert("status", 200);
        evidence.response.insert("model", "gpt-4o-mini");
        let usage = r#"{"input_tokens":10,"output_tokens":2}"#;
        evidence.replace_object("usage", Kept::of(usage).unwrap());
        let text = serde_json::to_string(&evidence).unwrap();
        let mut evidence: Evidence = serde_json::from_str(&text).unwrap();
        // Without a route, where all of a kind are read alike.
        for (provider, kind, route) in [
            ("anthropic", EndpointKind::Messages, None),
            (
                "anthropic",
                EndpointKind::Messages,
                Some("POST /v1/messages"),
            ),
            (
                "openai",
                EndpointKind::Chat,
                Some("POST /v1/chat/completions"),
            ),
        ] {
            evidence.route = route.map(Into::into);
            let draft = usage_of(provider, kind, &evidence).unwrap();
            assert_eq!(draft.source, UsageSource::Reported);
            let input = draft.lines[0].usage.quantity(Meter::InputTokens);
            assert_eq!(input, Some(10.into()));
        }
        evidence.route = Some("POST /v1/no/such".into());
        assert_eq!(usage_of("openai", EndpointKind::Chat, &evidence), None);
        assert_eq!(usage_of("nobody", EndpointKind::Chat, &evidence), None);
        evidence.route = None;
        assert_eq!(usage_of("openai", EndpointKind::Chat, &evidence), None);
        evidence.flag("evidence_dropped");
        assert_eq!(
            usage_of("anthropic", EndpointKind::Messages, &evidence),
            None
        );
    }

    #[test]
    fn every_route_is_named_once() {
        for provider in provider::ALL {
            for endpoint in provider.endpoints {
                let found = super::endpoint(provider.name, endpoint.kind, Some(&endpoint.route()));
                assert!(found.is_some_and(|found| std::ptr::eq(found, endpoint)));
            }
        }
    }
}
