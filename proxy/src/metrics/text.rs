//! Prometheus' text format for numbers that the prometheus crate would make floats of.

use std::fmt::Write;

/// One metric: its heading is written before its first line.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    is_headed: bool,
}

impl Family {
    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            kind: "counter",
            is_headed: false,
        }
    }

    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            kind: "gauge",
            ..Self::counter(name, help)
        }
    }

    pub(super) fn histogram(name: &'static str, help: &'static str) -> Self {
        Self {
            kind: "histogram",
            ..Self::counter(name, help)
        }
    }

    /// One series.
    pub(super) fn line(&mut self, text: &mut String, labels: &[(&str, &str)], value: &str) {
        self.line_of("", text, labels, value);
    }

    /// One number of a series that has several.
    pub(super) fn line_of(
        &mut self,
        suffix: &str,
        text: &mut String,
        labels: &[(&str, &str)],
        value: &str,
    ) {
        let Self {
            name, help, kind, ..
        } = self;
        if !self.is_headed {
            self.is_headed = true;
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        text.push_str(name);
        text.push_str(suffix);
        for (place, (label, value)) in labels.iter().enumerate() {
            text.push(if place == 0 { '{' } else { ',' });
            text.push_str(label);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        text.push(' ');
        text.push_str(value);
        text.push('\n');
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// `units × 10^-scale`, without zeros at the end.
pub(super) fn decimal(units: u128, scale: u32) -> String {
    let unit = 10u128.pow(scale);
    let mut text = format!("{}", units / unit);
    let fraction = format!("{:0width$}", units % unit, width = scale as usize);
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}
