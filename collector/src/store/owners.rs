//! Who owns what vendors keep.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use tokio_postgres::Error;
use utoipa::ToSchema;

/// A thing and whose it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Owner {
    /// The vendor's name of it, as asked.
    pub object_id: String,
    /// The tenant that made it; null: made without a tenant.
    pub tenant_id: Option<String>,
}

/// The owners of those things that are known.
pub(crate) async fn find(
    client: &impl GenericClient,
    provider: &str,
    account: &str,
    object_ids: &[String],
) -> Result<Vec<Owner>, Error> {
    let statement = client
        .prepare_cached(
            "select object_id, tenant_id
             from farebox_private.objects
             where provider = $1 and account = $2 and object_id = any($3)
             order by object_id",
        )
        .await?;
    let rows = client
        .query(&statement, &[&provider, &account, &object_ids])
        .await?;
    Ok(rows
        .iter()
        .map(|row| Owner {
            object_id: row.get(0),
            tenant_id: row.get(1),
        })
        .collect())
}
