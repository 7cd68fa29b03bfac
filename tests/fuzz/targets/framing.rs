//! Framings: from bytes to frames, the same however the bytes are cut, within a bound of memory.

use farebox_fuzz::memory::peak;
use farebox_fuzz::random::Random;
use farebox_fuzz::{magnitude, pieces, run, signature};
use farebox_proxy::framing::array::ArrayFraming;
use farebox_proxy::framing::aws::AwsFraming;
use farebox_proxy::framing::json;
use farebox_proxy::framing::lines::LinesFraming;
use farebox_proxy::framing::multipart::{self, Form};
use farebox_proxy::framing::prune::{PRUNED_BYTES_MAX, Pruner};
use farebox_proxy::framing::sse::SseFraming;

use crate::seeds;

/// Memory a framing may take for an input, beside what the test keeps of its frames.
const MEMORY_BYTES_MAX: usize = 1024 * 1024;

/// Frames and how it ended, of the whole and of its pieces: they must be the same.
fn split(
    input: &[u8],
    random: &mut Random,
    frames: impl Fn(&[&[u8]]) -> (Vec<Vec<u8>>, String),
) -> u64 {
    let (whole, grown) = peak(|| frames(&[input]));
    let cut = frames(&pieces(input, random));
    assert_eq!(whole, cut, "the frames depend on the pieces");
    let kept: usize = whole
        .0
        .iter()
        .map(|frame| frame.len() + size_of::<Vec<u8>>() * 2)
        .sum();
    assert!(
        grown <= MEMORY_BYTES_MAX + kept * 2 + input.len() * 4,
        "{grown} bytes for {}",
        input.len()
    );
    signature(&(magnitude(whole.0.len()), magnitude(kept), whole.1))
}

#[test]
fn events() {
    run("events", seeds::answers("sse"), |input, random| {
        split(input, random, |pieces| {
            let mut frames: Vec<Vec<u8>> = Vec::new();
            let mut framing = SseFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |frame| frames.push(frame.to_vec()));
            }
            let skipped = framing.finish(&mut |frame| frames.push(frame.to_vec()));
            (frames, format!("{skipped}"))
        })
    });
}

#[test]
fn lines() {
    run("lines", seeds::answers("jsonl"), |input, random| {
        split(input, random, |pieces| {
            let mut frames: Vec<Vec<u8>> = Vec::new();
            let mut framing = LinesFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |frame| frames.push(frame.to_vec()));
            }
            let ended = framing.finish(&mut |frame| frames.push(frame.to_vec()));
            (frames, format!("{ended:?}"))
        })
    });
}

#[test]
fn elements() {
    let mut seeds = seeds::answers("json");
    seeds.retain(|seed| seed.starts_with(b"["));
    run("elements", seeds, |input, random| {
        split(input, random, |pieces| {
            let mut frames: Vec<Vec<u8>> = Vec::new();
            let mut framing = ArrayFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |frame| frames.push(frame.to_vec()));
            }
            (frames, format!("{:?}", framing.finish()))
        })
    });
}

#[test]
fn messages() {
    run("messages", seeds::answers("aws"), |input, random| {
        split(input, random, |pieces| {
            let mut frames: Vec<Vec<u8>> = Vec::new();
            let mut framing = AwsFraming::default();
            for piece in pieces {
                framing.push(piece, &mut |frame| frames.push(frame.to_vec()));
            }
            (frames, format!("{:?}", framing.finish()))
        })
    });
}

#[test]
fn forms() {
    run("forms", seeds::requests("form"), |input, random| {
        split(input, random, |pieces| {
            let mut form = Form::default();
            let mut copy = Form::default();
            for piece in pieces {
                form.push(piece);
                copy.push(piece);
            }
            let parts = form.finish();
            // What is written again says the same of the fields.
            let again = multipart::parts(&copy.written());
            let texts = |parts: &[multipart::Part]| -> Vec<Option<String>> {
                parts
                    .iter()
                    .map(|part| part.text().map(str::to_owned))
                    .collect()
            };
            assert_eq!(texts(&parts), texts(&again));
            (Vec::new(), format!("{parts:?}"))
        })
    });
}

#[test]
fn json_texts() {
    let mut seeds = seeds::answers("json");
    seeds.extend(seeds::requests("json"));
    run("json_texts", seeds, |input, random| {
        let pruned = |pieces: &[&[u8]]| {
            let mut pruner = Pruner::default();
            pieces.iter().for_each(|piece| pruner.push(piece));
            pruner.finish()
        };
        let (whole, grown) = peak(|| pruned(&[input]));
        assert_eq!(
            whole,
            pruned(&pieces(input, random)),
            "what is left depends on the pieces"
        );
        assert!(grown <= PRUNED_BYTES_MAX);
        let is_json = serde_json::from_slice::<serde_json::Value>(input).is_ok();
        if let (true, Some(left)) = (is_json, &whole) {
            serde_json::from_slice::<serde_json::Value>(left)
                .expect("what is left of a JSON text is one");
            assert!(left.len() <= input.len() + input.len() * 4);
        }
        let names = ["usage", "id", "model"];
        let picked = json::pick(input, names).map(|picked| format!("{picked:?}").len());
        signature(&(
            is_json,
            whole.map(|left| magnitude(left.len())),
            picked.map(magnitude),
        ))
    });
}
