//! Provider credentials: sealed rows of the directory. No answer shows more of one than its last
//! characters.

use deadpool_postgres::GenericClient;
use farebox_pricing::vault::{Binding, Sealed};
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

/// A credential as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Credential {
    /// Identifier, kept when the secret is rotated.
    pub credential_id: Uuid,
    /// The tenant whose own it is; null: the operator's.
    pub tenant_id: Option<String>,
    /// The configured upstream it is for.
    pub upstream: String,
    /// A name for people.
    pub name: Option<String>,
    /// Host, and port where it is not the scheme's own, that it may be sent to.
    pub host: String,
    /// The secret's last characters.
    pub masked: String,
    /// Which master key wraps its data key.
    pub master_key_id: String,
    /// When it was first set.
    pub created_at: String,
    /// Who set it first.
    pub created_by: Option<String>,
    /// When its secret was last replaced.
    pub rotated_at: Option<String>,
    /// Who replaced it.
    pub rotated_by: Option<String>,
}

impl Credential {
    /// What its secret is bound to.
    pub(crate) fn binding(&self) -> Binding<'_> {
        Binding {
            credential_id: self.credential_id,
            tenant: self.tenant_id.as_deref(),
            upstream: &self.upstream,
            host: &self.host,
        }
    }
}

/// Which credentials a list shows.
pub(crate) struct Filter<'a> {
    /// The asker's own tenant; `None` sees all.
    pub(crate) own: Option<&'a str>,
    /// Of this tenant.
    pub(crate) tenant: Option<&'a str>,
    /// For this upstream.
    pub(crate) upstream: Option<&'a str>,
    /// Last of the page before.
    pub(crate) after: Option<Uuid>,
    /// Rows of a page.
    pub(crate) limit: u32,
}

const COLUMNS: &str = r#"credential_id, tenant_id, upstream, name, host, '…' || hint, master_key_id,
    to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    created_by,
    to_char(rotated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    rotated_by"#;

fn read(row: &Row) -> Result<Credential, Error> {
    Ok(Credential {
        credential_id: row.try_get(0)?,
        tenant_id: row.try_get(1)?,
        upstream: row.try_get(2)?,
        name: row.try_get(3)?,
        host: row.try_get(4)?,
        masked: row.try_get(5)?,
        master_key_id: row.try_get(6)?,
        created_at: row.try_get(7)?,
        created_by: row.try_get(8)?,
        rotated_at: row.try_get(9)?,
        rotated_by: row.try_get(10)?,
    })
}

/// A page of credentials, newest first.
pub(crate) async fn list(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<Credential>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.credentials
         where ($1::text is null or tenant_id = $1)
             and ($2::text is null or tenant_id = $2)
             and ($3::text is null or upstream = $3)
             and ($4::uuid is null or credential_id < $4)
         order by credential_id desc
         limit $5"
    );
    let limit = i64::from(filter.limit) + 1;
    let rows = client
        .query(
            &sql,
            &[
                &filter.own,
                &filter.tenant,
                &filter.upstream,
                &filter.after,
                &limit,
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The credential of this id, held until the transaction ends; `own` holds it to one tenant.
pub(crate) async fn lock(
    client: &impl GenericClient,
    credential_id: Uuid,
    own: Option<&str>,
) -> Result<Option<Credential>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.credentials
         where credential_id = $1 and ($2::text is null or tenant_id = $2)
         for update"
    );
    let row = client.query_opt(&sql, &[&credential_id, &own]).await?;
    row.as_ref().map(read).transpose()
}

/// The credential for this tenant (or the operator) and upstream, held until the transaction ends.
/// Two requests that set the same one at once wait for each other here.
pub(crate) async fn lock_like(
    client: &impl GenericClient,
    tenant_id: Option<&str>,
    upstream: &str,
) -> Result<Option<Credential>, Error> {
    client
        .query_one(
            "select pg_advisory_xact_lock(hashtextextended('farebox_credentials', 0))::text",
            &[],
        )
        .await?;
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.credentials
         where tenant_id is not distinct from $1 and upstream = $2
         for update"
    );
    let row = client.query_opt(&sql, &[&tenant_id, &upstream]).await?;
    row.as_ref().map(read).transpose()
}

/// A secret to keep.
pub(crate) struct Secret<'a> {
    pub(crate) sealed: &'a Sealed,
    pub(crate) hint: &'a str,
}

/// Keeps a new credential.
pub(crate) async fn insert(
    client: &impl GenericClient,
    binding: &Binding<'_>,
    name: Option<&str>,
    secret: &Secret<'_>,
    actor: &str,
) -> Result<Credential, Error> {
    let sql = format!(
        "insert into farebox_private.credentials
            (credential_id, tenant_id, upstream, name, host, hint, master_key_id, wrapped_key,
             sealed, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         returning {COLUMNS}"
    );
    let row = client
        .query_one(
            &sql,
            &[
                &binding.credential_id,
                &binding.tenant,
                &binding.upstream,
                &name,
                &binding.host,
                &secret.hint,
                &secret.sealed.master_key_id,
                &secret.sealed.wrapped_key,
                &secret.sealed.sealed,
                &actor,
            ],
        )
        .await?;
    read(&row)
}

/// Replaces a credential's secret, and the host it is bound to with it.
pub(crate) async fn replace(
    client: &impl GenericClient,
    binding: &Binding<'_>,
    name: Option<&str>,
    secret: &Secret<'_>,
    actor: &str,
) -> Result<Credential, Error> {
    let sql = format!(
        "update farebox_private.credentials
         set host = $2, name = coalesce($3, name), hint = $4, master_key_id = $5, wrapped_key = $6,
             sealed = $7, rotated_at = now(), rotated_by = $8
         where credential_id = $1
         returning {COLUMNS}"
    );
    let row = client
        .query_one(
            &sql,
            &[
                &binding.credential_id,
                &binding.host,
                &name,
                &secret.hint,
                &secret.sealed.master_key_id,
                &secret.sealed.wrapped_key,
                &secret.sealed.sealed,
                &actor,
            ],
        )
        .await?;
    read(&row)
}

/// Names a credential.
pub(crate) async fn set_name(
    client: &impl GenericClient,
    credential_id: Uuid,
    name: Option<&str>,
) -> Result<Credential, Error> {
    let sql = format!(
        "update farebox_private.credentials set name = $2 where credential_id = $1 returning {COLUMNS}"
    );
    read(&client.query_one(&sql, &[&credential_id, &name]).await?)
}

/// Removes a credential.
pub(crate) async fn remove(client: &impl GenericClient, credential_id: Uuid) -> Result<(), Error> {
    client
        .execute(
            "delete from farebox_private.credentials where credential_id = $1",
            &[&credential_id],
        )
        .await?;
    Ok(())
}

/// The sealed secrets that are under another master key, held until the transaction ends.
pub(crate) async fn under_other_master_keys(
    client: &impl GenericClient,
    master_key_id: &str,
) -> Result<Vec<(Credential, Sealed)>, Error> {
    let sql = format!(
        "select {COLUMNS}, wrapped_key, sealed
         from farebox_private.credentials
         where master_key_id <> $1
         order by credential_id
         for update"
    );
    let rows = client.query(&sql, &[&master_key_id]).await?;
    rows.iter()
        .map(|row| {
            let credential = read(row)?;
            let sealed = Sealed {
                master_key_id: credential.master_key_id.clone(),
                wrapped_key: row.try_get(11)?,
                sealed: row.try_get(12)?,
            };
            Ok((credential, sealed))
        })
        .collect()
}

/// Writes a data key's new wrapping.
pub(crate) async fn set_wrapping(
    client: &impl GenericClient,
    credential_id: Uuid,
    sealed: &Sealed,
) -> Result<(), Error> {
    client
        .execute(
            "update farebox_private.credentials
             set master_key_id = $2, wrapped_key = $3
             where credential_id = $1",
            &[&credential_id, &sealed.master_key_id, &sealed.wrapped_key],
        )
        .await?;
    Ok(())
}
