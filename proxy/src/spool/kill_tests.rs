//! A real process that appends, ships and prints what it was promised, killed again and again.
//!
//! The child is this test binary once more. It prints a line after an append has returned and before an
//! acknowledgement is given; the parent kills it at a line of its choice and believes only the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use uuid::Uuid;

use super::*;

const DIRECTORY_VARIABLE: &str = "FAREBOX_TEST_SPOOL";
const CYCLES: u64 = 25;
const LINES_MAX: u64 = 3000;
const THREADS: usize = 2;

fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 64 << 10,
        bytes_max: 1 << 20,
        settlement_bytes_max: 2048,
        sync_interval: Duration::from_millis(2),
        ..SpoolOptions::default()
    }
}

/// A payload that its event's id alone decides, so that a made-up one shows.
fn payload(kind: &str, id: Uuid) -> Vec<u8> {
    let length = 20 + (id.as_u128() % 1200) as usize;
    format!("{kind} {id} ")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(length)
        .collect()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("@{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("the parent listens");
}

/// Does nothing unless it is the child.
#[test]
fn child_appends() {
    let Ok(directory) = std::env::var(DIRECTORY_VARIABLE) else {
        return;
    };
    let (spool, recovery) = Spool::open(Path::new(&directory), options()).expect("the spool opens");
    for orphan in recovery.orphans {
        let id = orphan.ticket.event_id();
        assert_eq!(orphan.intent.as_deref(), Some(&payload("intent", id)[..]));
        spool
            .append_settlement(orphan.ticket, &payload("settlement", id))
            .expect("there is room");
        say(&format!("S {id}"));
    }
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| call_for_ever(&spool));
        }
        ship_for_ever(&spool);
    });
}

fn call_for_ever(spool: &Spool) {
    loop {
        let mut id = Uuid::now_v7();
        let Ok(mut ticket) = spool.append_intent(id, &payload("intent", id)) else {
            std::thread::yield_now();
            continue;
        };
        say(&format!("I {id}"));
        if id.as_u128().is_multiple_of(3) {
            let next = Uuid::now_v7();
            let (settlement, intent) = (payload("settlement", id), payload("intent", next));
            match spool.append_settlement_and_intent(ticket, &settlement, next, &intent) {
                Ok((_, next_ticket)) => {
                    say(&format!("S {id}"));
                    say(&format!("I {next}"));
                    (ticket, id) = (next_ticket, next);
                }
                Err(unsettled) => ticket = unsettled.ticket,
            }
        }
        spool
            .append_settlement(ticket, &payload("settlement", id))
            .expect("there is room");
        say(&format!("S {id}"));
    }
}

fn ship_for_ever(spool: &Spool) {
    loop {
        let batch = spool
            .next_batch(50, 1 << 20)
            .expect("the segments are readable");
        for spooled in &batch {
            assert_eq!(spooled.payload, payload("settlement", spooled.event_id));
            say(&format!(
                "A {} {} {}",
                spooled.event_id, spooled.epoch, spooled.seq
            ));
        }
        spool.acknowledge(
            &batch
                .iter()
                .map(|spooled| spooled.position)
                .collect::<Vec<_>>(),
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_process_keeps_every_promise() {
    let directory = tempfile::tempdir().unwrap();
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut intents = BTreeSet::new();
    let mut settled = BTreeSet::new();
    let mut shipped: BTreeMap<Uuid, (u64, u64)> = BTreeMap::new();
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                &format!("{module}::child_appends"),
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIRECTORY_VARIABLE, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let kill_at = 1 + RandomState::new().hash_one(cycle) % LINES_MAX;
        let mut lines = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(said) = line.split_once('@').map(|(_, said)| said) else {
                continue;
            };
            let mut words = said.split(' ');
            let (kind, id) = (
                words.next().unwrap(),
                words.next().map(|id| Uuid::parse_str(id).unwrap()),
            );
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let id = id.expect("every line names its event");
            match kind {
                "I" => assert!(intents.insert(id)),
                "S" => assert!(settled.insert(id), "{id} was settled twice"),
                _ => {
                    let numbers = (number(), number());
                    // Delivered again after a kill: the same record.
                    assert_eq!(*shipped.entry(id).or_insert(numbers), numbers);
                }
            }
            lines += 1;
            if lines == kill_at {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            lines >= kill_at,
            "the child of cycle {cycle} died by itself"
        );
    }

    let (spool, recovery) = Spool::open(directory.path(), options()).unwrap();
    let mut open = BTreeSet::new();
    for orphan in &recovery.orphans {
        let id = orphan.ticket.event_id();
        assert_eq!(orphan.latest(), Some(&payload("intent", id)[..]));
        open.insert(id);
    }
    for spooled in spool.next_batch(usize::MAX, usize::MAX).unwrap() {
        assert_eq!(spooled.payload, payload("settlement", spooled.event_id));
        let numbers = (spooled.epoch, spooled.seq);
        assert_eq!(*shipped.entry(spooled.event_id).or_insert(numbers), numbers);
    }
    for id in &settled {
        assert!(
            shipped.contains_key(id) && !open.contains(id),
            "the settlement of {id} is lost"
        );
    }
    for id in &intents {
        assert!(
            shipped.contains_key(id) || open.contains(id),
            "the intent of {id} is lost"
        );
    }
    let mut numbers: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for (epoch, seq) in shipped.values() {
        assert!(
            numbers.entry(*epoch).or_default().insert(*seq),
            "number {seq} of {epoch} is there twice"
        );
    }
    for (epoch, seqs) in &numbers {
        let expected: BTreeSet<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(*seqs, expected, "the numbers of epoch {epoch} have gaps");
    }
    assert!(settled.len() > 100 && recovery.damaged == 0);
}
