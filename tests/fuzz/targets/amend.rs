//! The one amendment: the splice into a request, and its removal from the answer.

use bytes::Bytes;
use farebox_fuzz::{magnitude, pieces, run, signature};
use farebox_proxy::amend::{UsageStripper, ask_for_stream_usage};

use crate::seeds;

#[test]
fn asking() {
    run("asking", seeds::requests("json"), |input, _| {
        let Some(splice) = ask_for_stream_usage(input) else {
            return signature(&input.first());
        };
        let amended = splice.apply(&Bytes::copy_from_slice(input));
        assert_eq!(
            amended.len(),
            input.len() - splice.remove + splice.insert.len()
        );
        // What is no JSON is found out by the upstream, with the option or without.
        if serde_json::from_slice::<serde_json::Value>(input).is_err() {
            return signature(&splice.remove);
        }
        assert!(ask_for_stream_usage(&amended).is_none(), "asked twice");
        let asked: serde_json::Value =
            serde_json::from_slice(&amended).expect("still one JSON text");
        assert_eq!(
            asked["stream_options"]["include_usage"],
            serde_json::Value::Bool(true)
        );
        signature(&(splice.remove, magnitude(splice.insert.len())))
    });
}

#[test]
fn stripping() {
    run("stripping", seeds::answers("sse"), |input, random| {
        let strip = |pieces: &[&[u8]]| {
            let mut stripper = UsageStripper::new();
            let mut out: Vec<Bytes> = Vec::new();
            for piece in pieces {
                stripper.push(Bytes::copy_from_slice(piece), &mut out);
            }
            stripper.finish(&mut out);
            out.concat()
        };
        let whole = strip(&[input]);
        assert_eq!(
            whole,
            strip(&pieces(input, random)),
            "what is left depends on the pieces"
        );
        assert!(whole.len() <= input.len());
        let speaks_of_usage = input.windows(5).any(|window| window == b"usage");
        if !speaks_of_usage {
            assert_eq!(whole, input, "nothing was to be removed");
        }
        signature(&(
            speaks_of_usage,
            magnitude(input.len() - whole.len()),
            magnitude(whole.len()),
        ))
    });
}
