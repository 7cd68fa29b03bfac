//! Against a real Postgres with the real tables, triggers and views.

use farebox_pricing::time::Timestamp;
use uuid::Uuid;

use super::super::{Held, TenantStatus};
use super::cluster::Cluster;
use super::*;
use crate::failure::Code;

/// Longest wait for what has to happen; a change has to be here within a second.
const PATIENCE: Duration = Duration::from_secs(20);
const REVOCATION_MAX: Duration = Duration::from_secs(1);

async fn until(what: &str, patience: Duration, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(patience, waiting).await.is_ok(),
        "never: {what}"
    );
}

const KEY_ID: Uuid = Uuid::from_u128(7);
const LIMIT_ID: Uuid = Uuid::from_u128(9);

fn insert(cluster: &Cluster) {
    cluster.sql(&format!(
        "insert into farebox_private.tenants (tenant_id, settings)
             values ('acmé', '{{\"on_unrecordable\": \"refuse\", \"unpriced_models\": null}}');
         insert into farebox_private.virtual_keys
             (key_id, prefix, secret_hash, name, tenant_id, networks, allowed_models, expires_at)
             values ('{KEY_ID}', 'vk_ABCDE', '$argon2id$v=19$x', 'one', 'acmé', '{{10.0.0.0/8}}', '{{gpt-4o}}', 'infinity');
         insert into farebox_private.limits (limit_id, tenant_id, meter, amount, window_kind, expires_at)
             values ('{LIMIT_ID}', 'acmé', 'requests', 2.50, 'minute', '2030-01-01T00:00:00.5Z');
         insert into farebox_private.limits (limit_id, meter, amount, window_kind)
             values (gen_random_uuid(), 'billed', 1, 'month');",
    ));
}

#[tokio::test]
async fn the_directory_is_loaded_follows_each_change_and_outlives_postgres() {
    let cluster = Cluster::start();
    insert(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("directory");
    let source = cluster.source(&copy);
    let directory = Arc::new(Directory::new());
    let stop = CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&directory).follow(source.clone(), stop.clone()));
    until("the first load", PATIENCE, || directory.is_loaded()).await;

    let tenant = directory.tenant("acmé").unwrap();
    assert!(tenant.is_active());
    assert_eq!(
        tenant.settings().on_unrecordable,
        crate::config::OnUnrecordable::Refuse
    );
    let key = directory.key_by_prefix("vk_ABCDE").unwrap();
    assert_eq!(
        (key.key_id, key.name.as_str(), key.expires_at),
        (KEY_ID, "one", None)
    );
    assert_eq!(key.scopes, ["proxy"]);
    assert!(key.may_use("gpt-4o") && !key.may_use("gpt-4"));
    assert!(
        key.may_come_from("10.1.1.1".parse().unwrap())
            && !key.may_come_from("11.1.1.1".parse().unwrap())
    );
    let limits = directory.limits_of(Some("acmé"));
    assert_eq!(limits.len(), 1, "a limit that others count is left out");
    assert_eq!(
        (limits[0].limit_id, limits[0].amount.to_string().as_str()),
        (LIMIT_ID, "2.5")
    );
    assert_eq!(
        limits[0].expires_at,
        Some(Timestamp::from_millis(1_893_456_000_500))
    );
    assert!(directory.age().unwrap() < PATIENCE);

    // One change a change, and a revocation within a second.
    let mut revocations = directory.revocations();
    revocations.mark_unchanged();
    let generation = directory.generation();
    cluster.sql(&format!(
        "update farebox_private.virtual_keys set revoked_at = now() where key_id = '{KEY_ID}'"
    ));
    until("the revocation", REVOCATION_MAX, || {
        directory.cut_for(Some(KEY_ID), Some("acmé")) == Some(Code::RevokedKey)
    })
    .await;
    assert!(revocations.has_changed().unwrap());
    assert_eq!(directory.generation(), generation + 1);
    cluster.sql("update farebox_private.tenants set status = 'suspended'");
    until("the suspension", REVOCATION_MAX, || {
        !directory.tenant("acmé").unwrap().is_active()
    })
    .await;
    cluster.sql("delete from farebox_private.limits");
    until("the limit's end", REVOCATION_MAX, || {
        directory.limits_of(Some("acmé")).is_empty()
    })
    .await;
    cluster.sql(
        "insert into farebox_private.tenants (tenant_id) select 'tenant ' || n from generate_series(1, 2500) n",
    );
    until("many changes", PATIENCE, || {
        (1..=2500).all(|n| directory.tenant(&format!("tenant {n}")).is_some())
    })
    .await;

    // Without Postgres the content stays, and what changed meanwhile comes when it is back.
    cluster.stop();
    let age = directory.age().unwrap();
    until("an older directory", PATIENCE, || {
        directory.age().unwrap() > age + Duration::from_secs(1)
    })
    .await;
    assert!(directory.key(KEY_ID).is_some());
    cluster.resume();
    cluster.sql(&format!(
        "delete from farebox_private.virtual_keys where key_id = '{KEY_ID}'"
    ));
    until("the deletion", PATIENCE, || directory.key(KEY_ID).is_none()).await;
    assert!(directory.key_by_prefix("vk_ABCDE").is_none());
    stop.cancel();
    following.await.unwrap();

    // What was known at the end starts the next process without Postgres.
    let next = Directory::new();
    next.load_copy(&source);
    assert!(next.is_loaded());
    assert_eq!(next.tenant("acmé").unwrap().status, TenantStatus::Suspended);
    assert!(next.tenant("tenant 2500").is_some());
}

#[tokio::test]
async fn a_directory_that_never_reached_postgres_serves_its_copy_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source {
        database_url: Some(Secret::new(
            "postgresql:///postgres?host=/nowhere&user=proxy".into(),
        )),
        database_listen_url: None,
        copy: folder.path().join("directory"),
        key_secrets: vec![Secret::new("a secret of thirty-two characters".into())],
        first_lease: None,
    };
    let directory = Arc::new(Directory::new());
    directory.load_copy(&source);
    assert!(!directory.is_loaded());
    assert_eq!(directory.age(), None);
    let known = Held {
        keys: vec![Arc::new(super::super::tests::key_row("vk_ABCDE", "hash"))],
        ..Held::default()
    };
    copy::save(&source.copy, &known, 1_000, &source.key_secrets).unwrap();
    directory.load_copy(&source);
    let stop = CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&directory).follow(source, stop.clone()));
    assert!(directory.is_loaded() && directory.key_by_prefix("vk_ABCDE").is_some());
    assert!(directory.age().unwrap() > Duration::from_secs(1_000_000));
    stop.cancel();
    following.await.unwrap();
}
