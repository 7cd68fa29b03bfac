//! The Deepgram side: `POST /v1/listen`, whose duration is that of the audio received.
//!
//! WAV says its own byte rate; anything else is taken as 16-bit linear PCM of the query's
//! `sample_rate` and `channels`. Durations are whole microseconds: no float is near them.

use std::collections::BTreeMap;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

use super::answer::Answer;
use super::truth::Served;
use super::words::Seed;

/// Bytes of the audio kept to find a WAV header in.
const HEADER_BYTES: usize = 4_096;
/// Most audio taken; above it 413.
const AUDIO_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// What the vendor takes when the query names no model.
const DEFAULT_MODEL: &str = "base-general";
/// Length of audio that is given by URL: nothing is fetched.
const URL_MICROS: u64 = 12_345_678;

pub(super) fn error(status: u16, message: &str) -> Answer {
    let code = match status {
        401 => "INVALID_AUTH",
        404 => "NOT_FOUND",
        429 => "TOO_MANY_REQUESTS",
        400..500 => "Bad Request",
        _ => "INTERNAL_SERVER_ERROR",
    };
    Answer::json(
        status,
        &json!({"err_code": code, "err_msg": message, "request_id": "simulated"}),
    )
}

/// What the query asks for.
struct Query {
    model: String,
    language: Option<String>,
    is_multichannel: bool,
    sample_rate: u64,
    channels: u64,
}

impl Query {
    fn of(query: &str) -> Self {
        let mut parsed = Self {
            model: DEFAULT_MODEL.to_owned(),
            language: None,
            is_multichannel: false,
            sample_rate: 16_000,
            channels: 1,
        };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "model" => parsed.model = value.to_owned(),
                "language" => parsed.language = Some(value.to_owned()),
                "multichannel" => parsed.is_multichannel = value.eq_ignore_ascii_case("true"),
                "sample_rate" => parsed.sample_rate = positive(value, parsed.sample_rate),
                "channels" => parsed.channels = positive(value, parsed.channels),
                _ => {}
            }
        }
        parsed
    }
}

fn positive(text: &str, otherwise: u64) -> u64 {
    text.parse()
        .ok()
        .filter(|value| *value > 0)
        .unwrap_or(otherwise)
}

/// `POST /v1/listen`.
pub(super) async fn listen(query: &str, headers: &HeaderMap, mut body: Incoming) -> Answer {
    let query = Query::of(query);
    let mut start: Vec<u8> = Vec::new();
    let mut bytes: u64 = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return error(400, "The audio broke off.");
        };
        let Some(chunk) = frame.data_ref() else {
            continue;
        };
        bytes += chunk.len() as u64;
        if bytes > AUDIO_BYTES_MAX {
            return error(
                413,
                "The audio is larger than the simulated upstream reads.",
            );
        }
        let room = HEADER_BYTES.saturating_sub(start.len()).min(chunk.len());
        start.extend_from_slice(&chunk[..room]);
    }
    let is_url = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let audio = if is_url {
        Audio {
            micros: URL_MICROS,
            channels: 1,
        }
    } else if bytes == 0 {
        return error(400, "The request holds no audio.");
    } else {
        Audio::of(&start, bytes, &query)
    };
    whole_answer(&query, &audio, &Seed::of(&start))
}

struct Audio {
    micros: u64,
    channels: u64,
}

impl Audio {
    fn of(start: &[u8], bytes: u64, query: &Query) -> Self {
        let (audio_bytes, bytes_per_second, channels) = match wav_format(start) {
            Some(wav) => (
                wav.audio_bytes.min(bytes - wav.header_bytes),
                wav.bytes_per_second,
                wav.channels,
            ),
            None => (
                bytes,
                query.sample_rate * query.channels * 2,
                query.channels,
            ),
        };
        let micros = u128::from(audio_bytes) * 1_000_000 / u128::from(bytes_per_second.max(1));
        Self {
            micros: u64::try_from(micros).unwrap_or(u64::MAX),
            channels: channels.max(1),
        }
    }
}

struct Wav {
    header_bytes: u64,
    audio_bytes: u64,
    bytes_per_second: u64,
    channels: u64,
}

/// Walks the RIFF chunks up to `data`.
fn wav_format(start: &[u8]) -> Option<Wav> {
    let u32_at = |at: usize| {
        let bytes: [u8; 4] = start.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    if start.get(..4)? != b"RIFF" || start.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at = 12;
    let mut format = None;
    loop {
        let size = u32_at(at + 4)?;
        match start.get(at..at + 4)? {
            b"fmt " => {
                let channels: [u8; 2] = start.get(at + 10..at + 12)?.try_into().ok()?;
                format = Some((
                    u64::from(u16::from_le_bytes(channels)),
                    u64::from(u32_at(at + 16)?),
                ));
            }
            b"data" => {
                let (channels, bytes_per_second) = format?;
                return Some(Wav {
                    header_bytes: at as u64 + 8,
                    audio_bytes: u64::from(size),
                    bytes_per_second,
                    channels,
                });
            }
            _ => {}
        }
        // Chunks are padded to an even length.
        at += 8 + usize::try_from(size).ok()?.checked_next_multiple_of(2)?;
    }
}

/// Microseconds as decimal seconds.
fn seconds_text(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn whole_answer(query: &Query, audio: &Audio, seed: &Seed) -> Answer {
    let request_id = format!("sim-{}", seed.unique_id());
    let billed_channels = if query.is_multichannel {
        audio.channels
    } else {
        1
    };
    let heard = if query.is_multichannel {
        audio.channels
    } else {
        1
    };
    let channels: Vec<Value> = (0..heard)
        .map(|_| {
            json!({"alternatives": [{
                "transcript": "this is simulated speech",
                "confidence": 1,
                "words": [],
            }]})
        })
        .collect();
    let duration: Value = serde_json::from_str(&seconds_text(audio.micros)).unwrap_or(Value::Null);
    let mut conditions = BTreeMap::from([("mode", "prerecorded".to_owned())]);
    if let Some(language) = &query.language {
        conditions.insert("language", language.clone());
    }
    let served = Served {
        provider: "deepgram",
        model: query.model.clone(),
        response_id: request_id.clone(),
        conditions,
        usage: BTreeMap::from([(
            "audio_seconds",
            seconds_text(audio.micros.saturating_mul(billed_channels)),
        )]),
        is_finished: false,
    };
    Answer::json(
        200,
        &json!({
            "metadata": {
                "transaction_key": "deprecated",
                "request_id": request_id,
                "sha256": seed.hex(),
                "created": "2026-11-22T00:00:00.000Z",
                "duration": duration,
                "channels": audio.channels,
                "models": ["simulated"],
                "model_info": {"simulated": {
                    "name": query.model,
                    "version": "2026-01-01.0",
                    "arch": query.model,
                }},
            },
            "results": {"channels": channels},
        }),
    )
    .with_header("dg-request-id", &request_id)
    .serving(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(channels: u16, rate: u32, audio_bytes: u32) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend((rate * u32::from(channels) * 2).to_le_bytes());
        bytes.extend([4, 0, 16, 0]);
        bytes.extend(b"data");
        bytes.extend(audio_bytes.to_le_bytes());
        bytes.resize(bytes.len() + audio_bytes as usize, 0);
        bytes
    }

    #[test]
    fn takes_the_duration_from_the_wav_header() {
        let bytes = wav(2, 8_000, 33_000);
        let audio = Audio::of(&bytes[..44], bytes.len() as u64, &Query::of(""));
        assert_eq!((audio.micros, audio.channels), (1_031_250, 2));
    }

    #[test]
    fn takes_anything_else_as_linear_pcm_of_the_query() {
        let audio = Audio::of(&[0; 8], 96_000, &Query::of("sample_rate=48000&channels=1"));
        assert_eq!(seconds_text(audio.micros), "1");
    }

    #[test]
    fn a_truncated_header_is_no_wav() {
        let bytes = wav(1, 8_000, 4);
        for length in 0..44 {
            assert!(wav_format(&bytes[..length]).is_none(), "{length}");
        }
    }
}
