//! Deepgram: `GET /v1/projects/{id}/requests` (call by call, with the dollars), `…/usage/breakdown` and
//! `…/billing/breakdown` (by day, grouped as asked).

use farebox_pricing::money::Decimal;
use serde_json::Value;

use super::{Vendor, VendorLine, day, list, number, text};

pub(super) static VENDOR: Vendor = Vendor {
    name: "deepgram",
    read,
    folds: &[],
};

const SECONDS_AN_HOUR: u64 = 3_600;

fn read(documents: &[Value]) -> Result<Vec<VendorLine>, String> {
    let mut lines = Vec::new();
    for document in documents {
        for request in list(document, "requests")
            .iter()
            .chain(document.get("request"))
        {
            lines.extend(call(request)?);
        }
        for result in list(document, "results") {
            breakdown(document, result, &mut lines)?;
        }
    }
    Ok(lines)
}

/// One call: seconds of audio where it listened, and its cost.
fn call(request: &Value) -> Result<Option<VendorLine>, String> {
    let id = text(request, "request_id").ok_or("a request has no request_id")?;
    let Some(details) = request
        .get("response")
        .and_then(|answer| answer.get("details"))
    else {
        return Ok(None);
    };
    let cost_usd = number(details, "usd")?;
    let seconds = number(details, "duration")?.or(number(details, "total_audio")?);
    let path = text(request, "path").unwrap_or("listen");
    let is_listen = path.contains("listen");
    // Channels are billed apart only where the caller asked for it.
    let channels = number(details, "channels")?.filter(|_| path.contains("multichannel=true"));
    let channels = channels.unwrap_or(Decimal::from(1));
    let seconds = seconds
        .filter(|_| is_listen)
        .and_then(|seconds| seconds.checked_mul(channels));
    if seconds.is_none() && cost_usd.is_none() {
        return Ok(None);
    }
    let meter = if seconds.is_some() {
        "audio_seconds"
    } else {
        super::super::COST
    };
    Ok(Some(VendorLine {
        day: text(request, "created").and_then(day),
        id: Some(id.to_owned()),
        key: text(request, "api_key_id").map(str::to_owned),
        meter: meter.to_owned(),
        quantity: seconds,
        cost_usd,
        ..VendorLine::default()
    }))
}

fn breakdown(document: &Value, result: &Value, lines: &mut Vec<VendorLine>) -> Result<(), String> {
    let none = Value::Null;
    let grouping = result.get("grouping").unwrap_or(&none);
    // Without a resolution in days the whole span is one result.
    let start = text(grouping, "start").or_else(|| text(document, "start"));
    let day = start.and_then(day).ok_or("a result has no start")?;
    let of_line_item = |item: &str| item.rsplit("::").next().unwrap_or(item).to_owned();
    let model = list(grouping, "models").first().and_then(Value::as_str);
    let model = model.map(str::to_owned);
    let model = model.or_else(|| text(grouping, "line_item").map(of_line_item));
    let base = VendorLine {
        day: Some(day),
        key: text(grouping, "accessor").map(str::to_owned),
        model,
        ..VendorLine::default()
    };
    if let Some(dollars) = number(result, "dollars")? {
        lines.push(VendorLine {
            meter: super::super::COST.to_owned(),
            cost_usd: Some(dollars),
            ..base
        });
        return Ok(());
    }
    let hours = |name| {
        let hours = number(result, name)?;
        Ok::<_, String>(hours.and_then(|hours| hours.checked_mul(Decimal::from(SECONDS_AN_HOUR))))
    };
    let quantities = [
        ("audio_seconds", hours("total_hours")?.or(hours("hours")?)),
        ("session_seconds", hours("agent_hours")?),
        ("input_tokens", number(result, "tokens_in")?),
        ("output_tokens", number(result, "tokens_out")?),
        ("characters", number(result, "tts_characters")?),
        ("calls", number(result, "requests")?),
    ];
    for (meter, quantity) in quantities {
        if quantity.is_some_and(|quantity| !quantity.is_zero()) {
            lines.push(VendorLine {
                meter: meter.to_owned(),
                quantity,
                ..base.clone()
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn calls_and_breakdowns_are_read() {
        let requests = r#"{"page":0,"limit":10,"requests":[
            {"request_id":"r-1","created":"2026-11-01T10:00:00.000Z","path":"/v1/listen?model=nova-3","api_key_id":"k",
             "response":{"details":{"usd":0.0124,"duration":173.0,"channels":2,"streams":1},"code":200}},
            {"request_id":"r-3","created":"2026-11-01T10:00:00.000Z","path":"/v1/listen?multichannel=true",
             "response":{"details":{"usd":0.1,"duration":10.0,"channels":2},"code":200}},
            {"request_id":"r-2","created":"2026-11-01T10:00:01.000Z","path":"/v1/listen","response":{"code":400}}]}"#;
        let read = super::super::read("deepgram", &[requests.to_owned()]).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].quantity.unwrap().to_string(), "20");
        assert_eq!(read[0].id.as_deref(), Some("r-1"));
        assert_eq!(read[0].quantity.unwrap().to_string(), "173");
        assert_eq!(read[0].cost_usd.unwrap().to_string(), "0.0124");

        let usage = r#"{"start":"2026-11-01","end":"2026-11-02","resolution":{"units":"day","amount":1},"results":[
            {"hours":1.5,"total_hours":1.5,"agent_hours":0,"tokens_in":0,"tokens_out":0,"tts_characters":12,"requests":3,
             "grouping":{"start":"2026-11-01","end":"2026-11-02","models":["nova-3"]}}]}"#;
        let read = super::super::read("deepgram", &[usage.to_owned()]).unwrap();
        let found: Vec<_> = (read.iter())
            .map(|line| (line.meter.as_str(), line.quantity.unwrap().to_string()))
            .collect();
        let expect = |meter, quantity: &str| (meter, quantity.to_owned());
        assert_eq!(
            found,
            [
                expect("audio_seconds", "5400"),
                expect("characters", "12"),
                expect("calls", "3")
            ]
        );

        let billing = r#"{"start":"2026-11-01","end":"2026-11-02","results":[
            {"dollars":0.25,"grouping":{"start":"2026-11-01","line_item":"streaming::nova-3"}}]}"#;
        let read = super::super::read("deepgram", &[billing.to_owned()]).unwrap();
        assert_eq!(read[0].model.as_deref(), Some("nova-3"));
        assert_eq!(read[0].meter, "cost");
    }
}
