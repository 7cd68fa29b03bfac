//! Virtual keys: rows of the directory. The hash is read by authentication alone and is in no answer.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use serde::Serialize;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// A virtual key as it is shown: without its secret, but for the answer that issues it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VirtualKey {
    /// The key itself: in the answer that issues it, nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Identifier.
    pub key_id: Uuid,
    /// The first eight characters, unique.
    pub prefix: String,
    /// A name for people.
    pub name: String,
    /// The key's own tenant; null: none.
    pub tenant_id: Option<String>,
    /// `none`, `any`, `list` or `prefix`.
    pub may_attribute: String,
    /// The list, or the prefix.
    pub may_attribute_values: Vec<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `live` or `test`.
    pub environment: String,
    /// The caller's own provider credential passes through.
    pub own_credential: bool,
    /// Upstreams it may reach; null: all.
    pub allowed_upstreams: Option<Vec<String>>,
    /// Models it may ask for; null: all.
    pub allowed_models: Option<Vec<String>>,
    /// Functions and hosted tools its calls may offer a model; null: all.
    pub allowed_tools: Option<Vec<String>>,
    /// Networks it may come from; null: all.
    pub networks: Option<Vec<String>>,
    /// When it stops working; null: never.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
    /// Whether revocation cuts running streams or lets them finish: `cut` or `finish`.
    pub revoke_streams: String,
    /// Who issued it.
    pub issued_by: Option<String>,
    /// When it was issued.
    pub created_at: String,
    /// The key it replaces.
    pub rotated_from: Option<Uuid>,
    /// Projects it may name; null: all.
    pub allowed_projects: Option<Vec<String>>,
    /// Days without use after which it is stale; null: as its tenant or the deployment says.
    pub stale_after_days: Option<i32>,
    /// When it was used last; null: never.
    pub last_used_at: Option<String>,
    /// Whether it works and was not used for longer than it may.
    pub is_stale: bool,
}

const COLUMNS: &str = r#"key_id, prefix, name, tenant_id, may_attribute, may_attribute_values, scopes,
    environment, own_credential, allowed_upstreams, allowed_models, networks,
    to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(revoked_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    revoked_by, revoke_streams, issued_by,
    to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    rotated_from, allowed_projects, stale_after_days,
    (
        select to_char(key_activity.last_used_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        from farebox_private.key_activity
        where key_activity.key_id = virtual_keys.key_id
    ),
    exists (select from farebox.stale_keys where stale_keys.key_id = virtual_keys.key_id),
    allowed_tools"#;

fn read(row: &Row) -> Result<VirtualKey, Error> {
    Ok(VirtualKey {
        secret: None,
        key_id: row.try_get(0)?,
        prefix: row.try_get(1)?,
        name: row.try_get(2)?,
        tenant_id: row.try_get(3)?,
        may_attribute: row.try_get(4)?,
        may_attribute_values: row.try_get(5)?,
        scopes: row.try_get(6)?,
        environment: row.try_get(7)?,
        own_credential: row.try_get(8)?,
        allowed_upstreams: row.try_get(9)?,
        allowed_models: row.try_get(10)?,
        networks: row.try_get(11)?,
        expires_at: row.try_get(12)?,
        revoked_at: row.try_get(13)?,
        revoked_by: row.try_get(14)?,
        revoke_streams: row.try_get(15)?,
        issued_by: row.try_get(16)?,
        created_at: row.try_get(17)?,
        rotated_from: row.try_get(18)?,
        allowed_projects: row.try_get(19)?,
        stale_after_days: row.try_get(20)?,
        last_used_at: row.try_get(21)?,
        is_stale: row.try_get(22)?,
        allowed_tools: row.try_get(23)?,
    })
}

/// What authentication needs of a key.
pub(crate) struct Login {
    pub(crate) key_id: Uuid,
    pub(crate) secret_hash: String,
    pub(crate) tenant_id: Option<String>,
    pub(crate) scopes: Vec<String>,
    /// Neither revoked nor expired, of a tenant that is active, and from a network it may come from.
    pub(crate) is_usable: bool,
}

/// The key of this prefix. `address` is where the request came from.
pub(crate) async fn find_for_login(
    client: &impl GenericClient,
    prefix: &str,
    address: Option<&str>,
) -> Result<Option<Login>, Error> {
    let row = client
        .query_opt(
            "select
                virtual_keys.key_id,
                virtual_keys.secret_hash,
                virtual_keys.tenant_id,
                virtual_keys.scopes,
                virtual_keys.revoked_at is null
                    and (virtual_keys.expires_at is null or virtual_keys.expires_at > now())
                    and coalesce(tenants.status = 'active', true)
                    and (
                        virtual_keys.networks is null
                        or coalesce($2::text::inet <<= any (virtual_keys.networks::inet[]), false)
                    )
             from farebox_private.virtual_keys
             left join farebox_private.tenants using (tenant_id)
             where virtual_keys.prefix = $1",
            &[&prefix, &address],
        )
        .await?;
    row.map(|row| {
        Ok(Login {
            key_id: row.try_get(0)?,
            secret_hash: row.try_get(1)?,
            tenant_id: row.try_get(2)?,
            scopes: row.try_get(3)?,
            is_usable: row.try_get(4)?,
        })
    })
    .transpose()
}

/// A key to keep.
pub(crate) struct NewKey<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) secret_hash: &'a str,
    pub(crate) name: &'a str,
    pub(crate) tenant_id: Option<&'a str>,
    pub(crate) may_attribute: &'a str,
    pub(crate) may_attribute_values: &'a [String],
    pub(crate) scopes: &'a [String],
    pub(crate) environment: &'a str,
    pub(crate) own_credential: bool,
    pub(crate) allowed_upstreams: Option<&'a [String]>,
    pub(crate) allowed_models: Option<&'a [String]>,
    pub(crate) allowed_tools: Option<&'a [String]>,
    pub(crate) networks: Option<&'a [String]>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) revoke_streams: &'a str,
    pub(crate) issued_by: &'a str,
    pub(crate) allowed_projects: Option<&'a [String]>,
    pub(crate) stale_after_days: Option<i32>,
    pub(crate) rotated_from: Option<Uuid>,
}

/// Keeps a key; `None` when its prefix is taken.
pub(crate) async fn insert(
    client: &impl GenericClient,
    key: &NewKey<'_>,
) -> Result<Option<VirtualKey>, Error> {
    let sql = format!(
        "insert into farebox_private.virtual_keys
            (key_id, prefix, secret_hash, name, tenant_id, may_attribute, may_attribute_values,
             scopes, environment, own_credential, allowed_upstreams, allowed_models, networks,
             expires_at, revoke_streams, issued_by, allowed_projects, stale_after_days, rotated_from,
             allowed_tools)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::timestamptz, $15,
             $16, $17, $18, $19, $20)
         on conflict (prefix) do nothing
         returning {COLUMNS}"
    );
    let key_id = Uuid::now_v7();
    let expires_at = key.expires_at.map(|at| at.to_string());
    let values: [&(dyn ToSql + Sync); 20] = [
        &key_id,
        &key.prefix,
        &key.secret_hash,
        &key.name,
        &key.tenant_id,
        &key.may_attribute,
        &key.may_attribute_values,
        &key.scopes,
        &key.environment,
        &key.own_credential,
        &key.allowed_upstreams,
        &key.allowed_models,
        &key.networks,
        &expires_at,
        &key.revoke_streams,
        &key.issued_by,
        &key.allowed_projects,
        &key.stale_after_days,
        &key.rotated_from,
        &key.allowed_tools,
    ];
    let row = client.query_opt(&sql, &values).await?;
    row.as_ref().map(read).transpose()
}

/// A page of keys, newest first; `tenant` holds it to one tenant.
pub(crate) async fn list(
    client: &impl GenericClient,
    tenant: Option<&str>,
    shows_revoked: bool,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<VirtualKey>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.virtual_keys
         where ($1::text is null or tenant_id = $1)
             and ($2::boolean or revoked_at is null)
             and ($3::uuid is null or key_id < $3)
         order by key_id desc
         limit $4"
    );
    let rows = client
        .query(
            &sql,
            &[&tenant, &shows_revoked, &after, &(i64::from(limit) + 1)],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The key of this id or visible prefix; `tenant` holds it to one tenant.
pub(crate) async fn find(
    client: &impl GenericClient,
    key: &str,
    tenant: Option<&str>,
) -> Result<Option<VirtualKey>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.virtual_keys
         where (prefix = $1 or key_id = $2) and ($3::text is null or tenant_id = $3)"
    );
    let key_id: Option<Uuid> = key.parse().ok();
    let row = client.query_opt(&sql, &[&key, &key_id, &tenant]).await?;
    row.as_ref().map(read).transpose()
}

/// Revokes; a key that is revoked keeps its time and its actor.
pub(crate) async fn revoke(
    client: &impl GenericClient,
    key_id: Uuid,
    actor: &str,
    revoke_streams: Option<&str>,
) -> Result<VirtualKey, Error> {
    let sql = format!(
        "update farebox_private.virtual_keys
         set revoked_at = coalesce(revoked_at, now()),
             revoked_by = coalesce(revoked_by, $2),
             revoke_streams = coalesce($3, revoke_streams)
         where key_id = $1
         returning {COLUMNS}"
    );
    read(
        &client
            .query_one(&sql, &[&key_id, &actor, &revoke_streams])
            .await?,
    )
}

/// The key as [`find`] does, held until the transaction ends.
pub(crate) async fn lock(
    client: &impl GenericClient,
    key: &str,
    tenant: Option<&str>,
) -> Result<Option<VirtualKey>, Error> {
    let key_id: Option<Uuid> = key.parse().ok();
    let held = client
        .query_opt(
            "select key_id
             from farebox_private.virtual_keys
             where (prefix = $1 or key_id = $2) and ($3::text is null or tenant_id = $3)
             for update",
            &[&key, &key_id, &tenant],
        )
        .await?;
    match held {
        Some(_) => find(client, key, tenant).await,
        None => Ok(None),
    }
}

/// Keys of that name and tenant that are not revoked.
pub(crate) async fn named(
    client: &impl GenericClient,
    name: &str,
    tenant: Option<&str>,
) -> Result<Vec<Uuid>, Error> {
    let rows = client
        .query(
            "select key_id
             from farebox_private.virtual_keys
             where name = $1 and tenant_id is not distinct from $2 and revoked_at is null
             order by key_id
             for update",
            &[&name, &tenant],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Writes what a key may do; who it is, its tenant and its environment stay.
pub(crate) async fn set_rights(
    client: &impl GenericClient,
    key_id: Uuid,
    key: &NewKey<'_>,
) -> Result<VirtualKey, Error> {
    let sql = format!(
        "update farebox_private.virtual_keys
         set name = $2, may_attribute = $3, may_attribute_values = $4, scopes = $5,
             own_credential = $6, allowed_upstreams = $7, allowed_models = $8, networks = $9,
             expires_at = $10::text::timestamptz, revoke_streams = $11, allowed_projects = $12,
             stale_after_days = $13, allowed_tools = $14
         where key_id = $1
         returning {COLUMNS}"
    );
    let expires_at = key.expires_at.map(|at| at.to_string());
    let values: [&(dyn ToSql + Sync); 14] = [
        &key_id,
        &key.name,
        &key.may_attribute,
        &key.may_attribute_values,
        &key.scopes,
        &key.own_credential,
        &key.allowed_upstreams,
        &key.allowed_models,
        &key.networks,
        &expires_at,
        &key.revoke_streams,
        &key.allowed_projects,
        &key.stale_after_days,
        &key.allowed_tools,
    ];
    read(&client.query_one(&sql, &values).await?)
}

/// Lets a key expire that many seconds from now, unless it does so before.
pub(crate) async fn expire_within(
    client: &impl GenericClient,
    key_id: Uuid,
    seconds: i64,
) -> Result<VirtualKey, Error> {
    let sql = format!(
        "update farebox_private.virtual_keys
         set expires_at = least(expires_at, now() + $2::bigint * interval '1 second')
         where key_id = $1
         returning {COLUMNS}"
    );
    read(&client.query_one(&sql, &[&key_id, &seconds]).await?)
}

/// Gives the limits of one key to another, each with an id of its own.
pub(crate) async fn copy_limits(
    client: &impl GenericClient,
    from: Uuid,
    to: Uuid,
) -> Result<(), Error> {
    // Whatever columns a limit has, so that one that is added is not forgotten here.
    client
        .execute(
            "insert into farebox_private.limits
             select (jsonb_populate_record(
                 limits,
                 jsonb_build_object('limit_id', gen_random_uuid(), 'key_id', $2::uuid)
             )).*
             from farebox_private.limits
             where key_id = $1",
            &[&from, &to],
        )
        .await?;
    Ok(())
}

/// Notes that a key was used, once an hour at most.
pub(crate) async fn note_use(client: &impl GenericClient, key_id: Uuid) -> Result<(), Error> {
    client
        .execute(
            "insert into farebox_private.key_activity as activity (key_id, first_used_at, last_used_at)
             values ($1, now(), now())
             on conflict (key_id) do update
             set last_used_at = excluded.last_used_at
             where activity.last_used_at < now() - interval '1 hour'",
            &[&key_id],
        )
        .await?;
    Ok(())
}

/// The deployment's own default, for the view that lists stale keys.
pub(crate) async fn set_stale_after_days(
    client: &impl GenericClient,
    days: i32,
) -> Result<(), Error> {
    client
        .execute(
            "insert into farebox_private.deployment as known (name, value)
             values ('stale_after_days', to_jsonb($1::integer))
             on conflict (name) do update
             set value = excluded.value, changed_at = now()
             where known.value <> excluded.value",
            &[&days],
        )
        .await?;
    Ok(())
}
