//! What the vendors' readers have in common: facts of a request, counts out of usage objects,
//! drafts for answers that carry no usage.

use farebox_pricing::event::MODEL_BYTES_MAX;
use farebox_pricing::evidence::{EVIDENCE_TEXT_BYTES_MAX, Evidence, Fact, Index, Json, Kept};
use farebox_pricing::usage::{Line, Meter, Usage, UsageDraft, UsageSource};

use crate::framing::Frame;
use crate::framing::json::{Raw, pick, pick_in, text_of};
use crate::provider::Asked;

/// Bytes of a request taken for one token, where nothing better is known.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Keeps `model` and `stream` of a JSON body.
pub fn model_of_request(evidence: &mut Evidence, asked: &Asked<'_>) {
    if let Some(picked) = asked.body.and_then(|body| pick(body, ["model", "stream"])) {
        keep_request(evidence, "model", picked.members[0]);
        keep_request(evidence, "stream", picked.members[1]);
    }
}

/// Keeps one member of a request, when it is a short text, a number or a boolean.
pub fn keep_request(evidence: &mut Evidence, name: &'static str, raw: Option<Raw<'_>>) {
    let longest = if name == "model" {
        MODEL_BYTES_MAX
    } else {
        EVIDENCE_TEXT_BYTES_MAX
    };
    if let Some(fact) = raw.and_then(|raw| scalar(raw, longest)) {
        evidence.request.insert(name, fact);
    }
}

/// Keeps one member of an answer, when it is a text fit for a name.
pub fn keep_response_text(evidence: &mut Evidence, name: &'static str, raw: Option<Raw<'_>>) {
    if let Some(text) = raw.and_then(text_of)
        && !text.is_empty()
    {
        evidence.set_response_text(name, &text);
    }
}

fn scalar(raw: Raw<'_>, longest: usize) -> Option<Fact> {
    match raw.bytes().first()? {
        b'"' => text_of(raw)
            .filter(|text| text.len() <= longest)
            .map(|text| Fact::from(&*text)),
        b't' => Some(Fact::Bool(true)),
        b'f' => Some(Fact::Bool(false)),
        b'-' | b'0'..=b'9' if raw.get().len() <= EVIDENCE_TEXT_BYTES_MAX => match raw.get().parse()
        {
            Ok(count) => Some(Fact::Count(count)),
            Err(_) => raw.get().parse().ok().map(Fact::Number),
        },
        _ => None,
    }
}

/// Keeps the name of what an answer says was made, and nothing else: its `id`, or what stands for it.
pub fn collect_id(frame: &Frame<'_>, evidence: &mut Evidence) {
    const NAMES: [&str; 6] = [
        "id",
        "job_id",
        "request_id",
        "dubbing_id",
        "invocationArn",
        "name",
    ];
    const AROUND: [&str; 2] = ["job", "batch"];
    let named = |json| pick(json, NAMES)?.members.into_iter().flatten().next();
    let name = named(frame.data).or_else(|| {
        let around = pick(frame.data, AROUND)?.members;
        named(around.into_iter().flatten().next()?.bytes())
    });
    keep_response_text(evidence, "id", name);
}

/// One member of a member that is an object.
#[must_use]
pub fn member<'a>(raw: Option<Raw<'a>>, name: &str) -> Option<Raw<'a>> {
    pick_in(raw?, [name])?.members[0]
}

/// A whole number of an answer; some vendors put theirs between quotes.
pub fn count_of(raw: Raw<'_>) -> Option<u64> {
    match text_of(raw) {
        Some(text) => text.parse().ok(),
        None => raw.get().parse().ok(),
    }
}

/// The fact that a count was there and could not be read.
pub const COUNT_UNREAD: &str = "count_unread";

/// Keeps a count of the answer's as a fact; one that is there and cannot be read is another.
pub fn keep_count(evidence: &mut Evidence, name: &'static str, raw: Option<Raw<'_>>) {
    match raw.and_then(count_of) {
        Some(count) => evidence.response.insert(name, count),
        None if is_present(raw) => evidence.response.insert(COUNT_UNREAD, true),
        None => {}
    }
}

/// A member is there and says something.
pub fn is_present(raw: Option<Raw<'_>>) -> bool {
    raw.is_some_and(|raw| raw.bytes() != b"null")
}

/// Notes that an answer carries an error that is not null, and its names.
pub fn keep_error(evidence: &mut Evidence, error: Option<Raw<'_>>) {
    if !is_present(error) {
        return;
    }
    evidence.response.insert("error", true);
    if let Some(error) = error.and_then(|error| pick_in(error, ["type", "code"])) {
        keep_response_text(evidence, "error_type", error.members[0]);
        keep_response_text(evidence, "error_code", error.members[1]);
    }
}

/// Keeps a usage object in its place, replacing the one before; `null` and texts say nothing.
pub fn keep_usage(evidence: &mut Evidence, at: &'static str, raw: Option<Raw<'_>>) -> bool {
    let object = raw.filter(|raw| raw.bytes().starts_with(b"{"));
    let Some(value) = object.and_then(|raw| Kept::of(raw.get())) else {
        return false;
    };
    evidence.replace_object(at, value);
    true
}

/// Counts read out of one usage object, or of two of which the later holds where it says
/// something, with what was wrong about them.
#[derive(Debug)]
pub struct Counted<'a> {
    earlier: Option<Index<'a>>,
    later: Index<'a>,
    /// A count was below zero, or a part larger than its whole.
    pub is_clamped: bool,
}

impl<'a> Counted<'a> {
    /// Over a usage object.
    #[must_use]
    pub fn new(object: Json<'a>) -> Self {
        Self {
            earlier: None,
            later: Index::of(object),
            is_clamped: false,
        }
    }

    /// The same of one that was looked through when it was kept.
    #[must_use]
    pub fn kept(object: &'a Kept) -> Self {
        Self {
            earlier: None,
            later: object.index(),
            is_clamped: false,
        }
    }

    /// Over two: members of the later one that are not null go before.
    #[must_use]
    pub fn merged(earlier: Json<'a>, later: Json<'a>) -> Self {
        Self {
            earlier: Some(Index::of(earlier)),
            later: Index::of(later),
            is_clamped: false,
        }
    }

    /// The top-level member of a name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Json<'a>> {
        self.find(&[name])
    }

    /// The earlier object holds where the later one has no such top-level member.
    fn find(&self, path: &[&str]) -> Option<Json<'a>> {
        let Some(earlier) = &self.earlier else {
            return self.later.at(path);
        };
        if self
            .later
            .at(path.get(..1)?)
            .is_some_and(|value| !value.is_null())
        {
            return self.later.at(path);
        }
        earlier.at(path)
    }

    /// Whether one of the names stands nowhere; quicker than a look for each.
    #[must_use]
    pub fn lacks(&self, names: &[&str]) -> bool {
        let is_away = |earlier: &Index<'_>| earlier.lacks(names);
        self.later.lacks(names) && self.earlier.as_ref().is_none_or(is_away)
    }

    /// The count at a path of members; absent, null and what is no whole number are `None`.
    pub fn count(&mut self, path: &[&str]) -> Option<u64> {
        let (count, is_negative) = whole(self.find(path)?)?;
        self.is_clamped |= is_negative;
        Some(count)
    }

    /// What is left of a whole without a part; zero, and noted, when the part is larger.
    pub fn less(&mut self, whole: u64, part: u64) -> u64 {
        if part > whole {
            self.is_clamped = true;
        }
        whole.saturating_sub(part)
    }

    /// A part that can be no larger than its whole.
    pub fn within(&mut self, part: u64, whole: u64) -> u64 {
        if part > whole {
            self.is_clamped = true;
        }
        part.min(whole)
    }
}

/// A whole number, zero for one below; and whether it was below.
fn whole(value: Json<'_>) -> Option<(u64, bool)> {
    if let Some(count) = value.count() {
        return Some((count, false));
    }
    value.decimal()?.is_negative().then_some((0, true))
}

/// A whole number of the request.
#[must_use]
pub fn request_count(evidence: &Evidence, name: &str) -> Option<u64> {
    evidence.request.count(name)
}

/// A whole number of the answer.
#[must_use]
pub fn response_count(evidence: &Evidence, name: &str) -> Option<u64> {
    evidence.response.count(name)
}

/// The HTTP status of the answer; `None` when none came.
#[must_use]
pub fn status(evidence: &Evidence) -> Option<u64> {
    response_count(evidence, "status")
}

/// A fact of the answer is set.
#[must_use]
pub fn is_set(evidence: &Evidence, name: &str) -> bool {
    evidence.response.is_set(name)
}

/// The model of the answer, else the one asked for.
#[must_use]
pub fn model(evidence: &Evidence) -> String {
    evidence
        .response_text("model")
        .or_else(|| evidence.request_text("model"))
        .unwrap_or_default()
        .to_owned()
}

/// The draft of a whole answer of status 400 or above, which is not billed.
#[must_use]
pub fn refused(evidence: &Evidence) -> Option<UsageDraft> {
    let is_refused = status(evidence).is_some_and(|status| status >= 400);
    (is_refused && evidence.counts.is_complete).then(|| UsageDraft {
        source: UsageSource::None,
        ..UsageDraft::default()
    })
}

/// The draft of an answer that names a batch which was made: another call will tell what it used.
#[must_use]
pub fn batch_created(evidence: &Evidence) -> UsageDraft {
    if let Some(draft) = refused(evidence) {
        return draft;
    }
    if evidence.response_text("id").is_none() {
        return missing(why_no_usage(evidence), None, None);
    }
    UsageDraft {
        source: UsageSource::Pending,
        reason: Some("batch"),
        ..UsageDraft::default()
    }
}

/// Flags of a reader that saw an answer and could not read it.
const UNREAD_FLAGS: [&str; 6] = [
    "body_too_large",
    "decoded_too_large",
    "invalid_body",
    "invalid_encoding",
    "unknown_encoding",
    "unknown_type",
];

/// The reason of an answer that ended too early to say its usage.
pub const CUT: &str = "cut_before_usage";

/// The reason of an answer that could not be read.
const NOT_READ: &str = "answer_not_read";

/// Why an answer has no usage.
#[must_use]
pub fn why_no_usage(evidence: &Evidence) -> &'static str {
    if status(evidence).is_none() {
        return "no_answer";
    }
    if evidence
        .flags
        .iter()
        .any(|flag| UNREAD_FLAGS.contains(&&**flag))
    {
        return NOT_READ;
    }
    let is_whole = is_set(evidence, "finished")
        || (evidence.counts.is_complete && evidence.counts.frames == 0);
    match is_set(evidence, "error") {
        // It may have stood in what was too large to be read.
        false if is_whole && evidence.has_flag("frame_too_large") => NOT_READ,
        false if is_whole => "no_usage_in_answer",
        // An error alone, under a status that says nothing of it; a stream may end with it.
        true if (is_whole || evidence.counts.is_complete) && evidence.counts.output_frames == 0 => {
            "error_in_answer"
        }
        _ => CUT,
    }
}

/// The draft of an answer without usage: bounds; and where generation was surely under way, an
/// estimate within them. The line of that is made there alone: a call that begins needs its bounds.
#[must_use]
pub fn unreported(
    evidence: &Evidence,
    line: impl FnOnce() -> Line,
    low: Usage,
    high: Usage,
) -> UsageDraft {
    let reason = why_no_usage(evidence);
    if reason != CUT || status(evidence).is_some_and(|status| status >= 400) {
        return missing(reason, Some(low), Some(high));
    }
    UsageDraft {
        lines: vec![line()],
        source: UsageSource::Estimated,
        reason: Some(reason),
        low: Some(low),
        high: Some(high),
    }
}

/// Text tokens in and out, and nothing else.
#[must_use]
pub fn text_tokens(input: u64, output: u64) -> Usage {
    let mut usage = Usage::new();
    usage.set(Meter::InputTokens, input);
    usage.set(Meter::OutputTokens, output);
    usage
}

/// What a provider reports of its one model.
#[must_use]
pub fn reported(evidence: &Evidence, usage: Usage, reason: Option<&'static str>) -> UsageDraft {
    UsageDraft {
        lines: vec![Line {
            model: model(evidence),
            usage,
            ..Line::default()
        }],
        source: UsageSource::Reported,
        reason,
        low: None,
        high: None,
    }
}

/// Nothing is known but bounds.
#[must_use]
pub fn missing(reason: &'static str, low: Option<Usage>, high: Option<Usage>) -> UsageDraft {
    UsageDraft {
        lines: Vec::new(),
        source: UsageSource::Missing,
        reason: Some(reason),
        low,
        high,
    }
}

/// Most tokens an answer can hold, as far as the wire shows: the request's own limit, else a token
/// for each byte that came.
#[must_use]
pub fn output_high(evidence: &Evidence) -> u64 {
    request_count(evidence, "max_output_tokens").unwrap_or_else(|| {
        let decoded = response_count(evidence, "decoded_bytes");
        evidence
            .counts
            .response_bytes
            .max(decoded.unwrap_or(0))
            .max(evidence.counts.output_frames)
    })
}
