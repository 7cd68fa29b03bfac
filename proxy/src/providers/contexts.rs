//! Texts that are spoken side by side in several contexts of one socket, and whose vendor says no count:
//! each is counted while it is open and added up by model when it ends, in one of three ways.
//!
//! Open contexts and sums are usage objects of the evidence, so that a stored one is read as a live one.
//! A context's name is the caller's; no more of it is kept than tells it from the others.

use farebox_pricing::evidence::{Evidence, Json, Kept};
use farebox_pricing::money::Decimal;
use farebox_pricing::usage::{Line, Meter, UsageDraft, UsageSource};

use super::facts;
use super::sockets::{self, NOT_REPORTED, only};

/// Where an open context stands.
const OPEN: &str = "context";
/// Where the sums of a model stand.
const SUM: &str = "spoken";
/// Open contexts kept at one time; the oldest one beyond is taken for spoken.
const OPEN_MAX: usize = 16;
/// Models whose sums are kept apart.
const MODELS_MAX: usize = 8;
/// Bytes kept of a context's name.
const NAME_BYTES_MAX: usize = 48;

/// How a context ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was spoken.
    Spoken,
    /// It was left by the caller: nobody says how much was spoken.
    Left,
    /// The vendor failed; such a context costs nothing.
    Failed,
}

/// Characters of one context, or of all that ended of a model.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// The context's name, or the model's of a sum.
    name: String,
    model: String,
    /// Sent and, of a sum, neither left nor failed.
    characters: u64,
    /// Of those surely spoken.
    spoken: u64,
    left: u64,
    failed: u64,
}

impl Counts {
    fn read(value: Json<'_>) -> Self {
        let text = |name| value.get(name).and_then(Json::str).unwrap_or_default();
        let count = |name| value.get(name).and_then(Json::count).unwrap_or(0);
        Self {
            name: text("name").into_owned(),
            model: text("model").into_owned(),
            characters: count("characters"),
            spoken: count("spoken"),
            left: count("left"),
            failed: count("failed"),
        }
    }

    fn write(&self) -> Option<Kept> {
        let mut value = serde_json::json!({
            "name": self.name,
            "model": self.model,
            "characters": self.characters,
            "spoken": self.spoken,
        });
        for (name, count) in [("left", self.left), ("failed", self.failed)] {
            if count > 0 {
                value[name] = count.into();
            }
        }
        Kept::of(&value.to_string())
    }
}

fn read(evidence: &Evidence, at: &str) -> Vec<Counts> {
    evidence.objects_at(at).map(Counts::read).collect()
}

fn write(evidence: &mut Evidence, at: &'static str, all: &[Counts]) {
    evidence.objects.retain(|object| object.at != at);
    for kept in all.iter().filter_map(Counts::write) {
        evidence.push_object(at, kept);
    }
}

fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

/// So many characters were sent into a context.
pub(super) fn add(evidence: &mut Evidence, name: &str, model: &str, characters: u64) {
    evidence.counts.characters = evidence.counts.characters.saturating_add(characters);
    let name = short(name);
    let mut open = read(evidence, OPEN);
    match open.iter_mut().find(|context| context.name == name) {
        Some(context) => context.characters = context.characters.saturating_add(characters),
        None => {
            open.push(Counts {
                name: name.to_owned(),
                model: short(model).to_owned(),
                characters,
                ..Counts::default()
            });
            if open.len() > OPEN_MAX {
                evidence.flag("contexts_dropped");
                let oldest = open.remove(0);
                put_away(evidence, oldest, End::Spoken);
            }
        }
    }
    write(evidence, OPEN, &open);
}

/// Everything that a context holds so far was spoken.
pub(super) fn note_spoken(evidence: &mut Evidence, name: &str) {
    let mut open = read(evidence, OPEN);
    let found = open.iter_mut().find(|context| context.name == short(name));
    if let Some(context) = found {
        context.spoken = context.characters;
        write(evidence, OPEN, &open);
    }
}

/// A context ended.
pub(super) fn end(evidence: &mut Evidence, name: &str, how: End) {
    let mut open = read(evidence, OPEN);
    let found = open.iter().position(|context| context.name == short(name));
    if let Some(at) = found {
        let context = open.remove(at);
        write(evidence, OPEN, &open);
        put_away(evidence, context, how);
    }
}

/// All open contexts ended alike.
pub(super) fn end_all(evidence: &mut Evidence, how: End) {
    for context in read(evidence, OPEN) {
        put_away(evidence, context, how);
    }
    write(evidence, OPEN, &[]);
}

fn put_away(evidence: &mut Evidence, context: Counts, how: End) {
    let mut sums = read(evidence, SUM);
    let at = sums.iter().position(|sum| sum.model == context.model);
    let at = at.unwrap_or_else(|| {
        if sums.len() < MODELS_MAX {
            sums.push(Counts {
                model: context.model.clone(),
                ..Counts::default()
            });
        }
        sums.len() - 1
    });
    if let Some(sum) = sums.get_mut(at) {
        let unsure = context.characters.saturating_sub(context.spoken);
        let (spoken, place) = match how {
            End::Spoken => (context.characters, None),
            End::Left => (context.spoken, Some(&mut sum.left)),
            End::Failed => (context.spoken, Some(&mut sum.failed)),
        };
        if let Some(place) = place {
            *place = place.saturating_add(unsure);
        }
        sum.spoken = sum.spoken.saturating_add(spoken);
        sum.characters = sum.characters.saturating_add(spoken);
    }
    write(evidence, SUM, &sums);
}

/// The lines of all contexts, one a model: what was sent and not failed, at least what was surely
/// spoken. `default_model` stands where no message named one.
pub(super) fn usage_of(evidence: &Evidence, default_model: &str) -> UsageDraft {
    let mut lines: Vec<Line> = Vec::new();
    let (mut low, mut high, mut failed) = (0u64, 0u64, 0u64);
    for counts in read(evidence, SUM).into_iter().chain(read(evidence, OPEN)) {
        let charged = counts.characters.saturating_add(counts.left);
        low = low.saturating_add(counts.spoken);
        high = high.saturating_add(charged);
        failed = failed.saturating_add(counts.failed);
        let model = match counts.model.as_str() {
            "" => default_model,
            model => model,
        };
        if charged == 0 {
            continue;
        }
        match lines.iter_mut().find(|line| line.model == model) {
            Some(line) => {
                let before = line.usage.quantity(Meter::Characters).unwrap_or_default();
                let sum = sockets::plus(before, charged.into());
                line.usage.set(Meter::Characters, sum);
            }
            None => lines.push(Line {
                model: model.to_owned(),
                usage: only(Meter::Characters, charged.into()),
                ..Line::default()
            }),
        }
    }
    if lines.is_empty() {
        return match (failed > 0, evidence.has_flag("text_not_read")) {
            (_, true) => facts::missing("request_not_read", None, None),
            (true, false) => UsageDraft {
                source: UsageSource::None,
                reason: Some("error_in_answer"),
                ..UsageDraft::default()
            },
            (false, false) => sockets::nothing(),
        };
    }
    // How much text may follow a checkpoint is bounded by nothing.
    let has_bound = evidence.counts.unseen_ms == 0 && !evidence.has_flag("text_not_read");
    UsageDraft {
        lines,
        source: UsageSource::Measured,
        reason: Some(NOT_REPORTED),
        low: Some(only(Meter::Characters, low.into())),
        high: has_bound.then(|| only(Meter::Characters, Decimal::from(high))),
    }
}
