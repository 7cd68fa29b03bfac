//! The record against what `serde_json` says of the same event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::event::{
    Attribution, Ending, EndpointKind, Environment, PaidBy, Pricing, SCHEMA, Transport,
};
use crate::evidence::Kept;
use crate::id::TenantId;
use crate::money::Usd;
use crate::time::Timestamp;
use crate::usage::{Meter, UsageSource};

/// What an event is made of at random: a choice for each member that may be left out, texts and numbers.
#[derive(Clone, Debug)]
struct Chance {
    present: u64,
    texts: Vec<String>,
    numbers: Vec<u64>,
    at: usize,
}

impl Chance {
    fn is_there(&mut self) -> bool {
        let is_there = self.present & 1 == 1;
        self.present = self.present.rotate_right(1);
        is_there
    }

    fn text(&mut self) -> String {
        self.at += 1;
        self.texts[self.at % self.texts.len()].clone()
    }

    fn some_text(&mut self) -> Option<String> {
        self.is_there().then(|| self.text())
    }

    fn number(&mut self) -> u64 {
        self.at += 1;
        self.numbers[self.at % self.numbers.len()]
    }

    fn some_number(&mut self) -> Option<u64> {
        self.is_there().then(|| self.number())
    }

    fn decimal(&mut self) -> Decimal {
        let scale = (self.number() % 19) as u8;
        Decimal::new(i128::from(self.number()) - (1 << 40), scale).unwrap()
    }

    fn some_decimal(&mut self) -> Option<Decimal> {
        self.is_there().then(|| self.decimal())
    }

    fn some_small(&mut self) -> Option<u32> {
        self.is_there().then(|| self.number() as u32)
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.number(), self.number())
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.number() as usize % all.len()]
    }

    fn usage(&mut self) -> Usage {
        let count = self.number() % 6;
        (0..count)
            .map(|_| (self.one_of(Meter::ALL), self.decimal()))
            .collect()
    }

    fn line(&mut self) -> Line {
        let conditions = self.number() % 3;
        Line {
            model: self.text(),
            conditions: (0..conditions)
                .map(|_| (self.text(), self.text()))
                .collect(),
            usage: self.usage(),
        }
    }

    fn facts(&mut self) -> Facts {
        let mut facts = Facts::default();
        for _ in 0..self.number() % 5 {
            let name = self.text();
            match self.number() % 4 {
                0 => facts.insert(name, self.is_there()),
                1 => facts.insert(name, self.number()),
                2 => facts.insert(name, self.decimal()),
                _ => facts.insert(name, self.text()),
            }
        }
        facts
    }

    fn evidence(&mut self) -> Evidence {
        let objects = self.number() % 3;
        let headers = self.number() % 3;
        Evidence {
            reader_version: 3,
            route: self.some_text().map(Into::into),
            request: self.facts(),
            response: self.facts(),
            objects: (0..objects)
                .map(|_| UsageObject {
                    at: self.text().into(),
                    value: Kept::of(r#"{"a":[1.50,null,"\"x"],"b":{"c":true}}"#).unwrap(),
                })
                .collect(),
            headers: (0..headers).map(|_| (self.text(), self.text())).collect(),
            counts: Counts {
                request_bytes: self.number(),
                response_bytes: self.number(),
                frames: self.number(),
                output_frames: self.number(),
                is_complete: self.is_there(),
                sent_frames: self.some_number().unwrap_or(0),
                audio_bytes: self.some_number().unwrap_or(0),
                output_audio_bytes: self.some_number().unwrap_or(0),
                characters: self.some_number().unwrap_or(0),
                open_ms: self.some_number().unwrap_or(0),
                unseen_ms: self.some_number().unwrap_or(0),
            },
            flags: (0..self.number() % 3).map(|_| self.text().into()).collect(),
        }
    }

    fn event(&mut self) -> Event {
        let labels =
            json!({"a": [1, -2.50, {"b": null}], "c": true, "d\"": "é\n", "e": {}, "f": []});
        let lines = self.number() % 3;
        let objects = self.number() % 3;
        Event {
            event_id: self.id(),
            call_id: self.id(),
            part: 1 + self.some_small().unwrap_or(0) / 2,
            is_final: self.is_there(),
            schema: SCHEMA,
            tenant_id: self
                .is_there()
                .then(|| TenantId::new("acme \"é\" 123").unwrap()),
            plan: self.some_text(),
            customer_id: self.some_text(),
            project: self.some_text(),
            agent: self.some_text(),
            revision: self.some_text(),
            session_id: self.some_text(),
            run_id: self.some_text(),
            span_id: self.some_text(),
            parent_span_id: self.some_text(),
            section: self.some_text(),
            metadata: match self.is_there() {
                true => labels.as_object().unwrap().clone().into_iter().collect(),
                false => BTreeMap::new(),
            },
            synthetic: self.is_there(),
            environment: self.one_of(Environment::ALL),
            attribution: self.one_of(Attribution::ALL),
            key_id: self.is_there().then(|| self.id()),
            credential_id: self.some_text(),
            paid_by: self.one_of(PaidBy::ALL),
            upstream: self.text(),
            provider: self.text().into(),
            endpoint: self.one_of(EndpointKind::ALL),
            region: self.some_text(),
            model_requested: self.some_text(),
            model: self.some_text(),
            service_tier: self.some_text(),
            started_at: Timestamp::from_millis((self.number() % (1 << 42)) as i64),
            ended_at: self
                .some_number()
                .map(|millis| Timestamp::from_millis((millis % (1 << 42)) as i64)),
            ttfb_ms: self.some_decimal(),
            ttft_ms: self.some_decimal(),
            duration_ms: self.some_decimal(),
            overhead_ms: self.some_decimal(),
            status: self.some_number().map(|status| status as u16),
            ending: self.one_of(Ending::ALL),
            streaming: self.is_there(),
            transport: self.one_of(Transport::ALL),
            request_bytes: self.some_number(),
            response_bytes: self.some_number(),
            request_amended: self.is_there(),
            attempt: 1 + self.some_small().unwrap_or(0) / 2,
            client_retry: self.some_small(),
            sanitised: self.is_there(),
            lines: (0..lines).map(|_| self.line()).collect(),
            usage: self.usage(),
            usage_source: self.one_of(&[
                UsageSource::Reported,
                UsageSource::Partial,
                UsageSource::Measured,
                UsageSource::Estimated,
                UsageSource::Pending,
                UsageSource::Missing,
                UsageSource::None,
            ]),
            usage_reason: self.some_text().map(Cow::Owned),
            usage_low: self.is_there().then(|| self.usage()),
            usage_high: self.is_there().then(|| self.usage()),
            evidence: self.is_there().then(|| self.evidence()),
            claimed_usd: self
                .some_number()
                .map(|pico| Usd::from_pico(i128::from(pico))),
            pricing: self.one_of(Pricing::ALL),
            rate_cards: RateCards {
                cost: self.some_text().map(Into::into),
                price: self.some_text().map(Into::into),
            },
            upstream_request_id: self.some_text(),
            response_id: self.some_text(),
            original: self.is_there(),
            objects: (0..objects).map(|_| self.text()).collect(),
            node: self.some_text(),
            epoch: self.some_number(),
            seq: self.some_number(),
            content_sha256: self.some_text(),
        }
    }
}

fn chance() -> impl Strategy<Value = Chance> {
    let text = prop_oneof![any::<String>(), "[a-z0-9_.-]{0,40}"];
    let number = prop_oneof![any::<u64>(), 0..1_000_u64];
    (
        any::<u64>(),
        prop::collection::vec(text, 5..17),
        prop::collection::vec(number, 3..19),
    )
        .prop_map(|(present, texts, numbers)| Chance {
            present,
            texts,
            numbers,
            at: 0,
        })
}

fn written(event: &Event) -> String {
    let mut out = Text::default();
    write(event, &mut out);
    String::from_utf8(out.as_bytes().to_vec()).unwrap()
}

proptest! {
    #[test]
    fn a_record_is_what_serde_json_writes_and_is_read_back_the_same(mut chance in chance()) {
        let event = chance.event();
        let record = written(&event);
        prop_assert_eq!(&record, &serde_json::to_string(&event).unwrap());
        let read: Event = serde_json::from_str(&record).unwrap();
        prop_assert_eq!(written(&read), record);
    }
}
