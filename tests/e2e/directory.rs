//! A directory of a hundred thousand tenants and keys: how soon a proxy starts with it, what it takes,
//! and what one change costs.

use std::time::{Duration, Instant};

use farebox_tests::stack::Stack;
use farebox_tests::wait;
use farebox_tests::wire::{Connection, Request};

use crate::{Result, chat_body};

const ENTRIES: i32 = 100_000;
/// The promise is three seconds of a build that is shipped; the suite's own crates are not optimised, and the machine may
/// be busy.
const READY_WITHIN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 10 });
const MEMORY_KIB_MAX: u64 = 200 * 1024;
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(10);
const COPIED_WITHIN: Duration = Duration::from_secs(30);
const CHANGED_WITHIN: Duration = Duration::from_secs(1);
/// CPU of one change, the copy on disk included: far less than anything that touches every entry.
const CHANGE_CPU_MAX: Duration = Duration::from_millis(250);

fn status(pid: u32, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .ok_or("no such line")?;
    let number = line.split_whitespace().nth(1).ok_or("no number")?;
    Ok(number.parse()?)
}

/// CPU that a process has used.
fn cpu(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = text.rsplit_once(')').ok_or("no name")?.1;
    let ticks: Vec<u64> = after
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // After the state, which is a letter: utime and stime are the 11th and 12th number; 100 a second.
    let used = ticks.get(10).zip(ticks.get(11)).ok_or("no times")?;
    Ok(Duration::from_millis((used.0 + used.1) * 10))
}

async fn refused(stack: &Stack, tenant: &str) -> Result<bool> {
    let call = Request::post("/openai/v1/chat/completions", chat_body(false))
        .bearer("sk-own")
        .with("x-farebox-tenant", tenant);
    let answer = Connection::open(stack.plain).await?.send(&call).await?;
    Ok(answer.header("x-farebox-error") == Some("tenant_suspended"))
}

#[tokio::test]
async fn a_hundred_thousand_entries_start_soon_fit_and_change_one_by_one() -> Result {
    let mut stack = Stack::prepare(&[("proxy.anonymous", "header")]).await?;
    // Without a notification for each row: the proxy is not there yet.
    let fill = format!(
        "set session_replication_role = replica;
         insert into farebox_private.tenants (tenant_id, name)
         select 'tenant-' || n, 'Tenant ' || n
         from generate_series(1, {ENTRIES}) as n;
         insert into farebox_private.virtual_keys (key_id, prefix, secret_hash, name, tenant_id)
         select
             gen_random_uuid(),
             'vk_' || translate(upper(lpad(to_hex(n), 5, '0')), '0189', 'GHIJ'),
             '$argon2id$v=19$m=1024,t=1,p=1$' || encode(sha256(n::text::bytea), 'base64'),
             'key ' || n,
             'tenant-' || n
         from generate_series(1, {ENTRIES}) as n;
         reset session_replication_role;"
    );
    let client = stack.sql().await?;
    client.batch_execute(&fill).await?;
    client.batch_execute("analyze").await?;

    let started = Instant::now();
    stack.start_proxy().await?;
    let ready = started.elapsed();
    let pid = stack.proxy()?.pid();
    assert!(!refused(&stack, "tenant-77").await?);
    // The first copy of everything is written once; changes are measured after it.
    let copy = stack.folder.path().join("directory.json");
    wait::eventually("a copy on disk", COPIED_WITHIN, || async {
        wait::holds(copy.exists(), "no copy")
    })
    .await?;
    let (now, most) = (status(pid, "VmRSS")?, status(pid, "VmHWM")?);
    println!(
        "{ENTRIES} tenants and keys: ready in {ready:?}, {} MiB, at most {} MiB",
        now / 1024,
        most / 1024
    );

    let suspend = "update farebox_private.tenants set status = 'suspended' where tenant_id = $1";
    let before = cpu(pid)?;
    let mut slowest = Duration::ZERO;
    for number in 1..=5 {
        let tenant = format!("tenant-{number}");
        client.execute(suspend, &[&tenant]).await?;
        let since = Instant::now();
        while !refused(&stack, &tenant).await? {
            assert!(
                since.elapsed() < CHANGED_WITHIN,
                "not within {CHANGED_WITHIN:?}"
            );
        }
        slowest = slowest.max(since.elapsed());
    }
    // All of it: also in the copy on disk, which a proxy without Postgres starts from.
    let changes = copy.with_extension("changes");
    wait::eventually("the changes are on disk", COPIED_WITHIN, || async {
        let count = |file: &std::path::Path| {
            let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
            Ok::<_, String>(text.matches("suspended").count())
        };
        // Behind the whole copy, or in a whole one that was written since.
        let written = count(&changes)?;
        wait::holds(written >= 5 || count(&copy)? >= 5, written)
    })
    .await?;
    let each = (cpu(pid)? - before) / 5;
    println!("a change held after at most {slowest:?} and cost {each:?} of CPU, calls included");
    assert!(ready < READY_WITHIN, "{ready:?}");
    // What it needed for the copy goes back while it works on.
    wait::eventually("its memory is given back", GIVEN_BACK_WITHIN, || async {
        assert!(
            !refused(&stack, "tenant-77")
                .await
                .map_err(|error| error.to_string())?
        );
        let now = status(pid, "VmRSS").map_err(|error| error.to_string())?;
        wait::holds(now < MEMORY_KIB_MAX, format!("{now} KiB"))
    })
    .await?;
    assert!(each < CHANGE_CPU_MAX, "{each:?}");
    Ok(())
}
