//! A small fuzzer: mutates seeds, runs a target on each input for a bounded time, keeps what behaved in a
//! new way, and writes down what failed.
//!
//! There is no coverage to go by on stable Rust. In its place a target returns a signature of how it
//! behaved; an input with a new signature becomes a seed. Invariants: an input that failed is in
//! `corpus/<target>/` before the panic goes on, and everything there is run first, each time; a run with the
//! same `FAREBOX_FUZZ_SEED` makes the same inputs as long as no new signature depends on time.

pub mod memory;
pub mod mutate;
pub mod random;

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::mutated;
use random::Random;

/// How long a target runs in the suite, in seconds; `FAREBOX_FUZZ_SECONDS` says otherwise. All targets
/// together stay below a minute on two cores, since the test runner gives each core one at a time.
pub const TARGET_SECONDS: u64 = 5;
/// What the suite begins with, so that it is the same suite for everyone; `make fuzz` draws another.
const SUITE_SEED: u64 = 0xfa4e_b0c5;
/// Largest input.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Most seeds kept in memory; beyond it an old one makes room.
const SEEDS_MAX: usize = 8 * 1024;

/// Runs `target` on mutations of `seeds` until its time is up. It panics where an invariant does not hold
/// and returns a signature of what it saw.
pub fn run(name: &str, seeds: Vec<Vec<u8>>, target: impl Fn(&[u8], &mut Random) -> u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let kept = std::env::var_os("FAREBOX_FUZZ_KEEP").map(|root| PathBuf::from(root).join(name));
    let mut random = Random::new(seed());
    let mut seen = HashSet::new();
    let mut inputs = read_all(&folder);
    inputs.extend(kept.iter().flat_map(|folder| read_all(folder)));
    inputs.extend(seeds);
    assert!(!inputs.is_empty(), "{name} has nothing to begin with");
    for input in &inputs {
        seen.insert(guarded(&folder, input, &mut random, &target));
    }
    let began = Instant::now();
    let bound = Duration::from_secs(seconds());
    let mut runs = 0_u64;
    while began.elapsed() < bound {
        let input = mutated(&inputs, &mut random);
        runs += 1;
        if !seen.insert(guarded(&folder, &input, &mut random, &target)) {
            continue;
        }
        if let Some(folder) = &kept {
            write(folder, "kept", &input);
        }
        if inputs.len() < SEEDS_MAX {
            inputs.push(input);
        } else {
            let at = random.below(inputs.len());
            inputs[at] = input;
        }
    }
    assert!(runs > 0, "{name} had no time to run");
    println!("{name}: {runs} inputs, {} ways to behave", seen.len());
}

/// Runs the target once; what fails is written down first.
fn guarded(
    folder: &Path,
    input: &[u8],
    random: &mut Random,
    target: impl Fn(&[u8], &mut Random) -> u64,
) -> u64 {
    // Where a failure is looked at again, its random choices have to be the same.
    let mut choices = Random::new(signature(&input));
    random.next();
    match catch_unwind(AssertUnwindSafe(|| target(input, &mut choices))) {
        Ok(signature) => signature,
        Err(panic) => {
            let file = write(folder, "failed", input);
            eprintln!("the input is in {}", file.display());
            resume_unwind(panic)
        }
    }
}

/// The hash of anything, as a target's signature.
pub fn signature(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A number as its order of magnitude, so that signatures tell kinds apart and not sizes.
#[must_use]
pub fn magnitude(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}

/// Bytes behind which a reader has to remember something.
const JOINTS: &[u8] = b"\r\n\\\"{[:";

/// The bytes in random pieces, half of the cuts behind a byte that matters.
#[must_use]
pub fn pieces<'a>(bytes: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = (0..random.below(12))
        .map(|_| {
            let at = random.below(bytes.len() + 1);
            let joint = *random.one(JOINTS);
            match random.below(2) {
                0 => at,
                _ => bytes[at..]
                    .iter()
                    .position(|byte| *byte == joint)
                    .map_or(at, |gap| at + gap + 1),
            }
        })
        .collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn seconds() -> u64 {
    number("FAREBOX_FUZZ_SECONDS").unwrap_or(TARGET_SECONDS)
}

fn seed() -> u64 {
    let seed = number("FAREBOX_FUZZ_SEED").unwrap_or(SUITE_SEED);
    println!("FAREBOX_FUZZ_SEED={seed}");
    seed
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
        .iter()
        .filter_map(|file| std::fs::read(file).ok())
        .collect()
}

fn write(folder: &Path, kind: &str, input: &[u8]) -> PathBuf {
    let file = folder.join(format!("{kind}-{:016x}", signature(&input)));
    // A full disk or a read-only checkout must not hide what failed.
    let _ = std::fs::create_dir_all(folder);
    let _ = std::fs::write(&file, input);
    file
}
