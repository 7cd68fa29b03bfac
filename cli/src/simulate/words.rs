//! What the simulated upstream says, and how it counts tokens: four characters each, rounded up.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Content chunks of an answer whose caller did not say: this many and up to twice as many.
const WORDS_MIN: u64 = 12;

const VOCABULARY: [&str; 16] = [
    "every ", "token ", "has ", "its ", "row, ", "each ", "row ", "a ", "price, ", "and ", "no ",
    "cent ", "is ", "lost ", "between ", "them. ",
];

/// Numbers that follow from the request's bytes, so that the same request is served the same.
pub(super) struct Seed([u8; 32]);

impl Seed {
    pub(super) fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// A number below `bound`, which must not be zero.
    pub(super) fn below(&self, bound: u64) -> u64 {
        u64::from(self.0[0]) % bound
    }

    /// Short hexadecimal text.
    pub(super) fn hex(&self) -> String {
        self.0[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Unlike any other: two equal requests are two calls, also when the simulated upstream was
    /// started again in between.
    pub(super) fn unique_id(&self) -> String {
        static STARTED: LazyLock<u128> = LazyLock::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.unwrap_or_default().as_millis()
        });
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        format!("{}{:x}{number:06x}", self.hex(), *STARTED)
    }
}

/// Tokens of a text.
pub(super) fn text_tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

/// The answer, a word a token.
pub(super) fn words(seed: &Seed, count: Option<usize>) -> Vec<String> {
    let count = count.unwrap_or_else(|| (WORDS_MIN + seed.below(WORDS_MIN)) as usize);
    (0..count)
        .map(|index| VOCABULARY[index % VOCABULARY.len()].to_owned())
        .collect()
}
