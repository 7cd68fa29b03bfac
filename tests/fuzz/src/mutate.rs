//! Mutations: bytes, ranges, words of the dialects, numbers, and pieces of other inputs.

use crate::INPUT_BYTES_MAX;
use crate::random::Random;

/// Words that decide something in a reader, and values at the edges.
const WORDS: [&str; 64] = [
    "data: ",
    "data:",
    "event: error\n",
    "\n\n",
    "\r\n\r\n",
    "\r",
    ":",
    "id: 1\n",
    "[DONE]",
    "\u{feff}",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "-0",
    "1e400",
    "1e-400",
    "0.5",
    "2147483648",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "\"usage\":",
    "\"choices\":[]",
    "\"type\":\"error\"",
    "\"error\":{}",
    "\"model\":\"\"",
    "\"id\":\"x\"",
    "\"input_tokens\":",
    "\"output_tokens\":",
    "\"prompt_tokens\":",
    "\"total_tokens\":0",
    "\"cached_tokens\":",
    "\"reasoning_tokens\":",
    "\"duration\":",
    "\"usageMetadata\":{}",
    "\"message_start\"",
    "\"message_delta\"",
    "\"response.completed\"",
    "\"message-end\"",
    "content-disposition: form-data; name=\"",
    "filename=\"a\"",
    "--b\r\n",
    "--b--\r\n",
    "HTTP/1.1\r\n",
    "vk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "%2f",
    "%00",
    "..",
    "/t/",
    "farebox-tenant=",
    "\u{1f44b}",
];

/// A seed with a few changes.
#[must_use]
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.one(seeds).clone();
    for _ in 0..=random.below(6) {
        change(&mut input, seeds, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(13) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next().to_le_bytes()[0],
        2 => {
            input.drain(range(input.len(), random));
        }
        3 => {
            let copy = input[range(input.len(), random)].to_vec();
            put(input, at, &copy);
        }
        4 => input.truncate(at),
        5 | 6 => put(input, at, random.one(&WORDS).as_bytes()),
        7 => number(input, at, random),
        8 => {
            let other = random.one(seeds);
            let piece = other[range(other.len(), random)].to_vec();
            put(input, at, &piece);
        }
        9 => behind_quote(input, at, random),
        10 => line_ends(input, random),
        11 => {
            let byte = random.next().to_le_bytes()[0];
            let many = vec![byte; 1 << random.below(13)];
            put(input, at, &many);
        }
        _ => {
            let range = range(input.len(), random);
            input[range].reverse();
        }
    }
}

/// Puts a letter of several bytes or an escape at the beginning of the next text.
fn behind_quote(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let quote = input[at..].iter().position(|byte| *byte == b'"');
    let start = ["\u{1f44b}", "\\\"", "\\\\", "\\u00e9", "\u{e9}"];
    if let Some(gap) = quote {
        put(input, at + gap + 1, random.one(&start).as_bytes());
    }
}

/// Ends all lines as another system does.
fn line_ends(input: &mut Vec<u8>, random: &mut Random) {
    let end = ["\r\n", "\r"][random.below(2)].as_bytes();
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    *input = lines.join(end);
}

fn put(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let tail = input.split_off(at.min(input.len()));
    input.extend_from_slice(piece);
    input.extend_from_slice(&tail);
}

fn range(len: usize, random: &mut Random) -> std::ops::Range<usize> {
    let start = random.below(len + 1);
    let room = (len - start).min(1 << random.below(12));
    start..start + random.below(room + 1)
}

/// Puts another number in the place of the next one.
fn number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = input
        .iter()
        .skip(at)
        .position(u8::is_ascii_digit)
        .map(|gap| at + gap)
    else {
        return;
    };
    let digits = input[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    input.drain(start..start + digits);
    let is_number = |word: &&str| {
        word.bytes().any(|byte| byte.is_ascii_digit())
            && word.bytes().all(|byte| b"0123456789.e-".contains(&byte))
    };
    let numbers: Vec<&str> = WORDS.into_iter().filter(is_number).collect();
    put(input, start, random.one(&numbers).as_bytes());
}
