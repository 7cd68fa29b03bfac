//! Names of things that Google keeps, which stand in `name` and not in `id`.

use std::borrow::Cow;

use farebox_pricing::evidence::Evidence;

use super::path;
use crate::framing::Frame;
use crate::framing::json::{pick, text_of};
use crate::providers::facts::member;

/// The fact of a resource's whole name.
pub(crate) const OBJECT: &str = "object";

/// Keeps the name of what was made; a file's stands inside `file`.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some([name, file]) = pick(frame.data, ["name", "file"]).map(|picked| picked.members) else {
        return;
    };
    keep_name(evidence, name.or(member(file, "name")).and_then(text_of));
}

/// Keeps a resource's name: its last part as the id, all of it as what was made.
pub(crate) fn keep_name(evidence: &mut Evidence, name: Option<Cow<'_, str>>) {
    if let Some(name) = name {
        evidence.set_response_text("id", path::last_part(&name));
        evidence.set_response_text(OBJECT, &name);
    }
}
