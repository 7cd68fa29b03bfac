//! A proxy starts and serves from the directory's last good copy while Postgres is away.

use crate::{Result, chat, with_key};

#[tokio::test]
async fn starts_and_serves_without_postgres() -> Result {
    let (mut stack, key) = with_key(&[]).await?;
    assert_eq!(stack.send(&chat(&key, "warm")).await?.status(), 200);
    stack.rows_when("session_id = 'warm'", 1).await?;
    stack.proxy()?.stop().await?;
    stack.collector()?.kill();
    let admin = farebox_tests::stack::world()?
        .cluster
        .connect("postgres")
        .await?;
    admin
        .batch_execute(&format!(
            "alter database {} allow_connections false",
            stack.database
        ))
        .await?;
    admin
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
            &[&stack.database],
        )
        .await?;

    stack.start_proxy().await?;
    let answer = stack.send(&chat(&key, "cold")).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());

    admin
        .batch_execute(&format!(
            "alter database {} allow_connections true",
            stack.database
        ))
        .await?;
    stack.start_collector().await?;
    stack
        .rows_when("session_id = 'cold' and ending = 'complete'", 1)
        .await?;
    Ok(())
}

#[tokio::test]
async fn drains_on_sigterm_and_ends_with_zero() -> Result {
    let (mut stack, key) = with_key(&[]).await?;
    assert_eq!(stack.send(&chat(&key, "last")).await?.status(), 200);
    assert_eq!(stack.proxy()?.stop().await?, Some(0));
    stack
        .rows_when("session_id = 'last' and ending = 'complete'", 1)
        .await?;
    Ok(())
}
