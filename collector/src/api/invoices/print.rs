//! An invoice as a table for machines and as a page for people. Texts of others (models, tenants,
//! reasons) are escaped for where they stand.

use std::fmt::Write;

use super::WholeInvoice;
use crate::csv::push_row;
use crate::store::invoices::InvoiceLine;

/// Columns of the CSV.
const COLUMNS: &str = "invoice,tenant_id,period,line,kind,provider,model,meter,quantity,billed_usd,currency,corrects,text";

/// RFC 4180, one row a line of the invoice.
pub(super) fn csv(whole: &WholeInvoice) -> String {
    let mut out = format!("{COLUMNS}\r\n");
    let invoice = &whole.invoice;
    for line in &whole.lines {
        let number = line.line.to_string();
        let cells = [
            Some(&*invoice.number),
            Some(&invoice.tenant_id),
            Some(&invoice.period),
            Some(&number),
            Some(&line.kind),
            line.provider.as_deref(),
            line.model.as_deref(),
            line.meter.as_deref(),
            line.quantity.as_deref(),
            line.billed_usd.as_deref(),
            Some(&invoice.currency),
            line.corrects.as_deref(),
            line.text.as_deref(),
        ];
        push_row(&mut out, &cells);
    }
    out
}

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2.5cm auto;max-width:18cm;color:#111}\
h1{font-size:22px;margin:0 0 .3em}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em}\
dt{color:#555}dd{margin:0}table{border-collapse:collapse;width:100%;margin:1.5em 0}\
th,td{text-align:left;padding:.35em .5em;border-bottom:1px solid #ddd;vertical-align:top}\
.n{text-align:right;font-variant-numeric:tabular-nums}tfoot td{font-weight:600;border-top:2px solid #111}\
small{color:#555;word-break:break-all}@media print{body{margin:0}thead{display:table-header-group}tr{break-inside:avoid}}";

/// One page without scripts or anything fetched from elsewhere.
pub(super) fn html(whole: &WholeInvoice) -> String {
    let invoice = &whole.invoice;
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    let facts = [
        ("Tenant", &invoice.tenant_id),
        ("From", &invoice.from_at),
        ("To", &invoice.to_at),
        ("Closed", &invoice.closed_at),
        ("Currency", &invoice.currency),
    ];
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "<title>Invoice {number}</title><style>{STYLE}</style></head><body><h1>Invoice {number}</h1><dl>",
        number = escaped(&invoice.number),
    );
    for (name, fact) in facts {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(fact));
    }
    out.push_str(
        "</dl><table><thead><tr><th>Line</th><th>What</th><th>Meter</th>\
         <th class=\"n\">Quantity</th><th class=\"n\">USD</th></tr></thead><tbody>",
    );
    for line in &whole.lines {
        row(&mut out, line);
    }
    let _ = write!(
        out,
        "</tbody><tfoot><tr><td colspan=\"4\">Total</td><td class=\"n\">{}</td></tr></tfoot></table>",
        escaped(&invoice.billed_usd),
    );
    if invoice.unknown_events > 0 {
        let _ = write!(
            out,
            "<p>{} calls whose usage is not known are on no line.</p>",
            invoice.unknown_events
        );
    }
    let _ = writeln!(
        out,
        "<p><small>Lines SHA-256 {}<br>Events SHA-256 {} ({} entries)</small></p></body></html>",
        escaped(&invoice.lines_sha256),
        escaped(&invoice.events_sha256),
        invoice.events,
    );
    out
}

fn row(out: &mut String, line: &InvoiceLine) {
    let what: Vec<&str> = [&line.provider, &line.model, &line.text]
        .into_iter()
        .filter_map(|part| part.as_deref())
        .collect();
    let what = match line.kind.as_str() {
        "usage" => what.join(" · "),
        kind => format!("{kind}: {}", what.join(" · ")),
    };
    let cell = |text: &Option<String>| escaped(text.as_deref().unwrap_or_default());
    let _ = write!(
        out,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        line.line,
        escaped(&what),
        cell(&line.meter),
        cell(&line.quantity),
        cell(&line.billed_usd),
    );
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_stay_texts() {
        assert_eq!(
            escaped("<img src=x onerror='a'>&"),
            "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;"
        );
    }
}
