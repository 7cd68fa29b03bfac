//! The body of an ingest request: taken apart, and each record checked before anything is stored.

use farebox_collector::ingest::BATCH_RECORDS_MAX;
use farebox_collector::ingest::body::records;
use farebox_collector::ingest::check::check;
use farebox_fuzz::memory::peak;
use farebox_fuzz::{magnitude, run, signature};
use farebox_pricing::event::Event;

/// Memory a body of this size may take.
const MEMORY_BYTES_MAX: usize = 8 * 1024 * 1024;

const RECORD: &str = include_str!("record.json");

#[test]
fn bodies() {
    let record = RECORD.trim_end();
    check(record).expect("the seed is a good record");
    let seeds = [
        record.to_owned(),
        format!("[{record},{record}]"),
        format!("{record}\n{record}\n"),
        "[]".to_owned(),
    ];
    run(
        "bodies",
        seeds.map(String::into_bytes).into(),
        |input, _| {
            let (seen, grown) = peak(|| {
                let (mut count, mut reasons) = (0, Vec::new());
                let whole = records(input, |read| {
                    count += 1;
                    match read {
                        Ok(checked) => {
                            for (_, quantity) in checked.event.usage.iter() {
                                assert!(!quantity.is_negative());
                            }
                            let printed = serde_json::to_string(&checked.event).unwrap();
                            let again: Event =
                                serde_json::from_str(&printed).expect("what is printed is read");
                            assert_eq!(serde_json::to_string(&again).unwrap(), printed);
                        }
                        Err(refused) => {
                            assert!(!refused.reason.is_empty());
                            // Places and values in a reason are no new way to behave.
                            reasons.push(
                                refused
                                    .reason
                                    .chars()
                                    .filter(|c| c.is_alphabetic())
                                    .take(12)
                                    .collect::<String>(),
                            );
                        }
                    }
                });
                assert!(count <= BATCH_RECORDS_MAX);
                if whole.is_err() {
                    return None;
                }
                reasons.sort();
                reasons.dedup();
                Some((magnitude(reasons.len()), reasons.into_iter().next()))
            });
            assert!(
                grown <= MEMORY_BYTES_MAX,
                "{grown} bytes for {}",
                input.len()
            );
            signature(&seen)
        },
    );
}
