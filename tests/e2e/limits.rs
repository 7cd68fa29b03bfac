//! Requests per window by tenant: exactly as many pass as the limit says.

use tokio::task::JoinSet;

use crate::{Result, chat, fresh, with_key};

#[tokio::test]
async fn two_an_hour_lets_exactly_two_of_fifty_concurrent_calls_pass() -> Result {
    let (stack, any) = with_key(&[]).await?;
    stack.done(&["tenant", "create", "small"])?;
    stack.done(&[
        "limit", "set", "--tenant", "small", "--meter", "requests", "--amount", "2", "--window",
        "hour",
    ])?;
    let key = stack.issue(&["--tenant", "small"])?;
    stack.known(&key).await?;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let (address, request) = (stack.plain, chat(&key, &fresh("limited")));
        calls.spawn(async move {
            farebox_tests::wire::Connection::open(address)
                .await?
                .send(&request)
                .await
        });
    }
    let (mut passed, mut refused) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        let answer = answer??;
        match answer.status() {
            200 => passed += 1,
            429 => {
                refused += 1;
                assert_eq!(answer.header("x-farebox-error"), Some("rate_limited"));
                let wait: u64 = answer
                    .header("retry-after")
                    .ok_or("no retry-after")?
                    .parse()?;
                assert!((1..=3600).contains(&wait), "{wait}");
                assert_eq!(answer.header("x-farebox-event"), None);
            }
            other => return Err(format!("{other}: {}", answer.text()).into()),
        }
    }
    assert_eq!((passed, refused), (2, 48));
    assert_eq!(
        stack.replay.count(),
        2,
        "the upstream saw only those that passed"
    );
    // Another tenant is not touched by it.
    let other = chat(&any, &fresh("other")).with("x-farebox-tenant", "large");
    assert_eq!(stack.send(&other).await?.status(), 200);
    assert!(stack.metrics().await?.contains("farebox_refusals_total"));
    Ok(())
}
