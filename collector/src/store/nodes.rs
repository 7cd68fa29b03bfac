//! What proxies prove themselves with, and what is missing of what they numbered.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::config::Secret;
use crate::keys;

/// A token that a proxy ships with.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IngestToken {
    /// The token itself: in the answer that issues it, nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Identifier.
    pub token_id: Uuid,
    /// A name for people, usually the node's.
    pub name: String,
    /// When it was issued.
    pub created_at: String,
    /// Who issued it.
    pub created_by: Option<String>,
    /// When it was revoked; null: it works.
    pub revoked_at: Option<String>,
}

const COLUMNS: &str = "token_id, name,
    to_char(created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    created_by,
    to_char(revoked_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

fn read(row: &Row) -> Result<IngestToken, Error> {
    Ok(IngestToken {
        secret: None,
        token_id: row.try_get(0)?,
        name: row.try_get(1)?,
        created_at: row.try_get(2)?,
        created_by: row.try_get(3)?,
        revoked_at: row.try_get(4)?,
    })
}

/// Whether the schema is there; any error says that it is not.
pub(crate) async fn check_schema(client: &impl GenericClient) -> Result<(), Error> {
    client
        .query(
            "select token_id from farebox_private.ingest_tokens limit 0",
            &[],
        )
        .await?;
    Ok(())
}

/// The token that hashes to this, unless revoked.
pub(crate) async fn find_token(
    client: &impl GenericClient,
    digest: &[u8; 32],
) -> Result<Option<(Uuid, String)>, Error> {
    let row = client
        .query_opt(
            "select token_id, name
             from farebox_private.ingest_tokens
             where token_sha256 = $1 and revoked_at is null",
            &[&digest.as_slice()],
        )
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .transpose()
}

/// Keeps a new token's hash.
pub(crate) async fn insert_token(
    client: &impl GenericClient,
    name: &str,
    digest: &[u8; 32],
    actor: &str,
) -> Result<IngestToken, Error> {
    let sql = format!(
        "insert into farebox_private.ingest_tokens (token_id, name, token_sha256, created_by)
         values ($1, $2, $3, $4)
         returning {COLUMNS}"
    );
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&Uuid::now_v7(), &name, &digest.as_slice(), &actor];
    read(&client.query_one(&sql, &values).await?)
}

/// A page of tokens, newest first.
pub(crate) async fn list_tokens(
    client: &impl GenericClient,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<IngestToken>, Error> {
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.ingest_tokens
         where $1::uuid is null or token_id < $1
         order by token_id desc
         limit $2"
    );
    let rows = client
        .query(&sql, &[&after, &(i64::from(limit) + 1)])
        .await?;
    rows.iter().map(read).collect()
}

/// Revokes; a token that is revoked stays as it is. Before and after.
pub(crate) async fn revoke_token(
    client: &impl GenericClient,
    token_id: Uuid,
) -> Result<Option<(IngestToken, IngestToken)>, Error> {
    let before = format!(
        "select {COLUMNS} from farebox_private.ingest_tokens where token_id = $1 for update"
    );
    let Some(before) = client.query_opt(&before, &[&token_id]).await? else {
        return Ok(None);
    };
    let after = format!(
        "update farebox_private.ingest_tokens
         set revoked_at = coalesce(revoked_at, now())
         where token_id = $1
         returning {COLUMNS}"
    );
    let after = client.query_one(&after, &[&token_id]).await?;
    Ok(Some((read(&before)?, read(&after)?)))
}

/// Numbers between 1 and the highest seen of each node's start that have not arrived.
pub(crate) async fn sequence_holes(client: &impl GenericClient) -> Result<i64, Error> {
    let row = client
        .query_one(
            "select coalesce(sum(upper(ranges) - 1 - numbers.received), 0)::bigint
             from farebox_private.received_sequences,
                lateral (
                    select sum(upper(range) - lower(range)) as received
                    from unnest(ranges) as range
                ) as numbers
             where not isempty(ranges)",
            &[],
        )
        .await?;
    row.try_get(0)
}

/// A proxy that ships or shipped.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Node {
    /// Its name.
    pub node: String,
    /// Its latest process start.
    pub epoch: Option<i64>,
    /// Its first request.
    pub first_seen_at: String,
    /// Its latest request, by the collector's clock.
    pub last_seen_at: String,
    /// Earliest start of what it has not shipped yet.
    pub open_since: Option<String>,
    /// When it was retired; null: it is live, and a close waits for it.
    pub retired_at: Option<String>,
    /// Who retired it.
    pub retired_by: Option<String>,
    /// Settlements that it numbered and that have not arrived.
    pub missing: i64,
}

/// Numbers in a row that have not arrived.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Hole {
    /// The process start that numbered them.
    pub epoch: i64,
    /// The first.
    pub first_seq: i64,
    /// The last before the next that came.
    pub last_seq: i64,
}

const NODES: &str = r#"select node, epoch,
        to_char(first_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        to_char(last_seen_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        to_char(open_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        to_char(retired_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        retired_by, missing
    from farebox.nodes"#;

fn node(row: &Row) -> Result<Node, Error> {
    Ok(Node {
        node: row.try_get(0)?,
        epoch: row.try_get(1)?,
        first_seen_at: row.try_get(2)?,
        last_seen_at: row.try_get(3)?,
        open_since: row.try_get(4)?,
        retired_at: row.try_get(5)?,
        retired_by: row.try_get(6)?,
        missing: row.try_get(7)?,
    })
}

/// A page of nodes, by name.
pub(crate) async fn list_nodes(
    client: &impl GenericClient,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Node>, Error> {
    let sql = format!("{NODES} where $1::text is null or node > $1 order by node limit $2");
    let rows = client
        .query(&sql, &[&after, &(i64::from(limit) + 1)])
        .await?;
    rows.iter().map(node).collect()
}

/// One node.
async fn find_node(client: &impl GenericClient, name: &str) -> Result<Option<Node>, Error> {
    let row = client
        .query_opt(&format!("{NODES} where node = $1"), &[&name])
        .await?;
    row.as_ref().map(node).transpose()
}

/// Retires a node; one that is retired stays as it is. As it was, and as it is.
pub(crate) async fn retire(
    client: &impl GenericClient,
    name: &str,
    actor: &str,
) -> Result<Option<(Node, Node)>, Error> {
    client
        .execute(
            "select from farebox_private.nodes where node = $1 for update",
            &[&name],
        )
        .await?;
    let Some(before) = find_node(client, name).await? else {
        return Ok(None);
    };
    client
        .execute(
            "update farebox_private.nodes
             set retired_at = now(), retired_by = $2
             where node = $1 and retired_at is null",
            &[&name, &actor],
        )
        .await?;
    let after = find_node(client, name).await?;
    Ok(after.map(|after| (before, after)))
}

/// What is missing of a node's numbers, run by run.
pub(crate) async fn holes(
    client: &impl GenericClient,
    name: &str,
    limit: i64,
) -> Result<Vec<Hole>, Error> {
    let rows = client
        .query(
            "select epoch, first_seq, last_seq
             from farebox.sequence_holes
             where node = $1
             order by epoch, first_seq
             limit $2",
            &[&name, &limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Hole {
                epoch: row.try_get(0)?,
                first_seq: row.try_get(1)?,
                last_seq: row.try_get(2)?,
            })
        })
        .collect()
}

/// Issues an ingest token straight into the database, for whoever sets a machine up and has no
/// operator token yet. The secret is returned once and kept as a hash only.
pub async fn issue_ingest_token(
    client: &impl GenericClient,
    name: &str,
    actor: &str,
) -> Result<Secret, IssueFault> {
    let token = keys::draw_ingest_token().map_err(|fault| IssueFault(fault.to_string()))?;
    let digest = keys::digest(token.expose());
    let issued = insert_token(client, name, &digest, actor)
        .await
        .map_err(|error| IssueFault(crate::store::StoreError::Failed(error).to_string()))?;
    let change = super::audit::Change {
        action: "ingest_token.issue",
        tenant_id: None,
        entity_kind: "ingest_token",
        entity_id: &issued.token_id.to_string(),
        before: serde_json::Value::Null,
        after: serde_json::json!({"name": issued.name}),
        reason: None,
    };
    super::audit::record(client, actor, "", &change)
        .await
        .map_err(|error| IssueFault(crate::store::StoreError::Failed(error).to_string()))?;
    Ok(token)
}

/// An ingest token could not be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueFault(String);

impl std::fmt::Display for IssueFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ingest token: {}", self.0)
    }
}

impl std::error::Error for IssueFault {}
