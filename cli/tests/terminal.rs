//! What a person at a terminal sees: `script` runs the program with a terminal of its own.

#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

/// Standard output and error of a verb that needs no server, on a terminal of so many columns.
fn seen(verb: &str, columns: u16) -> String {
    let command = format!(
        "stty cols {columns}; {} {verb}",
        env!("CARGO_BIN_EXE_farebox")
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .expect("util-linux is installed");
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{verb}: {text}");
    text
}

#[test]
fn a_verb_says_its_answer_and_nothing_else() {
    let text = seen("price show", 80);
    assert!(text.starts_with("PROVIDER "), "{text}");
}

#[test]
fn a_table_fits_the_terminal() {
    for columns in [40, 60, 200] {
        let text = seen("price show --provider openai", columns);
        // The table has a rule; notes below it are sentences.
        let rule = text.lines().find(|line| line.starts_with('─'));
        let width = rule.map(|rule| rule.chars().count());
        assert!(
            width.is_some_and(|width| width > 20 && width <= usize::from(columns)),
            "{columns}: {text}"
        );
    }
}
