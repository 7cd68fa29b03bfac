//! xAI's voice agent, `/v1/realtime`: OpenAI's events, billed by the vendor's own audio seconds, a running
//! total of the session, and by the text message. Its counts stand beside the response, not in it. A
//! session in which none was said is billed for the time it was open.

use farebox_pricing::evidence::{Evidence, Fact};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use super::with_charge;
use crate::framing::json::{items, pick, text_of};
use crate::provider::Asked;
use crate::providers::facts::{self, keep_usage, member, missing};
use crate::providers::openai::realtime_socket::{self, KEY_PROTOCOL};
use crate::providers::sockets::{self, only};
use crate::socket::{From, Heard, LastWords, Socket, Turn};

/// `/v1/realtime`.
pub(super) static SOCKET: Socket = Socket {
    collect,
    key_protocol: KEY_PROTOCOL,
    models: Some(realtime_socket::models),
    last_words: LastWords::Turns {
        stop: Some(realtime_socket::CANCEL),
        runs: realtime_socket::runs,
    },
    cut_message: Some(realtime_socket::cut_message),
    ..Socket::DEFAULT
};

/// The vendor's model when the query names none.
const DEFAULT_MODEL: &str = "grok-voice-latest";
/// The running total as it was at the end of the part before.
const BILLED: &str = "billed_seconds";
/// What this part adds to it.
const SECONDS: &str = "part_seconds";
/// Text messages that the caller sent.
const MESSAGES: &str = "text_messages";

/// The model.
pub(super) fn request_facts(evidence: &mut Evidence, asked: &Asked<'_>) {
    sockets::keep_query(evidence, asked, &[("model", "model")]);
}

fn collect(heard: &Heard<'_>, evidence: &mut Evidence) -> Turn {
    let turn = realtime_socket::collect(heard, evidence);
    let Some(picked) = pick(heard.data, ["type", "item", "usage"]) else {
        return turn;
    };
    let [kind, item, usage] = picked.members;
    match (heard.from, &*kind.and_then(text_of).unwrap_or_default()) {
        (From::Caller, "conversation.item.create") => {
            let is_text = |part| {
                let kind = member(Some(part), "type").and_then(text_of);
                kind.is_some_and(|kind| kind == "input_text")
            };
            let content = member(item, "content").into_iter().flat_map(items);
            let messages = content.filter(|part| is_text(*part)).count().min(1) as u64;
            let before = evidence.response.count(MESSAGES).unwrap_or(0);
            evidence.response.insert(MESSAGES, before + messages);
        }
        (From::Upstream, "response.done") => {
            if usage.is_some_and(|raw| raw.get().contains(':')) {
                keep_usage(evidence, "usage", usage);
            }
            let object = evidence.object("usage");
            let total = object.and_then(|object| object.get("billable_audio_seconds")?.decimal());
            if let Some(total) = total.filter(|total| !total.is_negative()) {
                keep_total(evidence, total);
            }
        }
        _ => {}
    }
    turn
}

/// A total that fell is none: it is of this response alone.
fn keep_total(evidence: &mut Evidence, total: Decimal) {
    let before = evidence.request.get(BILLED).and_then(Fact::as_decimal);
    let more = total.checked_sub(before.unwrap_or_default());
    let more = more.filter(|more| !more.is_negative()).unwrap_or(total);
    evidence.request.insert(BILLED, total);
    evidence.response.insert(SECONDS, more);
}

/// The line of one response, or of what follows the last one.
pub(super) fn usage_of(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = sockets::not_open(evidence) {
        return draft;
    }
    let line = |meter, seconds| {
        let model = evidence
            .request_text("session_model")
            .or_else(|| evidence.request_text("model"))
            .unwrap_or(DEFAULT_MODEL);
        let mut usage = only(meter, seconds);
        let messages = evidence.response.count(MESSAGES).unwrap_or(0);
        if messages > 0 {
            usage.set(Meter::Requests, messages);
        }
        Line {
            model: model.to_owned(),
            usage,
            ..Line::default()
        }
    };
    let seconds = evidence.response.get(SECONDS).and_then(Fact::as_decimal);
    if let Some(seconds) = seconds {
        let draft = sockets::reported(vec![line(Meter::AudioSeconds, seconds)]);
        return with_charge(evidence, draft);
    }
    if evidence.request.contains_key(BILLED) {
        // The total of the session has told everything that was done.
        return match evidence.response.is_set("in_progress") {
            true => missing(
                facts::CUT,
                Some(only(Meter::AudioSeconds, Decimal::ZERO)),
                Some(only(
                    Meter::AudioSeconds,
                    sockets::plus(
                        sockets::open_seconds(evidence),
                        sockets::unseen_seconds(evidence),
                    ),
                )),
            ),
            false => sockets::nothing(),
        };
    }
    let open = |seconds| line(Meter::SessionSeconds, seconds);
    let mut draft = sockets::open_session(evidence, open, Decimal::ZERO);
    draft.source = UsageSource::Measured;
    with_charge(evidence, draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_total_is_taken_apart() {
        let mut evidence = Evidence::default();
        let mut add = |total: &str| {
            keep_total(&mut evidence, total.parse().unwrap());
            evidence
                .response
                .get(SECONDS)
                .and_then(Fact::as_decimal)
                .unwrap()
                .to_string()
        };
        assert_eq!(
            [add("3"), add("7.5"), add("7.5"), add("2")],
            ["3", "4.5", "0", "2"]
        );
    }
}
