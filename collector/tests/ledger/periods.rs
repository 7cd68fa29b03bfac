//! Days, months and partitions.

use farebox_collector::ingest::Outcome::{Accepted, Rejected};

use crate::support::{Ledger, Result, outcomes, record};

#[tokio::test]
async fn any_month_has_its_partition() -> Result {
    let ledger = Ledger::new().await?;
    let instants = [
        "2026-11-30T23:59:59.999Z",
        "2026-12-01T00:00:00Z",
        "2019-02-28T00:00:00Z",
        "2031-07-15T12:00:00Z",
        "2000-01-01T00:00:00Z",
        "2099-12-31T23:59:59.999Z",
    ];
    let batch: Vec<_> = (1..)
        .zip(instants)
        .map(|(n, at)| record(Some("acme"), at, n))
        .collect();
    assert_eq!(outcomes(&ledger.ship(&batch).await?), [Accepted; 6]);
    let places: Vec<String> = ledger
        .one(
            "select array(select tableoid::regclass::text from farebox_private.usage_events order by seq)",
        )
        .await?;
    let months = ["202611", "202612", "201902", "203107", "200001", "209912"];
    assert_eq!(
        places,
        months.map(|month| format!("farebox_private.usage_events_{month}"))
    );
    let outside = [
        record(Some("acme"), "1999-12-31T23:59:59.999Z", 7),
        record(Some("acme"), "2100-01-01T00:00:00Z", 8),
    ];
    assert_eq!(outcomes(&ledger.ship(&outside).await?), [Rejected; 2]);
    // A plain filter by time reads one partition only.
    let plan = ledger
        .sql()
        .await?
        .query(
            "explain select * from farebox.usage_events
             where started_at >= '2019-02-01' and started_at < '2019-03-01'",
            &[],
        )
        .await?;
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(plan.contains("usage_events_201902"), "{plan}");
    assert!(!plan.contains("usage_events_202611"), "{plan}");
    ledger.drop_database().await
}

#[tokio::test]
async fn several_collectors_meet_a_new_month_at_once() -> Result {
    let ledger = Ledger::new().await?;
    for year in 2031..2036 {
        let at = format!("{year}-07-15T12:00:00Z");
        let batches: Vec<Vec<_>> = (0..6)
            .map(|batch| vec![record(Some("acme"), &at, batch + 1)])
            .collect();
        let (a, b, c, d, e, f) = tokio::join!(
            ledger.ship(&batches[0]),
            ledger.ship(&batches[1]),
            ledger.ship(&batches[2]),
            ledger.ship(&batches[3]),
            ledger.ship(&batches[4]),
            ledger.ship(&batches[5]),
        );
        for answer in [a?, b?, c?, d?, e?, f?] {
            assert_eq!(outcomes(&answer), [Accepted]);
        }
    }
    ledger.drop_database().await
}

#[tokio::test]
async fn months_are_the_tenants_own_and_closed_ones_are_passed_over() -> Result {
    let ledger = Ledger::new().await?;
    let client = ledger.sql().await?;
    client
        .batch_execute(
            "insert into farebox_private.tenants (tenant_id, time_zone) values
                 ('tokyo', 'Asia/Tokyo'), ('closed', 'UTC'), ('moving', 'UTC');
             update farebox_private.tenants set time_zone = 'Asia/Tokyo' where tenant_id = 'moving';
             insert into farebox_private.periods (tenant_id, period, state, closed_at) values
                 ('closed', '2026-11-01', 'closed', now()), ('closed', '2026-12-01', 'closed', now()),
                 (null, '2026-11-01', 'closed', now());",
        )
        .await?;
    let at = "2026-11-30T20:00:00Z";
    let batch = [
        record(Some("tokyo"), at, 1),
        record(Some("closed"), at, 2),
        record(None, at, 3),
        record(Some("new"), at, 4),
    ];
    assert_eq!(outcomes(&ledger.ship(&batch).await?), [Accepted; 4]);
    let rows: Vec<String> = ledger
        .one(
            "select array(select concat_ws(' ', tenant_id, day, period, is_late)
                 from farebox.usage_events order by seq)",
        )
        .await?;
    assert_eq!(
        rows,
        [
            "tokyo 2026-12-01 2026-12-01 f",
            "closed 2026-11-30 2027-01-01 t",
            "2026-11-30 2026-12-01 t",
            "new 2026-11-30 2026-11-01 f",
        ]
    );
    let moving: bool = ledger
        .one(
            "select time_zone_before = 'UTC'
                 and time_zone_from = (date_trunc('month', now() at time zone 'UTC') + interval '1 month')::date
             from farebox_private.tenants where tenant_id = 'moving'",
        )
        .await?;
    assert!(moving, "a changed zone counts from the next month");
    for wrong in ["Mars/Olympus", "UTC+3", "'"] {
        let refused = client
            .execute(
                "update farebox_private.tenants set time_zone = $1",
                &[&wrong],
            )
            .await;
        assert!(refused.is_err(), "{wrong}");
    }
    ledger.drop_database().await
}
