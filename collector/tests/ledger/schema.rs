//! The schema: made once, made again, and described in full.

use farebox_collector::migrate::{MigrateError, ROLE_PREFIX, migrate};

use crate::support::{Ledger, Result, id, millis};

#[tokio::test]
async fn migrating_again_changes_nothing() -> Result {
    let ledger = Ledger::empty().await?;
    let first = migrate(&ledger.url, ROLE_PREFIX).await?;
    assert!(!first.migrations.is_empty());
    assert_eq!(first.partitions, 5);
    assert!(first.rate_cards > 0);
    let dump = "select string_agg(pg_get_viewdef(oid), '' order by oid) from pg_class
         where relkind = 'v' and relnamespace = 'farebox'::regnamespace";
    let before: String = ledger.one(dump).await?;
    let second = migrate(&ledger.url, ROLE_PREFIX).await?;
    assert_eq!(second, farebox_collector::migrate::Migrated::default());
    assert_eq!(ledger.one::<String>(dump).await?, before);
    ledger.drop_database().await
}

#[tokio::test]
async fn several_databases_of_a_cluster_can_be_migrated_at_once() -> Result {
    let (one, two) = (Ledger::empty().await?, Ledger::empty().await?);
    let (first, second) = tokio::join!(
        migrate(&one.url, "ledger_twin"),
        migrate(&two.url, "ledger_twin")
    );
    first?;
    second?;
    let owner: String = two
        .one("select tableowner::text from pg_tables where tablename = 'usage_events'")
        .await?;
    assert_eq!(owner, "ledger_twin_owner");
    one.drop_database().await?;
    two.drop_database().await
}

/// Brings a database to the schema before a migration, as a program of that time did.
async fn migrate_to(ledger: &Ledger, before: &str) -> Result {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/migrations");
    let mut files: Vec<String> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    files.retain(|name| name.as_str() < before);
    files.sort();
    let client = ledger.sql().await?;
    client
        .batch_execute(
            "set role farebox_owner;
             create schema farebox_private;
             create table farebox_private.schema_migrations (
                 version integer primary key,
                 name text not null,
                 checksum text not null,
                 applied_at timestamptz not null default now()
             )",
        )
        .await?;
    for name in files {
        let text = std::fs::read_to_string(format!("{folder}/{name}"))?;
        client.batch_execute(&text).await?;
        client
            .execute(
                "insert into farebox_private.schema_migrations (version, name, checksum)
                 values ($1, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'))",
                &[&name[..4].parse::<i32>()?, &name, &text],
            )
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_events_said_of_each_other_moves_into_links() -> Result {
    // Its roles are the cluster's.
    let roles = Ledger::new().await?;
    let ledger = Ledger::empty().await?;
    let client = ledger.sql().await?;
    client
        .batch_execute(&format!(
            "grant create on database {} to farebox_owner",
            ledger.name
        ))
        .await?;
    migrate_to(&ledger, "0011_").await?;
    let at = "2026-11-20T12:00:00Z";
    client
        .batch_execute("select farebox_private.ensure_partition('2026-11-01')")
        .await?;
    let [pending, settling, repeating, late, plain] = [1, 2, 3, 4, 5].map(|n| id(millis(at), n));
    for (event, pricing, settles, repeats) in [
        (pending, "unknown", None, None),
        (settling, "priced", Some(pending), None),
        (repeating, "repeat", Some(pending), Some(settling)),
        (late, "priced", None, None),
        (plain, "priced", None, None),
    ] {
        client
            .execute(
                "insert into farebox_private.usage_events (
                     event_id, call_id, part, is_final, settles, schema, tenant_id, synthetic, environment,
                     attribution, paid_by, upstream, provider, endpoint, started_at, period, day, is_late,
                     clock_suspect, ending, streaming, transport, request_amended, attempt, sanitised, lines,
                     usage, usage_source, charges, cost_usd, billed_usd, price_mismatch, pricing, repeats,
                     content_digest)
                 values ($1, $1, 1, true, $2, 1, 'acme', false, 'live', 'header', 'operator', 'openai',
                     'openai', 'chat', $3::text::timestamptz, '2026-11-01', '2026-11-20', false, false,
                     'complete', false, 'http', false, 1, false, '[]', '{}',
                     case when $4 = 'unknown' then 'pending' else 'reported' end, '[]',
                     case when $4 <> 'unknown' then 0 end, case when $4 <> 'unknown' then 0 end, false,
                     $4, $5, '')",
                &[&event, &settles, &at, &pricing, &repeats],
            )
            .await?;
    }
    client
        .execute(
            "insert into farebox_private.late_settlements (settling_event_id, pending_event_id, tenant_id)
             values ($1, $2, 'acme')",
            &[&late, &pending],
        )
        .await?;

    let ran = migrate(&ledger.url, ROLE_PREFIX).await?.migrations;
    assert!(ran[0].starts_with("0011_"), "{ran:?}");
    let said: Vec<String> = ledger
        .one(
            "select array(
                 select concat_ws(' ', tenant_id, right(event_id::text, 1), relation, right(other_event_id::text, 1))
                 from farebox_private.event_links
                 order by event_id, relation)",
        )
        .await?;
    assert_eq!(
        said,
        [
            "acme 2 settles 1",
            "acme 3 repeats 2",
            "acme 3 settles 1",
            "acme 4 settles 1",
        ]
    );
    // And are read from there.
    let shown: Vec<String> = ledger
        .one(
            "select array(
                 select concat_ws(' ', right(event_id::text, 1), coalesce(right(settles::text, 1), '-'),
                     coalesce(right(repeats::text, 1), '-'))
                 from farebox.usage_events order by event_id)",
        )
        .await?;
    assert_eq!(shown, ["1 - -", "2 1 -", "3 1 2", "4 1 -", "5 - -"]);
    ledger.drop_database().await?;
    roles.drop_database().await
}

#[tokio::test]
async fn an_edited_or_newer_migration_is_refused() -> Result {
    let ledger = Ledger::new().await?;
    let client = ledger.sql().await?;
    client
        .batch_execute(
            "update farebox_private.schema_migrations set checksum = 'x' where version = 2",
        )
        .await?;
    let refused = migrate(&ledger.url, ROLE_PREFIX).await;
    assert!(
        matches!(&refused, Err(MigrateError::Changed(name)) if name.starts_with("0002_")),
        "{refused:?}"
    );
    client
        .batch_execute(
            "insert into farebox_private.schema_migrations (version, name, checksum) values (9000, 'x', 'x')",
        )
        .await?;
    let refused = migrate(&ledger.url, ROLE_PREFIX).await;
    assert!(
        matches!(refused, Err(MigrateError::Newer(9000))),
        "{refused:?}"
    );
    ledger.drop_database().await
}

#[tokio::test]
async fn everything_is_described() -> Result {
    let ledger = Ledger::new().await?;
    let silent: Vec<String> = ledger
        .one(
            "select array(
                 select relations.oid::regclass::text || coalesce('.' || columns.attname, '')
                 from pg_class as relations
                 left join lateral (
                     select attnum, attname from pg_attribute
                     where attrelid = relations.oid and attnum > 0 and not attisdropped
                     union all select 0, null
                 ) as columns on true
                 where relations.relnamespace in ('farebox'::regnamespace, 'farebox_private'::regnamespace)
                     and relations.relkind in ('r', 'p', 'v')
                     and col_description(relations.oid, columns.attnum) is null
                     and not (columns.attnum = 0 and obj_description(relations.oid, 'pg_class') is not null)
                 union all
                 select oid::regprocedure::text from pg_proc
                 where pronamespace in ('farebox'::regnamespace, 'farebox_private'::regnamespace)
                     and obj_description(oid, 'pg_proc') is null
                 union all
                 select oid::regtype::text from pg_type
                 where typnamespace = 'farebox_private'::regnamespace and typtype = 'd'
                     and obj_description(oid, 'pg_type') is null
             )",
        )
        .await?;
    assert!(silent.is_empty(), "without a comment: {silent:?}");
    let loose: Vec<String> = ledger
        .one(
            "select array(
                 select oid::regclass::text from pg_class
                 where relnamespace = 'farebox_private'::regnamespace and relkind in ('r', 'p')
                     and not (relrowsecurity and relforcerowsecurity)
                     and not relispartition
                     and relname <> 'schema_migrations')",
        )
        .await?;
    assert!(loose.is_empty(), "without row security: {loose:?}");
    // Months have none of their own: nobody may read them, and the collector may only add to them.
    let rights: Vec<String> = ledger
        .one(
            "select array(
                 select distinct grantee::regrole || ' ' || lower(privilege_type)
                 from pg_class, aclexplode(relacl)
                 where relispartition and relkind = 'r' and grantee <> relowner)",
        )
        .await?;
    assert_eq!(rights, ["farebox_collector insert"]);
    let floats: i64 = ledger
        .one(
            "select count(*) from information_schema.columns
             where table_schema in ('farebox', 'farebox_private')
                 and data_type in ('real', 'double precision', 'money')",
        )
        .await?;
    assert_eq!(floats, 0);
    ledger.drop_database().await
}

#[tokio::test]
async fn identifiers_follow_the_one_rule() -> Result {
    let ledger = Ledger::new().await?;
    let client = ledger.sql().await?;
    let cases = [
        "acme".to_owned(),
        "x".repeat(128),
        "é".repeat(128),
        "x".repeat(129),
        String::new(),
        "a\nb".into(),
        "a\u{85}b".into(),
        "e\u{301}".into(),
        "a b".into(),
        "😀".into(),
    ];
    for case in cases {
        let row = client
            .query_one("select farebox_private.is_id($1)", &[&case])
            .await?;
        let in_sql: bool = row.get(0);
        assert_eq!(
            in_sql,
            farebox_pricing::id::check(&case).is_ok(),
            "{case:?}"
        );
    }
    ledger.drop_database().await
}
