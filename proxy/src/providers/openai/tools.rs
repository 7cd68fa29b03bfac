//! Hosted tools of a response: what they did beside its tokens.
//!
//! `tool_usage` counts billable searches and the image tool's tokens; without it, output items are
//! counted. A code interpreter and a hosted shell are billed by the container they ran in.

use farebox_pricing::evidence::{Evidence, Kept};
use farebox_pricing::usage::{Conditions, Line, Meter, Usage, UsageDraft};

use super::tokens::{self, Undivided};
use crate::framing::json::{Raw, items, pick_in, text_of};
use crate::providers::facts::{self, Counted};

/// Where the counts of output items stand in the evidence.
const ITEMS: &str = "items";
/// Containers told apart in one response.
const CONTAINERS_MAX: usize = 64;
/// What a response's image tool puts out and takes in where nothing divides it.
const IMAGE_TOOL: Undivided = Undivided {
    input: Meter::InputTokens,
    output: Meter::OutputImageTokens,
};

#[derive(Default)]
struct Items<'a> {
    web_searches: u64,
    file_searches: u64,
    computer_calls: u64,
    images: u64,
    interpreters: Containers<'a>,
    shells: Containers<'a>,
}

#[derive(Default)]
struct Containers<'a> {
    ids: Vec<&'a str>,
    unnamed: u64,
}

impl<'a> Containers<'a> {
    fn add(&mut self, id: Option<Raw<'a>>) {
        match id.map(Raw::get).filter(|id| id.starts_with('"')) {
            Some(id) if self.ids.contains(&id) => {}
            Some(id) if self.ids.len() < CONTAINERS_MAX => self.ids.push(id),
            _ => self.unnamed += 1,
        }
    }

    fn count(&self) -> u64 {
        // A call that does not name its container shares one with others, if any ran.
        (self.ids.len() as u64).max(u64::from(self.unnamed > 0))
    }
}

/// Counts the output items of a response that are calls of hosted tools, and keeps which model its
/// image tool is.
pub(super) fn collect(evidence: &mut Evidence, output: Option<Raw<'_>>, asked: Option<Raw<'_>>) {
    let mut counted = Items::default();
    for item in output.into_iter().flat_map(items) {
        count(item, &mut counted);
    }
    let counts = [
        ("web_searches", counted.web_searches),
        ("file_searches", counted.file_searches),
        ("computer_calls", counted.computer_calls),
        ("images", counted.images),
        ("code_interpreter", counted.interpreters.count()),
        ("shell", counted.shells.count()),
    ];
    let members: serde_json::Map<String, serde_json::Value> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| ((*name).to_owned(), (*count).into()))
        .collect();
    if !members.is_empty()
        && let Some(kept) = Kept::of(&serde_json::Value::Object(members).to_string())
    {
        evidence.replace_object(ITEMS, kept);
    }
    for tool in asked.into_iter().flat_map(items) {
        let Some(picked) = pick_in(tool, ["type", "model"]) else {
            continue;
        };
        let [kind, model] = picked.members;
        if kind.and_then(text_of).as_deref() == Some("image_generation") {
            facts::keep_response_text(evidence, "image_model", model);
        }
    }
}

fn count<'a>(item: Raw<'a>, counted: &mut Items<'a>) {
    let Some(picked) = pick_in(item, ["type", "action", "container_id", "environment"]) else {
        return;
    };
    let [kind, action, container, environment] = picked.members;
    match kind.and_then(text_of).as_deref() {
        Some("web_search_call") => {
            let action = action.and_then(|action| pick_in(action, ["type"]));
            let action = action.and_then(|action| action.members[0].and_then(text_of));
            // Opening a page and finding in it are not billed.
            if action.is_none_or(|action| action == "search") {
                counted.web_searches += 1;
            }
        }
        Some("file_search_call") => counted.file_searches += 1,
        Some("computer_call") => counted.computer_calls += 1,
        Some("image_generation_call") => counted.images += 1,
        Some("code_interpreter_call") => counted.interpreters.add(container),
        Some("shell_call") => {
            let environment = environment
                .and_then(|raw| pick_in(raw, ["type", "container_id"]))
                .map(|picked| picked.members);
            if let Some([kind, container]) = environment
                && kind
                    .and_then(text_of)
                    .is_some_and(|kind| kind.starts_with("container"))
            {
                counted.shells.add(container);
            }
        }
        _ => {}
    }
}

/// Adds what hosted tools did to the lines of a response.
pub(super) fn add(evidence: &Evidence, draft: &mut UsageDraft) {
    let mut items = evidence.object(ITEMS).map(Counted::new);
    let mut item = |name| items.as_mut().and_then(|items| items.count(&[name]));
    let mut tool_usage = evidence.object("tool_usage").map(Counted::new);
    let searches = tool_usage
        .as_mut()
        .and_then(|usage| usage.count(&["web_search", "num_requests"]))
        .or_else(|| item("web_searches"));
    let file_searches = item("file_searches");
    let containers = [
        ("code_interpreter", item("code_interpreter")),
        ("shell", item("shell")),
    ];
    if let Some(line) = draft.lines.first_mut() {
        let mut set = |meter, count: Option<u64>| {
            if let Some(count) = count.filter(|count| *count > 0) {
                line.usage.set(meter, count);
            }
        };
        set(Meter::WebSearches, searches);
        set(Meter::FileSearches, file_searches);
    }
    let model = facts::model(evidence);
    for (tool, count) in containers {
        let Some(count) = count.filter(|count| *count > 0) else {
            continue;
        };
        let mut usage = Usage::new();
        usage.set(Meter::ToolCalls, count);
        draft.lines.push(Line {
            model: model.clone(),
            conditions: Conditions::from([("tool".to_owned(), tool.to_owned())]),
            usage,
        });
    }
    let images = evidence
        .object("tool_usage")
        .and_then(|usage| usage.get("image_gen"));
    let Some(images) = images else {
        return;
    };
    let mut counted = Counted::new(images);
    let is_used = ["input_tokens", "output_tokens"]
        .iter()
        .any(|name| counted.count(&[name]).is_some_and(|count| count > 0));
    if is_used && let Some(usage) = tokens::usage(&mut counted, IMAGE_TOOL) {
        let model = evidence.response_text("image_model");
        draft.lines.push(Line {
            // Which image model it was is told only by the tools that the answer repeats.
            model: model.unwrap_or("image_generation").to_owned(),
            conditions: Conditions::new(),
            usage,
        });
    }
}
