//! One file a vendor, and what all of their endpoints share: routes whose usage is not read.

use farebox_pricing::event::EndpointKind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{UsageDraft, UsageSource};

use crate::provider::{Asked, Class, Endpoint, Keeps, Verb};
use crate::socket::Socket;

pub mod anthropic;
pub mod assemblyai;
pub mod azure;
pub mod bedrock;
pub mod cartesia;
pub mod cerebras;
pub mod cohere;
mod compatible;
mod contexts;
pub mod deepgram;
pub mod deepseek;
pub mod elevenlabs;
pub mod facts;
pub mod fireworks;
pub mod gemini;
pub mod groq;
mod images;
pub mod mistral;
pub mod moonshot;
mod ollama;
pub mod openai;
pub mod openrouter;
pub mod perplexity;
pub mod sockets;
mod speech;
mod spoken;
pub mod sums;
pub mod together;
pub mod vertex;
pub mod voyage;
pub mod xai;

/// Version of the readers; evidence carries it, so that a later reader knows what it reads.
pub const READER_VERSION: u32 = 1;

const fn unread(
    verb: Verb,
    path: &'static str,
    kind: EndpointKind,
    class: Class,
    keeps: Keeps,
    usage_of: fn(&Evidence) -> UsageDraft,
) -> Endpoint {
    Endpoint {
        verb,
        path,
        kind,
        class,
        keeps,
        collect: match keeps {
            Keeps::Creates => facts::collect_id,
            _ => Endpoint::DEFAULT.collect,
        },
        request_facts: facts::model_of_request,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A route whose handshake becomes a socket.
pub(crate) const fn socket(
    path: &'static str,
    kind: EndpointKind,
    socket: &'static Socket,
    request_facts: fn(&mut Evidence, &Asked<'_>),
    usage_of: fn(&Evidence) -> UsageDraft,
) -> Endpoint {
    Endpoint {
        verb: Verb::Get,
        path,
        kind,
        socket: Some(socket),
        request_facts,
        usage_of,
        ..Endpoint::DEFAULT
    }
}

/// A route that costs nothing.
pub(crate) const fn free(verb: Verb, path: &'static str) -> Endpoint {
    unread(
        verb,
        path,
        EndpointKind::Other,
        Class::Free,
        Keeps::Nothing,
        nothing_billed,
    )
}

/// A route on things kept by the vendor, itself without a price.
pub(crate) const fn state(verb: Verb, path: &'static str, keeps: Keeps) -> Endpoint {
    unread(
        verb,
        path,
        EndpointKind::Other,
        Class::State,
        keeps,
        nothing_billed,
    )
}

/// A route that makes something kept by the vendor, itself without a price; the `id` of its answer is
/// read, so that what was made has an owner.
pub(crate) const fn created(path: &'static str) -> Endpoint {
    Endpoint {
        path,
        class: Class::State,
        keeps: Keeps::Creates,
        is_read: true,
        collect: facts::collect_id,
        usage_of: nothing_billed,
        ..Endpoint::DEFAULT
    }
}

/// A route on things kept by the vendor that tells or makes usage which is not read.
pub(crate) const fn state_unread(
    verb: Verb,
    path: &'static str,
    keeps: Keeps,
    kind: EndpointKind,
) -> Endpoint {
    unread(verb, path, kind, Class::State, keeps, reader_not_built)
}

/// A route that hands out a way around the meter.
pub(crate) const fn escape(verb: Verb, path: &'static str) -> Endpoint {
    unread(
        verb,
        path,
        EndpointKind::Other,
        Class::Escape,
        Keeps::Nothing,
        reader_not_built,
    )
}

/// A route that costs money and whose usage is not read.
pub(crate) const fn metered_unread(
    verb: Verb,
    path: &'static str,
    kind: EndpointKind,
    keeps: Keeps,
) -> Endpoint {
    unread(verb, path, kind, Class::Metered, keeps, reader_not_built)
}

fn nothing_billed(_evidence: &Evidence) -> UsageDraft {
    UsageDraft {
        source: UsageSource::None,
        ..UsageDraft::default()
    }
}

fn reader_not_built(evidence: &Evidence) -> UsageDraft {
    facts::refused(evidence).unwrap_or(UsageDraft {
        source: UsageSource::Missing,
        reason: Some("reader_not_built"),
        ..UsageDraft::default()
    })
}
