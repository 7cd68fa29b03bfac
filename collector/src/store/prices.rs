//! Revisions of rate cards and selling rules, and what of the ledger has no price.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Error, Row};
use utoipa::ToSchema;

use crate::cards::Read;
use farebox_pricing::rate_card::selling::Allowance;

/// A revision of a rate card or of the selling rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PriceRevision {
    /// The vendor; `*` for selling rules.
    pub provider: String,
    /// `cost` (a vendor's prices) or `price` (selling rules).
    pub kind: String,
    /// SHA-256 of the canonical form.
    pub revision: String,
    /// Whether it is in force.
    pub is_active: bool,
    /// Models of a card, rules of selling rules.
    pub entries: i32,
    /// When it came into the database.
    pub loaded_at: String,
    /// When it was activated last; null: never.
    pub activated_at: Option<String>,
    /// Who activated it; `migrate` for cards that came with a program.
    pub activated_by: Option<String>,
}

const COLUMNS: &str = r#"cards.provider, cards.kind, cards.sha256,
    exists (
        select from farebox_private.directory_rate_cards as known
        where known.revision = cards.sha256 and known.is_active
    ),
    jsonb_array_length(coalesce(cards.canonical::jsonb -> 'models', cards.canonical::jsonb -> 'rules', '[]')),
    to_char(cards.loaded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    to_char(cards.activated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    cards.activated_by"#;

fn read(row: &Row) -> Result<PriceRevision, Error> {
    Ok(PriceRevision {
        provider: row.try_get(0)?,
        kind: row.try_get(1)?,
        revision: row.try_get(2)?,
        is_active: row.try_get(3)?,
        entries: row.try_get(4)?,
        loaded_at: row.try_get(5)?,
        activated_at: row.try_get(6)?,
        activated_by: row.try_get(7)?,
    })
}

/// A page of revisions, by vendor and revision; selling rules first.
pub(crate) async fn list(
    client: &impl GenericClient,
    provider: Option<&str>,
    only_active: bool,
    after: Option<[&str; 2]>,
    limit: u32,
) -> Result<Vec<PriceRevision>, Error> {
    let (after_provider, after_revision) = after.map_or((None, None), |[p, r]| (Some(p), Some(r)));
    let sql = format!(
        "select {COLUMNS}
         from farebox_private.rate_card_revisions as cards
         where ($1::text is null or cards.provider = $1)
             and (not $2 or exists (
                 select from farebox_private.directory_rate_cards as known
                 where known.revision = cards.sha256 and known.is_active))
             and ($3::text is null
                 or (cards.provider collate \"C\", cards.sha256 collate \"C\") > ($3 collate \"C\", $4 collate \"C\"))
         order by cards.provider collate \"C\", cards.sha256 collate \"C\"
         limit $5"
    );
    let rows = client
        .query(
            &sql,
            &[
                &provider,
                &only_active,
                &after_provider,
                &after_revision,
                &(i64::from(limit) + 1),
            ],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The revisions that begin with this text, at most two: more than one is ambiguous.
pub(crate) async fn find(
    client: &impl GenericClient,
    revision: &str,
) -> Result<Vec<(PriceRevision, String)>, Error> {
    let sql = format!(
        "select {COLUMNS}, cards.canonical
         from farebox_private.rate_card_revisions as cards
         where starts_with(cards.sha256, $1)
         order by cards.sha256
         limit 2"
    );
    let rows = client.query(&sql, &[&revision]).await?;
    rows.iter()
        .map(|row| Ok((read(row)?, row.try_get(8)?)))
        .collect()
}

/// Which revisions are in force, by vendor.
pub(crate) async fn active(client: &impl GenericClient) -> Result<Vec<(String, String)>, Error> {
    let rows = client
        .query(
            "select provider, revision from farebox_private.directory_rate_cards where is_active",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// The texts of these revisions, as far as they are here.
pub(crate) async fn texts(
    client: &impl GenericClient,
    revisions: &[&str],
) -> Result<Vec<(String, String)>, Error> {
    let rows = client
        .query(
            "select sha256, canonical from farebox_private.rate_card_revisions where sha256 = any($1)",
            &[&revisions],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// Puts a revision into the database, not in force; false when it is there.
pub(crate) async fn load(client: &impl GenericClient, read: &Read) -> Result<bool, Error> {
    let made = client
        .execute(
            "insert into farebox_private.rate_card_revisions (sha256, kind, provider, canonical)
             values ($1, $2, $3, $4)
             on conflict do nothing",
            &[
                &read.revision(),
                &read.kind(),
                &read.provider(),
                &read.canonical(),
            ],
        )
        .await?;
    if made == 0 {
        return Ok(false);
    }
    if let Read::Price(rules) = read {
        for allowance in rules.allowances() {
            include(client, read.revision(), allowance).await?;
        }
    }
    Ok(true)
}

async fn include(
    client: &impl GenericClient,
    revision: &str,
    allowance: &Allowance,
) -> Result<(), Error> {
    let meters: Vec<&str> = allowance.meters.iter().map(|meter| meter.name()).collect();
    let meters = (!meters.is_empty()).then_some(meters);
    let text =
        |value: Option<farebox_pricing::money::Decimal>| value.map(|value| value.to_string());
    let since =
        |since: Option<farebox_pricing::rate_card::Since>| since.map(|since| since.0.to_string());
    client
        .execute(
            "insert into farebox_private.allowances
                 (revision, allowance, tenant_id, plan, provider, model, meters, usd, quantity,
                 valid_from, valid_to)
             values ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, $9::text::numeric,
                 date_trunc('month', $10::text::timestamp)::date,
                 date_trunc('month', $11::text::timestamp)::date)",
            &[
                &revision,
                &allowance.allowance,
                &allowance.tenant,
                &allowance.plan,
                &allowance.provider,
                &allowance.model,
                &meters,
                &text(allowance.usd),
                &text(allowance.quantity),
                &since(allowance.from),
                &since(allowance.to),
            ],
        )
        .await?;
    Ok(())
}

/// The revision in force before, once nobody else can change it until the transaction ends.
pub(crate) async fn lock_active(
    client: &impl GenericClient,
    provider: &str,
) -> Result<Option<String>, Error> {
    client
        .query_one(
            "select pg_advisory_xact_lock(hashtextextended('farebox_rate_cards', 0))::text",
            &[],
        )
        .await?;
    let row = client
        .query_opt(
            "select revision from farebox_private.directory_rate_cards where provider = $1 and is_active",
            &[&provider],
        )
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Puts a revision in force.
pub(crate) async fn activate(
    client: &impl GenericClient,
    revision: &str,
    actor: &str,
) -> Result<(), Error> {
    // Later than every other, also where the clock was set back meanwhile.
    client
        .execute(
            "update farebox_private.rate_card_revisions as cards
             set activated_at = greatest(clock_timestamp(), (
                     select max(others.activated_at) + interval '1 microsecond'
                     from farebox_private.rate_card_revisions as others
                     where others.provider = cards.provider and others.kind = cards.kind)),
                 activated_by = $2
             where cards.sha256 = $1",
            &[&revision, &actor],
        )
        .await?;
    Ok(())
}

/// A meter of a model that events could not be priced for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Gap {
    /// The vendor.
    pub provider: String,
    /// The model of the lines.
    pub model: String,
    /// What has no price.
    pub meter: String,
    /// `price` where nothing could be billed, `cost` where only the vendor's price is missing.
    pub missing: String,
    /// Conditions that the lines had, and how many events had each.
    #[schema(value_type = Object)]
    pub conditions: Box<RawValue>,
    /// How many events.
    pub events: i64,
    /// How many tenants.
    pub tenants: i64,
    /// Sum of the meter.
    pub quantity: String,
    /// The first of them.
    pub first_seen: String,
    /// The last of them.
    pub last_seen: String,
    /// Whether the cards in force have a price by now: `farebox reprice` books it.
    pub is_priced_now: bool,
}

/// Which events are looked at.
pub(crate) struct GapFilter<'a> {
    pub(crate) tenant: Option<&'a str>,
    pub(crate) provider: Option<&'a str>,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) limit: u32,
}

/// What has no price, the most events first. An event that was repriced since has its price.
pub(crate) async fn gaps(
    client: &impl GenericClient,
    filter: &GapFilter<'_>,
) -> Result<Vec<Gap>, Error> {
    let rows = client
        .query(
            r#"with charged as (
                 select
                     events.event_id, events.tenant_id, events.provider, events.started_at,
                     charge.value ->> 0 as model,
                     charge.value ->> 1 as meter,
                     (charge.value ->> 2)::numeric as quantity,
                     case when charge.value -> 6 = 'null' then 'price' else 'cost' end as missing,
                     coalesce((
                         select line.value ->> 'conditions'
                         from jsonb_array_elements(events.lines::jsonb) as line (value)
                         where line.value ->> 'model' = charge.value ->> 0
                             and line.value -> 'usage' ? (charge.value ->> 1)
                         limit 1
                     ), '{}') as conditions
                 from farebox_private.usage_events as events
                 cross join lateral jsonb_array_elements(events.charges::jsonb) as charge (value)
                 where (events.pricing in ('unpriced', 'partial')
                         or (events.pricing = 'priced' and events.cost_usd is null))
                     and (charge.value -> 5 = 'null' or charge.value -> 6 = 'null')
                     and ($1::text is null or events.tenant_id = $1)
                     and ($2::text is null or events.provider = $2)
                     and ($3::text is null or (events.started_at >= $3::text::timestamptz
                         and events.event_id >= farebox_private.first_event_id($3::text::timestamptz)))
                     and ($4::text is null or (events.started_at < $4::text::timestamptz
                         and events.event_id < farebox_private.first_event_id($4::text::timestamptz)))
                     and not exists (
                         select from farebox_private.adjustments
                         where adjustments.event_id = events.event_id and adjustments.kind = 'reprice'
                     )
             ),
             said as (
                 select provider, model, meter, missing, jsonb_object_agg(conditions, said) as conditions
                 from (
                     select provider, model, meter, missing, conditions, count(*) as said
                     from charged
                     group by provider, model, meter, missing, conditions
                 ) as counted
                 group by provider, model, meter, missing
             )
             select
                 charged.provider, charged.model, charged.meter, charged.missing,
                 said.conditions::text,
                 count(distinct charged.event_id), count(distinct charged.tenant_id),
                 trim_scale(sum(charged.quantity))::text,
                 to_char(min(charged.started_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                 to_char(max(charged.started_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
             from charged
             join said using (provider, model, meter, missing)
             group by charged.provider, charged.model, charged.meter, charged.missing, said.conditions
             order by 6 desc, 1, 2, 3
             limit $5"#,
            &[
                &filter.tenant,
                &filter.provider,
                &filter.from,
                &filter.to,
                &i64::from(filter.limit),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let conditions: String = row.try_get(4)?;
            Ok(Gap {
                provider: row.try_get(0)?,
                model: row.try_get(1)?,
                meter: row.try_get(2)?,
                missing: row.try_get(3)?,
                conditions: RawValue::from_string(conditions).unwrap_or_default(),
                events: row.try_get(5)?,
                tenants: row.try_get(6)?,
                quantity: row.try_get(7)?,
                first_seen: row.try_get(8)?,
                last_seen: row.try_get(9)?,
                is_priced_now: false,
            })
        })
        .collect()
}
