//! OpenAI's live sessions, `/v1/live/sessions`: seconds of the session, which the vendor reports as a
//! running total, and the tokens of every response and decision that it delegates.
//!
//! A delegated response has an id of its own and ends a part; the seconds are in the last part.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Conditions, Line, Meter, UsageDraft, UsageSource};

use super::realtime_socket::{KEY_PROTOCOL, cut_message, models};
use super::{responses, responses_socket};
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::providers::facts::{self, keep_request, missing};
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

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    if !heard.is_json() || heard.from == From::Caller {
        return Turn::Goes;
    }
    let Some(picked) = pick(heard.data, ["type", "session", "usage", "event"]) else {
        evidence.flag("invalid_event");
        return Turn::Goes;
    };
    let [kind, session, usage, event] = picked.members;
    match kind.and_then(text_of).as_deref() {
        Some("session.created" | "session.updated") => {
            let model = session.and_then(|raw| pick_in(raw, ["model"]));
            keep_request(
                evidence,
                "session_model",
                model.and_then(|of| of.members[0]),
            );
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
