//! The spool from outside, case by case.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;

const PAYLOAD_MAX: usize = 2048;

fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 32 << 10,
        bytes_max: 256 << 10,
        settlement_bytes_max: PAYLOAD_MAX,
        sync_interval: Duration::from_millis(1),
        ..SpoolOptions::default()
    }
}

fn open(directory: &Path) -> (Spool, Recovery) {
    Spool::open(directory, options()).expect("the spool opens")
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), future)
            .await
            .expect("in time")
    })
}

/// Waits for something another thread does.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn ship_all(spool: &Spool) -> Vec<Spooled> {
    let mut shipped = Vec::new();
    while spool.stats().unshipped > 0 {
        wait(spool.shippable());
        let batch = spool.next_batch(100, 1 << 20).unwrap();
        spool.acknowledge(
            &batch
                .iter()
                .map(|spooled| spooled.position)
                .collect::<Vec<_>>(),
        );
        shipped.extend(batch);
    }
    shipped
}

/// What a process killed now would leave.
fn copy_of(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            // A file may be removed meanwhile, as it may before a kill.
            let _ = std::fs::copy(entry.path(), copy.path().join(entry.file_name()));
        }
    }
    copy
}

#[test]
fn a_call_is_settled_synced_shipped_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, recovery) = open(directory.path());
    assert!(recovery.unclean.is_none() && recovery.orphans.is_empty());
    let id = Uuid::now_v7();
    let ticket = spool.append_intent(id, b"intent").unwrap();
    spool.append_checkpoint(&ticket, b"checkpoint").unwrap();
    assert_eq!(spool.stats().intents_open, 1);
    let started = (id.as_u128() >> 80) as u64;
    assert_eq!(
        spool.oldest_open_or_unshipped_started_at(),
        Some(started - started % 1000)
    );
    let position = spool.append_settlement(ticket, b"settlement").unwrap();
    wait(spool.synced(position)).unwrap();
    assert!(spool.oldest_open_or_unshipped_started_at().is_some());
    let batch = spool.next_batch(10, 1000).unwrap();
    assert_eq!(batch.len(), 1);
    assert_eq!(
        (batch[0].event_id, batch[0].seq, &batch[0].payload[..]),
        (id, 1, &b"settlement"[..])
    );
    assert!(spool.next_batch(10, 1000).unwrap().is_empty());
    spool.release(&[position]);
    assert_eq!(spool.next_batch(10, 1000).unwrap(), batch);
    spool.acknowledge(&[position]);
    assert_eq!(
        (spool.stats().unshipped, spool.stats().intents_open),
        (0, 0)
    );
    assert_eq!(spool.oldest_open_or_unshipped_started_at(), None);
    spool.close().unwrap();
    assert_eq!(
        spool.append_intent(id, b"late").unwrap_err(),
        Refusal::Closed
    );
    drop(spool);
    let (spool, recovery) = open(directory.path());
    assert!(recovery.unclean.is_none() && recovery.orphans.is_empty());
    assert_eq!((recovery.unshipped, spool.epoch()), (0, 2));
}

#[test]
fn only_synced_settlements_are_shipped_and_waiting_hurries_them() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        sync_interval: Duration::from_secs(3600),
        ..options()
    };
    let (spool, _) = Spool::open(directory.path(), options).unwrap();
    let position = spool.append_unrecorded(Uuid::now_v7(), b"row").unwrap();
    assert!(spool.synced_before() <= position);
    assert!(spool.next_batch(10, 1000).unwrap().is_empty());
    wait(spool.synced(position)).unwrap();
    assert_eq!(spool.next_batch(10, 1000).unwrap().len(), 1);
}

#[test]
fn a_directory_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    assert!(matches!(
        Spool::open(directory.path(), options()),
        Err(SpoolError::InUse(_))
    ));
    let node = spool.node().to_owned();
    drop(spool);
    assert_eq!(open(directory.path()).0.node(), node);
}

#[test]
fn a_kill_leaves_orphans_with_their_last_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    let first = spool.append_intent(ids[0], b"intent 0").unwrap();
    let second = spool.append_intent(ids[1], b"intent 1").unwrap();
    spool.append_checkpoint(&second, b"checkpoint a").unwrap();
    spool.append_checkpoint(&second, b"checkpoint b").unwrap();
    let third = spool.append_intent(ids[2], b"intent 2").unwrap();
    let (_, fourth) = spool
        .append_settlement_and_intent(third, b"part 2", ids[3], b"intent 3")
        .unwrap();

    let left = copy_of(directory.path());
    let (again, recovery) = open(left.path());
    let unclean = recovery.unclean.expect("nobody closed it");
    assert_eq!(
        (unclean.epoch, unclean.last_seq, unclean.may_have_lost),
        (1, 1, !cfg!(target_os = "linux"))
    );
    let orphans = recovery.orphans;
    let latest: Vec<_> = orphans
        .iter()
        .map(|orphan| (orphan.ticket.event_id(), orphan.latest().unwrap()))
        .collect();
    let expected: [(Uuid, &[u8]); 3] = [
        (ids[0], b"intent 0"),
        (ids[1], b"checkpoint b"),
        (ids[3], b"intent 3"),
    ];
    assert_eq!(latest, expected);

    // Killed once more after settling one of them: it is no orphan any more, the others still are.
    let mut orphans = orphans.into_iter();
    let position = again
        .append_settlement(orphans.next().unwrap().ticket, b"interrupted")
        .unwrap();
    wait(again.synced(position)).unwrap();
    let left = copy_of(left.path());
    let (once_more, recovery) = open(left.path());
    let open: Vec<Uuid> = recovery
        .orphans
        .iter()
        .map(|orphan| orphan.ticket.event_id())
        .collect();
    assert_eq!(open, [ids[1], ids[3]]);
    for orphan in recovery.orphans {
        once_more
            .append_settlement(orphan.ticket, b"interrupted")
            .unwrap();
    }
    let shipped: Vec<_> = ship_all(&once_more)
        .into_iter()
        .map(|s| (s.event_id, s.epoch, s.seq))
        .collect();
    assert_eq!(
        shipped,
        [
            (ids[2], 1, 1),
            (ids[0], 2, 1),
            (ids[1], 3, 1),
            (ids[3], 3, 2)
        ]
    );
    drop((first, second, fourth));
}

#[test]
fn a_full_spool_refuses_intents_and_settles_every_open_call() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    let payload = [7; PAYLOAD_MAX];
    let mut tickets = Vec::new();
    let refusal = loop {
        match spool.append_intent(Uuid::now_v7(), &payload) {
            Ok(ticket) => tickets.push(ticket),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, Refusal::Full);
    assert!(tickets.len() > 30, "{} calls fit", tickets.len());
    let refusal = loop {
        if let Err(refusal) = spool.append_checkpoint(&tickets[0], &payload) {
            break refusal;
        }
    };
    assert_eq!(refusal, Refusal::Full);
    spool
        .append_unrecorded(Uuid::now_v7(), b"a minute's row")
        .unwrap();
    let long = [7; PAYLOAD_MAX + 1];
    let unsettled = spool
        .append_settlement(tickets.pop().unwrap(), &long)
        .unwrap_err();
    assert_eq!(
        unsettled.refusal,
        Refusal::TooLarge {
            bytes: PAYLOAD_MAX + 1,
            bytes_max: PAYLOAD_MAX
        }
    );
    tickets.push(unsettled.ticket);
    let open = tickets.len();
    for ticket in tickets {
        spool.append_settlement(ticket, &payload).unwrap();
    }
    assert!(
        spool.stats().bytes <= options().bytes_max,
        "{:?}",
        spool.stats()
    );
    assert_eq!(ship_all(&spool).len(), open + 1);
    until("there is room again", || {
        spool.append_intent(Uuid::now_v7(), &payload).is_ok()
    });
}

#[test]
fn a_long_stream_does_not_fill_the_spool() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    let id = Uuid::now_v7();
    let stream = spool.append_intent(id, b"a long stream").unwrap();
    spool.append_checkpoint(&stream, b"an hour of it").unwrap();
    for _ in 0..2000 {
        let ticket = loop {
            match spool.append_intent(Uuid::now_v7(), &[1; 900]) {
                Ok(ticket) => break ticket,
                Err(Refusal::Full) => drop(ship_all(&spool)),
                Err(refusal) => panic!("{refusal}"),
            }
        };
        spool.append_settlement(ticket, &[2; 900]).unwrap();
    }
    ship_all(&spool);
    assert!(spool.stats().carried >= 4, "{:?}", spool.stats());
    // A copy made while segments are removed is none that a crash could leave.
    until("shipped segments are gone", || spool.stats().segments <= 2);
    let (again, recovery) = open(copy_of(directory.path()).path());
    assert_eq!(recovery.orphans.len(), 1);
    let orphan = &recovery.orphans[0];
    assert_eq!(orphan.intent.as_deref(), Some(&b"a long stream"[..]));
    assert_eq!(orphan.checkpoint.as_deref(), Some(&b"an hour of it"[..]));
    drop(again);
    spool.append_settlement(stream, b"its end").unwrap();
    assert_eq!(ship_all(&spool).len(), 1);
    until("old segments are gone", || spool.stats().segments <= 2);
}

#[test]
fn records_whose_sync_failed_are_written_again() {
    fails_at(Step::Write);
    fails_at(Step::Sync);
}

fn fails_at(failing: Step) {
    let directory = tempfile::tempdir().unwrap();
    let failures = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&failures);
    let take = move |left: u32| left.checked_sub(1);
    let fail = move |step| match left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        (step == failing).then_some(left).and_then(take)
    }) {
        Ok(_) => Err(io::Error::other("the disk is gone")),
        Err(_) => Ok(()),
    };
    let options = SpoolOptions {
        before_sync: Some(Arc::new(fail)),
        ..options()
    };
    let (spool, _) = Spool::open(directory.path(), options).unwrap();
    let settle = |count: usize| {
        for number in 0..count {
            let ticket = spool.append_intent(Uuid::now_v7(), b"intent").unwrap();
            spool
                .append_settlement(ticket, number.to_string().as_bytes())
                .unwrap();
        }
    };
    settle(3);
    wait(spool.shippable());
    failures.store(1, Ordering::SeqCst);
    let open = spool.append_intent(Uuid::now_v7(), b"an open one").unwrap();
    settle(5);
    wait(spool.synced(spool.append_unrecorded(Uuid::now_v7(), b"row").unwrap())).unwrap();
    let stats = spool.stats();
    assert!(
        stats.sync_failures == 1 && stats.rewritten >= 1 && !stats.is_failing,
        "{stats:?}"
    );
    let copies = copy_of(directory.path());

    failures.store(3, Ordering::SeqCst);
    let position = spool.append_unrecorded(Uuid::now_v7(), b"row").unwrap();
    assert_eq!(wait(spool.synced(position)), Err(Refusal::Failing));
    assert_eq!(
        spool.append_intent(Uuid::now_v7(), b"no").unwrap_err(),
        Refusal::Failing
    );
    spool
        .append_settlement(open, b"settled while failing")
        .unwrap();
    let shipped = ship_all(&spool);
    let seqs: Vec<u64> = shipped.iter().map(|spooled| spooled.seq).collect();
    assert_eq!(seqs, (1..=11).collect::<Vec<u64>>());
    assert!(!spool.stats().is_failing);

    let (again, recovery) = open_copy(&copies);
    assert_eq!((recovery.unshipped, recovery.orphans.len()), (9, 1));
    drop(recovery);
    let seqs: Vec<u64> = ship_all(&again).iter().map(|spooled| spooled.seq).collect();
    assert_eq!(seqs, (1..=9).collect::<Vec<u64>>());
}

#[test]
fn a_segment_that_refuses_to_be_written_is_left_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        sync_interval: Duration::from_millis(200),
        ..options()
    };
    let (spool, _) = Spool::open(directory.path(), options).unwrap();
    {
        let mut state = spool.shared.lock();
        let file = state.active.segment.file.clone();
        let writer = std::fs::File::open(&file.path).unwrap();
        state.active.segment = Arc::new(segment::Segment { file, writer });
    }
    // More than half of what can be staged: the copies would not fit beside it.
    for _ in 0..20 {
        let ticket = spool.append_intent(Uuid::now_v7(), b"intent").unwrap();
        spool.append_settlement(ticket, &[7; 900]).unwrap();
    }
    let shipped = ship_all(&spool);
    let seqs: Vec<u64> = shipped.iter().map(|spooled| spooled.seq).collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<u64>>());
    let stats = spool.stats();
    assert_eq!((stats.sync_failures, stats.rewritten), (1, 40), "{stats:?}");
    assert!(!stats.is_failing && stats.bytes <= stats.bytes_max);
}

fn open_copy(copy: &tempfile::TempDir) -> (Spool, Recovery) {
    open(copy.path())
}

#[test]
fn a_gap_hides_no_later_record() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        spool.append_unrecorded(*id, &[1; 100]).unwrap();
    }
    drop(spool);
    let left = copy_of(directory.path());
    std::fs::remove_file(left.path().join(staging::FILE)).unwrap();
    let segment = segment::list(left.path()).unwrap().remove(0);
    let mut bytes = std::fs::read(&segment.path).unwrap();
    let from = segment::PREFIX_BYTES;
    bytes[from..from + 4].fill(0);
    bytes[from + 80] ^= 1;
    std::fs::write(&segment.path, &bytes).unwrap();
    let (spool, recovery) = open(left.path());
    assert_eq!(recovery.unshipped, 2);
    let shipped: Vec<Uuid> = ship_all(&spool)
        .iter()
        .map(|spooled| spooled.event_id)
        .collect();
    assert_eq!(shipped, ids[1..]);
}

#[test]
fn a_dropped_ticket_can_be_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    let id = Uuid::now_v7();
    drop(spool.append_intent(id, b"intent").unwrap());
    let kept = spool
        .append_intent(Uuid::now_v7(), b"still running")
        .unwrap();
    assert_eq!(
        (spool.stats().abandoned, spool.stats().intents_open),
        (1, 2)
    );
    let mut orphans = spool.take_abandoned();
    assert!(spool.take_abandoned().is_empty());
    let orphan = orphans.pop().unwrap();
    assert_eq!(
        (orphans.len(), orphan.latest(), orphan.ticket.event_id()),
        (0, Some(&b"intent"[..]), id)
    );
    spool
        .append_settlement(orphan.ticket, b"interrupted")
        .unwrap();
    spool.append_settlement(kept, b"done").unwrap();
    assert_eq!(ship_all(&spool).len(), 2);
}

#[test]
fn a_record_that_is_refused_while_somebody_asks_for_it_again_is_in_one_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (spool, _) = open(path);
    spool.append_unrecorded(Uuid::now_v7(), b"{}").unwrap();
    wait(spool.synced(spool.append_unrecorded(Uuid::now_v7(), b"{}").unwrap())).unwrap();
    let batch = spool.next_batch(1, 1 << 20).unwrap();
    spool
        .set_aside(batch[0].position, "conflict", "{}")
        .unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                requeue(path, &Selection::All).unwrap();
            }
        });
        for _ in 0..200 {
            let started = std::time::Instant::now();
            let requeued = loop {
                if let Some(requeued) = spool.next_requeued(1).unwrap().pop() {
                    break requeued;
                }
                if started.elapsed() > Duration::from_secs(10) {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("the record is gone");
                }
            };
            spool.set_aside_requeued(&requeued, "again", "{}").unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    let places = list_failed(path).unwrap().len() + spool.next_requeued(10).unwrap().len();
    assert_eq!(places, 1);
}

#[test]
fn a_refused_record_is_set_aside_requeued_and_purged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (spool, _) = open(path);
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        spool
            .append_unrecorded(*id, "{\"a\":\"\\u0000 é\"}".as_bytes())
            .unwrap();
    }
    wait(spool.synced(spool.append_unrecorded(Uuid::now_v7(), b"{}").unwrap())).unwrap();
    let batch = spool.next_batch(3, 1 << 20).unwrap();
    for spooled in &batch {
        spool
            .set_aside(spooled.position, "conflict", r#"{"outcome":"conflict"}"#)
            .unwrap();
    }
    assert_eq!((spool.stats().failed, spool.stats().unshipped), (3, 1));
    let failed = list_failed(path).unwrap();
    assert_eq!(
        failed
            .iter()
            .map(|record| record.event_id)
            .collect::<Vec<_>>(),
        ids
    );
    assert_eq!(
        (failed[0].record.as_bytes(), failed[0].reason.as_str()),
        (&batch[0].payload[..], "conflict")
    );

    assert_eq!(requeue(path, &Selection::Events(vec![ids[1]])).unwrap(), 1);
    assert_eq!(purge(path, &Selection::Events(vec![ids[0]])).unwrap(), 1);
    assert_eq!(requeue(path, &Selection::All).unwrap(), 1);
    let stats = inspect(path).unwrap();
    assert_eq!(
        (stats.failed, stats.requeued, stats.is_running),
        (0, 2, true)
    );
    let requeued = spool.next_requeued(10).unwrap();
    assert_eq!(
        requeued
            .iter()
            .map(|r| (r.record.event_id, r.record.seq))
            .collect::<Vec<_>>(),
        [(ids[1], 2), (ids[2], 3)]
    );
    spool.acknowledge_requeued(&requeued[0]).unwrap();
    spool
        .set_aside_requeued(&requeued[1], "conflict again", "{}")
        .unwrap();
    assert!(spool.next_requeued(10).unwrap().is_empty());
    assert_eq!(list_failed(path).unwrap()[0].reason, "conflict again");
    assert_eq!(purge(path, &Selection::All).unwrap(), 1);
    drop(spool);
    let stats = inspect(path).unwrap();
    assert!(
        !stats.is_running && stats.is_clean && stats.epoch == Some(1) && stats.unshipped == 1,
        "{stats:?}"
    );
}

#[test]
fn many_starts_take_little_room() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..30 {
        let (spool, _) = open(directory.path());
        spool.append_unrecorded(Uuid::now_v7(), b"row").unwrap();
    }
    let (spool, recovery) = open(directory.path());
    assert_eq!((recovery.unshipped, spool.epoch()), (30, 31));
    spool
        .append_intent(Uuid::now_v7(), b"there is room")
        .unwrap();
    assert_eq!(ship_all(&spool).len(), 30);
}

#[test]
fn a_batch_keeps_to_its_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path());
    for _ in 0..10 {
        spool.append_unrecorded(Uuid::now_v7(), &[0; 1000]).unwrap();
    }
    wait(spool.synced(spool.append_unrecorded(Uuid::now_v7(), &[0; 1000]).unwrap())).unwrap();
    let count = |records_max, bytes_max| spool.next_batch(records_max, bytes_max).unwrap().len();
    assert_eq!(
        [
            count(2, 1 << 20),
            count(100, 3000),
            count(100, 10),
            count(100, 1 << 20)
        ],
        [2, 3, 1, 5]
    );
}
