//! What was said in a call, and every secret, stays out of spool, logs, tables and metrics.

use std::path::Path;

use farebox_tests::stack::{PROVIDER_CREDENTIAL, world};
use farebox_tests::wire::Request;

use crate::{Result, fresh, with_key};

const SAID: &str = "canary-of-what-was-said-91c4";

#[tokio::test]
async fn nothing_that_was_said_and_no_secret_is_kept_anywhere() -> Result {
    let (mut stack, key) = with_key(&[("spool.ship_records_max", "1000")]).await?;
    let body = |is_stream: bool| {
        format!(
            r#"{{"model":"gpt-4o-mini","stream":{is_stream},"user":"{SAID}","messages":[{{"role":"user","content":"{SAID}"}}]}}"#
        )
    };
    let path = "/openai/v1/chat/completions";
    for manner in ["", "cut", "fail", "error-event", "bad-chunk"] {
        for is_stream in [false, true] {
            let request = Request::post(path, body(is_stream))
                .bearer(&key.secret)
                .with("x-replay", manner)
                .with("x-replay-id", &fresh("c"));
            // Whatever the answer is: it must leave no trace of what was said.
            let _ = stack.send(&request).await;
        }
    }
    // A body that is no JSON, an upstream that does not exist, a key that is wrong.
    let _ = stack
        .send(&Request::post(path, SAID).bearer(&key.secret))
        .await?;
    let _ = stack
        .send(&Request::post(&format!("/nowhere/{SAID}"), SAID).bearer(&key.secret))
        .await?;
    let wrong = "vk_WRONGWRONGWRONGWRONGWRONGWRONG22";
    assert_eq!(
        stack
            .send(&Request::post(path, SAID).bearer(wrong))
            .await?
            .status(),
        401
    );
    stack.rows_when("true", stack.replay.count()).await?;
    let metrics = stack.metrics().await?;
    stack.proxy()?.stop().await?;

    let wanted = [SAID, PROVIDER_CREDENTIAL, key.secret.as_str(), wrong];
    let mut texts = vec![
        ("metrics".to_owned(), metrics.into_bytes()),
        ("database".to_owned(), dump(&stack.database)?),
    ];
    read_all(&stack.folder.path().join("spool"), &mut texts)?;
    for log in ["proxy.log", "collector.log"] {
        texts.push((
            log.to_owned(),
            std::fs::read(stack.folder.path().join(log))?,
        ));
    }
    let spool_bytes: usize = texts.iter().skip(2).map(|(_, bytes)| bytes.len()).sum();
    assert!(spool_bytes > 0, "there was something to look through");
    for (place, bytes) in &texts {
        for word in wanted {
            let found = bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes());
            assert!(!found, "{word} stands in {place}");
        }
    }
    Ok(())
}

fn read_all(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) -> Result {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, into)?;
        } else {
            into.push((path.display().to_string(), std::fs::read(&path)?));
        }
    }
    Ok(())
}

fn dump(database: &str) -> Result<Vec<u8>> {
    let output = std::process::Command::new(farebox_tests::binary::postgres()?.join("pg_dump"))
        .arg("--dbname")
        .arg(world()?.cluster.url(database))
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
