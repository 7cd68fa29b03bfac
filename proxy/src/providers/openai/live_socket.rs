//! OpenAI's live sessions, `/v1/live/sessions`: seconds of the session, which the vendor reports as a
//! running total, and the tokens of every response and decision that it delegates.
//!
//! A delegated response has an id of its own and ends a part; the seconds are in the last part. The model
//! is named by the first message, never by the handshake.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft, UsageSource};

use super::realtime_socket::{self, KEY_PROTOCOL, cut_message};
use super::{responses, responses_socket};
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::providers::facts::{self, keep_request, member, missing};
use crate::providers::sockets::{self, bounded, decimal, larger, only, plus};
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/live/sessions`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    last_words: LastWords::Session(r#"{"type":"session.close"}"#),
    models: Some(models),
    cut_message: Some(cut_message),
    ..Socket::DEFAULT
};

/// The session's models, and the one that it delegates to.
fn models(heard: &Heard<'_>, on: &mut dyn FnMut(&str)) {
    realtime_socket::models(heard, on);
    let session = pick(heard.data, ["session"]).and_then(|picked| picked.members[0]);
    let responses = member(member(session, "delegation"), "responses");
    if let Some(model) = member(responses, "model").and_then(text_of) {
        on(&model);
    }
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    if !heard.is_json() {
        return Turn::Goes;
    }
    let Some(picked) = pick(heard.data, ["type", "session", "usage", "event"]) else {
        evidence.flag("invalid_event");
        return Turn::Goes;
    };
    let [kind, session, usage, event] = picked.members;
    let kind = kind.and_then(text_of);
    if heard.from == From::Caller {
        if kind.as_deref() == Some("session.start") {
            keep_request(evidence, "model", member(session, "model"));
        }
        return Turn::Goes;
    }
    match kind.as_deref() {
        Some("session.created" | "session.started" | "session.updated") => {
            keep_request(evidence, "session_model", member(session, "model"));
        }
        Some("session.usage.updated") => keep_seconds(evidence, usage),
        Some("session.closed") => {
            keep_seconds(evidence, usage);
            evidence.response.insert("session_closed", true);
        }
        Some("response.event") => return keep_delegated(evidence, event, "response"),
        Some("decision.event") => return keep_delegated(evidence, event, "decision"),
        Some("error") => evidence.flag("error_message"),
        Some(kind) => evidence.counts.output_frames += u64::from(kind.ends_with(".delta")),
        None => {}
    }
    Turn::Goes
}

/// A running total: it holds for the session, whatever part it comes in.
fn keep_seconds(evidence: &mut Evidence, usage: Option<Raw<'_>>) {
    let seconds = usage.and_then(|raw| pick_in(raw, ["seconds"]));
    if let Some(seconds) = decimal(seconds.and_then(|of| of.members[0])) {
        evidence.request.insert("session_seconds", seconds);
    }
}

fn keep_delegated(evidence: &mut Evidence, event: Option<Raw<'_>>, name: &str) -> Turn {
    let Some(event) = event.and_then(|raw| pick_in(raw, ["type", name])) else {
        return Turn::Goes;
    };
    let [kind, whole] = event.members;
    let is_terminal = match kind.and_then(text_of).as_deref() {
        Some("response.completed" | "response.incomplete" | "response.failed") => true,
        Some(kind) => name == "decision" && has_usage(whole) && kind != "decision.created",
        None => false,
    };
    if !is_terminal {
        return Turn::Goes;
    }
    responses_socket::keep_terminal(evidence, whole);
    if name == "decision" {
        evidence.response.insert("decision", true);
    }
    Turn::Ends
}

fn has_usage(whole: Option<Raw<'_>>) -> bool {
    let usage = whole.and_then(|raw| pick_in(raw, ["usage"]));
    facts::is_present(usage.and_then(|of| of.members[0]))
}

/// The line of a delegated response, or of the session.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    if evidence.response.is_set("done") {
        let draft = responses_socket::ended(evidence);
        return match evidence.response.is_set("decision") {
            true => responses::as_decision(draft),
            false => draft,
        };
    }
    let open = plus(
        sockets::open_seconds(evidence),
        sockets::unseen_seconds(evidence),
    );
    let seconds = evidence.request.get("session_seconds");
    let Some(seconds) = seconds.and_then(Fact::as_decimal) else {
        let high = Some(only(Meter::AudioSeconds, open));
        return missing(
            facts::CUT,
            Some(only(Meter::AudioSeconds, Decimal::ZERO)),
            high,
        );
    };
    let line = Line {
        model: evidence
            .request_text("session_model")
            .or_else(|| evidence.request_text("model"))
            .unwrap_or_default()
            .to_owned(),
        conditions: Conditions::default(),
        usage: only(Meter::AudioSeconds, seconds),
    };
    if evidence.response.is_set("session_closed") {
        return sockets::reported(vec![line]);
    }
    let (source, meter) = (UsageSource::Partial, Meter::AudioSeconds);
    let high = larger(plus(seconds, open), seconds);
    bounded(
        source,
        "session_not_closed",
        line,
        meter,
        seconds,
        Some(high),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_delegated_to_is_named_too() {
        let data = br#"{"type":"session.start","session":{"model":"gpt-live-1",
            "delegation":{"type":"responses","responses":{"model":"gpt-6-mini"}}}}"#;
        let heard = Heard {
            from: From::Caller,
            is_text: true,
            data,
            len: data.len() as u64,
        };
        let mut named = Vec::new();
        models(&heard, &mut |model| named.push(model.to_owned()));
        assert_eq!(named, ["gpt-live-1", "gpt-6-mini"]);
    }
}
