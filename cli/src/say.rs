//! Standard output. A reader that has seen enough (`farebox events | head`) ends the verb quietly.

use std::io::{ErrorKind, Write};
use std::process;

/// Writes a text and a line's end.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        // There is nobody left to tell; standard error may still be somebody's.
        Err(error) => eprintln!("farebox: standard output: {error}"),
        Ok(()) => {}
    }
}
