//! `sql/schema.sql` is what the migrations make, and everything in it is explained.

use std::path::Path;

use farebox_tests::stack::world;

use crate::{Result, shared};

#[tokio::test]
async fn schema_sql_is_the_dump_of_a_migrated_database() -> Result {
    let stack = shared().await?;
    let dumped = dump(&world()?.cluster.url(&stack.database))?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/schema.sql");
    if std::env::var_os("FAREBOX_WRITE_SCHEMA").is_some() {
        std::fs::write(&file, &dumped)?;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differing = kept
        .lines()
        .zip(dumped.lines())
        .find(|(kept, dumped)| kept != dumped);
    assert!(
        kept == dumped,
        "sql/schema.sql is not the dump; write it with `make schema`. First difference: {differing:?}"
    );
    Ok(())
}

/// The dump without what differs between versions of the programs and days of the calendar.
fn dump(url: &str) -> Result<String> {
    let output = std::process::Command::new(farebox_tests::binary::postgres()?.join("pg_dump"))
        .args([
            "--schema-only",
            "--no-owner",
            "--schema=farebox",
            "--schema=farebox_private",
        ])
        // Months are made by the calendar, so the partitions are not part of what is reviewed.
        .args(["--exclude-table=farebox_private.usage_events_*"])
        .arg("--dbname")
        .arg(url)
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| {
            !line.starts_with("--")
                && !line.starts_with('\\')
                && !line.starts_with("SET ")
                && !line.starts_with("SELECT pg_catalog.set_config")
        })
        .collect();
    let mut joined = String::new();
    let mut was_empty = true;
    for line in kept {
        if line.is_empty() && was_empty {
            continue;
        }
        was_empty = line.is_empty();
        joined.push_str(line);
        joined.push('\n');
    }
    Ok(joined)
}

#[tokio::test]
async fn every_table_column_view_and_function_has_a_comment() -> Result {
    let stack = shared().await?;
    let query = "
        select format('%I.%I', n.nspname, c.relname)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('farebox', 'farebox_private') and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
          and obj_description(c.oid, 'pg_class') is null
        union all
        select format('%I.%I.%I', n.nspname, c.relname, a.attname)
        from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('farebox', 'farebox_private') and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
          and a.attnum > 0 and not a.attisdropped and col_description(c.oid, a.attnum) is null
        union all
        select format('%I.%I()', n.nspname, p.proname)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('farebox', 'farebox_private') and obj_description(p.oid, 'pg_proc') is null
        order by 1";
    let rows = stack.sql().await?.query(query, &[]).await?;
    let silent: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(silent.is_empty(), "without a comment: {silent:?}");
    Ok(())
}

#[tokio::test]
async fn no_column_holds_a_float() -> Result {
    let stack = shared().await?;
    let query = "
        select format('%I.%I.%I', table_schema, table_name, column_name) from information_schema.columns
        where table_schema in ('farebox', 'farebox_private') and data_type in ('real', 'double precision') order by 1";
    let rows = stack.sql().await?.query(query, &[]).await?;
    let floats: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(floats.is_empty(), "{floats:?}");
    Ok(())
}
