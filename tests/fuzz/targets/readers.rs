//! Every endpoint's reader: mutated requests and answers in, a draft out that is never negative, never
//! depends on the pieces, and is the same when its stored evidence is read again.

use bytes::Bytes;
use farebox_fuzz::memory::peak;
use farebox_fuzz::random::Random;
use farebox_fuzz::{magnitude, pieces, run, signature};
use farebox_pricing::evidence::{EVIDENCE_BYTES_MAX, Evidence};
use farebox_pricing::usage::{Usage, UsageDraft};
use farebox_proxy::provider::{ALL, Asked, Endpoint};
use farebox_proxy::reader::Reader;

use crate::seeds::{Exchange, exchanges};

/// Memory a reader may take for an input of this size, copies of frames and parsed values among it.
const MEMORY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What must hold of every draft.
pub(crate) fn check(draft: &UsageDraft) -> u64 {
    let mut meters = Vec::new();
    for line in &draft.lines {
        for (meter, quantity) in line.usage.iter() {
            assert!(!quantity.is_negative(), "{meter:?} {quantity:?}");
            meters.push(meter.name());
        }
    }
    let both = |low: &Usage, high: &Usage| {
        for (meter, quantity) in low.iter() {
            assert!(!quantity.is_negative());
            let high = high
                .quantity(meter)
                .expect("a bound above where there is one below");
            assert!(
                !high
                    .checked_sub(quantity)
                    .expect("bounds are near")
                    .is_negative(),
                "{meter:?}"
            );
        }
    };
    if let (Some(low), Some(high)) = (&draft.low, &draft.high) {
        both(low, high);
    }
    let kind = format!("{:?} {:?}", draft.source, draft.reason);
    signature(&(meters, kind, draft.lines.len()))
}

pub(crate) fn read(
    exchange: &Exchange,
    request: &[u8],
    answer: &[&[u8]],
) -> (Evidence, UsageDraft) {
    let mut evidence = Evidence::default();
    evidence.counts.request_bytes = request.len() as u64;
    let asked = Asked {
        path: &exchange.path,
        query: exchange.query.as_deref(),
        content_type: exchange.request_type.as_deref(),
        body: Some(request),
    };
    (exchange.endpoint.request_facts)(&mut evidence, &asked);
    let content_type = Some(exchange.content_type.as_str());
    let mut reader = Reader::new(
        exchange.endpoint,
        evidence,
        exchange.status,
        content_type,
        None,
    );
    for piece in answer {
        reader.push(&Bytes::copy_from_slice(piece));
    }
    let evidence = reader.finish(true);
    let draft = exchange.endpoint.draft(&evidence);
    (evidence, draft)
}

/// The input is the number of an exchange, how its request is told from its answer, and both.
fn input(number: usize, exchange: &Exchange) -> Vec<u8> {
    let mut input = u16::try_from(number).unwrap().to_be_bytes().to_vec();
    input.extend(u16::try_from(exchange.request.len()).unwrap().to_be_bytes());
    input.extend(&exchange.request);
    input.extend(&exchange.answer);
    input
}

fn parse<'a>(input: &'a [u8], all: &'a [Exchange]) -> Option<(&'a Exchange, &'a [u8], &'a [u8])> {
    let (number, rest) = input.split_first_chunk::<2>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let exchange = &all[usize::from(u16::from_be_bytes(*number)) % all.len()];
    let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
    let (request, answer) = rest.split_at(len);
    Some((exchange, request, answer))
}

#[test]
fn answers() {
    let all: Vec<Exchange> = exchanges()
        .into_iter()
        .filter(|exchange| {
            exchange.endpoint.is_read
                && exchange.request.len() < 30_000
                && exchange.answer.len() < 30_000
        })
        .collect();
    let seeds = all
        .iter()
        .enumerate()
        .map(|(number, exchange)| input(number, exchange))
        .collect();
    run("answers", seeds, |input, random| {
        let Some((exchange, request, answer)) = parse(input, &all) else {
            return 0;
        };
        let ((evidence, draft), grown) = peak(|| read(exchange, request, &[answer]));
        assert!(
            grown <= MEMORY_BYTES_MAX,
            "{grown} bytes for {}",
            input.len()
        );
        let (_, cut) = read(exchange, request, &pieces(answer, random));
        assert_eq!(draft, cut, "the usage depends on the pieces");
        let stored = serde_json::to_string(&evidence).unwrap();
        assert!(stored.len() <= EVIDENCE_BYTES_MAX);
        let reread: Evidence = serde_json::from_str(&stored).unwrap();
        assert_eq!(
            exchange.endpoint.draft(&reread),
            draft,
            "read again it is another"
        );
        signature(&(exchange.endpoint.path, check(&draft)))
    });
}

/// Evidence as it is stored, mutated: what `reread` may meet.
#[test]
fn stored_evidence() {
    let endpoints: Vec<&'static Endpoint> = ALL
        .iter()
        .flat_map(|provider| provider.endpoints)
        .filter(|endpoint| endpoint.is_read || endpoint.socket.is_some())
        .collect();
    let all = exchanges();
    let seeds: Vec<Vec<u8>> = all
        .iter()
        .map(|exchange| {
            let (evidence, _) = read(exchange, &exchange.request, &[&exchange.answer]);
            let at = endpoints
                .iter()
                .position(|endpoint| std::ptr::eq(*endpoint, exchange.endpoint));
            let number = u16::try_from(at.unwrap_or_default()).unwrap().to_be_bytes();
            [
                &number[..],
                serde_json::to_string(&evidence).unwrap().as_bytes(),
            ]
            .concat()
        })
        .collect();
    run("stored_evidence", seeds, |input, _: &mut Random| {
        let Some((number, stored)) = input.split_first_chunk::<2>() else {
            return 0;
        };
        let endpoint = endpoints[usize::from(u16::from_be_bytes(*number)) % endpoints.len()];
        match serde_json::from_slice::<Evidence>(stored) {
            // What was tampered with may say anything; the collector takes no negative quantity.
            Ok(evidence) => {
                let draft = endpoint.draft(&evidence);
                let kind = format!("{:?} {:?}", draft.source, draft.reason);
                signature(&(endpoint.path, kind, draft.lines.len()))
            }
            Err(error) => signature(&(magnitude(error.column()), error.is_eof())),
        }
    });
}
