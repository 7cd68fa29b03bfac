use farebox_pricing::event::Environment;
use farebox_pricing::time::Timestamp;

use super::*;

pub(crate) fn key_row(prefix: &str, secret_hash: &str) -> KeyRow {
    KeyRow {
        key_id: Uuid::from_u128(7),
        prefix: prefix.to_owned(),
        secret_hash: SecretHash::new(secret_hash),
        name: "test".to_owned(),
        tenant_id: Some(TenantId::new("acme").unwrap()),
        may_attribute: MayAttribute::None,
        may_attribute_values: Vec::new(),
        scopes: vec!["proxy".to_owned()],
        environment: Environment::Live,
        own_credential: false,
        allowed_upstreams: None,
        allowed_models: None,
        allowed_projects: None,
        allowed_tools: None,
        networks: None,
        expires_at: None,
        revoked_at: None,
        revoke_streams: RevokeStreams::Cut,
        remembered: Remembered::default(),
    }
}

pub(crate) fn limit(id: u128, tenant: Option<&str>, amount: u64, window: WindowKind) -> Limit {
    Limit {
        limit_id: Uuid::from_u128(id),
        tenant_id: tenant.map(|tenant| TenantId::new(tenant).unwrap()),
        scope: Scope::default(),
        per: Vec::new(),
        meter: Counted::Requests,
        amount: amount.into(),
        window,
        basis: Basis::Billed,
        action: LimitAction::Refuse,
        fail: Fail::Closed,
        dry_run: false,
        expires_at: None,
    }
}

fn tenant(name: &str, status: TenantStatus) -> Tenant {
    Tenant::new(TenantId::new(name).unwrap(), status, serde_json::json!({}))
}

#[test]
fn a_changed_key_stays_verified_and_a_changed_secret_does_not() {
    let directory = Directory::new();
    let row = key_row("vk_ABCDE", "hash one");
    let id = row.key_id;
    directory.apply(vec![Change::Key(id, Some(row.clone()))]);
    let held = directory.key_by_prefix("vk_ABCDE").unwrap();
    held.remembered.remember([1; 32]);

    let renamed = KeyRow {
        name: "other".to_owned(),
        ..row.clone()
    };
    directory.apply(vec![Change::Key(id, Some(renamed.clone()))]);
    assert!(
        directory
            .key_by_prefix("vk_ABCDE")
            .unwrap()
            .remembered
            .is(&[1; 32])
    );
    directory.replace(
        Content {
            keys: vec![KeyRow {
                remembered: Remembered::default(),
                ..renamed
            }],
            ..Content::default()
        },
        1,
    );
    assert!(directory.key(id).unwrap().remembered.is(&[1; 32]));

    let changed = key_row("vk_ABCDE", "hash two");
    directory.apply(vec![Change::Key(id, Some(changed))]);
    assert!(
        !directory
            .key_by_prefix("vk_ABCDE")
            .unwrap()
            .remembered
            .is(&[1; 32])
    );
}

#[test]
fn a_revocation_wakes_and_tells_whom_to_cut() {
    let directory = Directory::new();
    let row = key_row("vk_ABCDE", "hash");
    let id = row.key_id;
    directory.apply(vec![
        Change::Key(id, Some(row.clone())),
        Change::Tenant(
            TenantId::new("acme").unwrap(),
            Some(tenant("acme", TenantStatus::Active)),
        ),
    ]);
    let mut wake = directory.revocations();
    wake.mark_unchanged();
    assert_eq!(directory.cut_for(Some(id), Some("acme")), None);

    let revoked = KeyRow {
        revoked_at: Some(Timestamp::from_millis(1)),
        ..row.clone()
    };
    directory.apply(vec![Change::Key(id, Some(revoked.clone()))]);
    assert!(wake.has_changed().unwrap());
    assert_eq!(
        directory.cut_for(Some(id), Some("acme")),
        Some(Code::RevokedKey)
    );
    let gentle = KeyRow {
        revoke_streams: RevokeStreams::Finish,
        ..revoked
    };
    directory.apply(vec![Change::Key(id, Some(gentle))]);
    assert_eq!(directory.cut_for(Some(id), Some("acme")), None);
    directory.apply(vec![Change::Key(id, None)]);
    assert_eq!(
        directory.cut_for(Some(id), Some("acme")),
        Some(Code::RevokedKey)
    );

    wake.mark_unchanged();
    directory.apply(vec![Change::Tenant(
        TenantId::new("acme").unwrap(),
        Some(tenant("acme", TenantStatus::Suspended)),
    )]);
    assert!(wake.has_changed().unwrap());
    assert_eq!(
        directory.cut_for(None, Some("acme")),
        Some(Code::TenantSuspended)
    );
    assert_eq!(directory.cut_for(None, Some("unknown")), None);
    assert_eq!(directory.cut_for(None, None), None);
}

#[test]
fn a_tenant_meets_its_own_limits_and_everybodys_shortest_window_first() {
    let directory = Directory::new();
    let limits = vec![
        limit(1, Some("acme"), 5, WindowKind::Day),
        limit(2, None, 9, WindowKind::Second),
        limit(3, Some("globex"), 5, WindowKind::Minute),
    ];
    directory.replace(
        Content {
            limits,
            ..Content::default()
        },
        1,
    );
    let ids = |tenant| -> Vec<u128> {
        directory
            .limits_of(tenant)
            .iter()
            .map(|limit| limit.limit_id.as_u128())
            .collect()
    };
    assert_eq!(ids(Some("acme")), [2, 1]);
    assert_eq!(ids(Some("globex")), [2, 3]);
    assert_eq!(ids(Some("initech")), [2]);
    assert_eq!(ids(None), [2]);
    directory.apply(vec![Change::Limit(Uuid::from_u128(2), None)]);
    assert_eq!(ids(Some("acme")), [1]);
    assert_eq!(ids(None), Vec::<u128>::new());
}

#[test]
fn a_prefix_that_moved_to_another_key_stays_with_it() {
    let directory = Directory::new();
    let first = key_row("vk_ABCDE", "hash");
    let second = KeyRow {
        key_id: Uuid::from_u128(8),
        ..key_row("vk_ABCDE", "other")
    };
    directory.apply(vec![Change::Key(first.key_id, Some(first.clone()))]);
    directory.apply(vec![Change::Key(second.key_id, Some(second.clone()))]);
    directory.apply(vec![Change::Key(first.key_id, None)]);
    let found = directory.key_by_prefix("vk_ABCDE").map(|row| row.key_id);
    assert_eq!(found, Some(second.key_id));
}
