//! `farebox demo --once`: three tenants' traffic, sums checked to the last digit by the program itself.

use std::process::Command;

use farebox_tests::binary;

use crate::Result;

#[test]
fn the_demo_checks_its_own_sums_and_leaves_nothing_running() -> Result {
    let folder = tempfile::Builder::new().prefix("fbd").tempdir_in("/tmp")?;
    let output = Command::new(binary::farebox()?)
        .args(["demo", "--once", "--data-dir"])
        .arg(folder.path().join("data"))
        // The demo must not listen to any of these.
        .env("DATABASE_URL", "postgresql://nowhere.invalid/none")
        .env("FAREBOX_PROXY__LISTEN", "127.0.0.1:1")
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{}\n{printed}\n{errors}",
        output.status
    );
    assert!(
        printed.contains("invoice_preview"),
        "the SQL is shown: {printed}"
    );
    assert!(
        !folder.path().join("data/connection.json").exists(),
        "connection.json is gone after the stop"
    );
    Ok(())
}

#[test]
fn help_names_every_verb_and_wrong_usage_is_exit_2() -> Result {
    let help = Command::new(binary::farebox()?).arg("help").output()?;
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for verb in [
        "up",
        "demo",
        "proxy",
        "collector",
        "migrate",
        "simulate",
        "tenant",
        "key",
        "limit",
        "spool",
    ] {
        assert!(text.contains(verb), "{verb} is missing in: {text}");
        let own = Command::new(binary::farebox()?)
            .args([verb, "--help"])
            .output()?;
        assert!(own.status.success(), "{verb} --help");
    }
    let wrong = Command::new(binary::farebox()?)
        .arg("no-such-verb")
        .output()?;
    assert_eq!(wrong.status.code(), Some(2));
    Ok(())
}
