//! Names of things that Google keeps, which stand in `name` and not in `id`.

use farebox_pricing::evidence::Evidence;

use super::path;
use crate::framing::Frame;
use crate::framing::json::{pick, text_of};
use crate::providers::facts::member;

/// Keeps the name of what was made; a file's stands inside `file`.
pub(crate) fn collect(frame: &Frame<'_>, evidence: &mut Evidence) {
    let Some([name, file]) = pick(frame.data, ["name", "file"]).map(|picked| picked.members) else {
        return;
    };
    if let Some(name) = name.or(member(file, "name")).and_then(text_of) {
        evidence.set_response_text("id", path::last_part(&name));
    }
}
