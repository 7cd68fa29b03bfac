//! The schema: made once, made again, and described in full.

use farebox_collector::migrate::{MigrateError, ROLE_PREFIX, migrate};

use crate::support::{Ledger, Result};

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
