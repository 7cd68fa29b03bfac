//! Rows and cells of a CSV file (RFC 4180), for programs and for people who open it in a spreadsheet.

/// Appends a row and its end; what is null is nothing.
pub(crate) fn push_row(out: &mut String, cells: &[Option<&str>]) {
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if let Some(cell) = cell {
            push_cell(out, cell);
        }
    }
    out.push_str("\r\n");
}

/// Appends a cell. The empty text is `""`: nothing at all is null.
///
/// A spreadsheet takes a text that begins like a formula for one, and callers choose projects, customers and
/// models: such a text has an apostrophe before it. Numbers are as they are.
pub fn push_cell(out: &mut String, text: &str) {
    let is_guarded = is_formula(text);
    let is_plain = !is_guarded
        && !text.is_empty()
        && memchr::memchr3(b',', b'"', b'\n', text.as_bytes()).is_none()
        && memchr::memchr(b'\r', text.as_bytes()).is_none()
        && !text.starts_with(' ')
        && !text.ends_with(' ');
    if is_plain {
        out.push_str(text);
        return;
    }
    out.push('"');
    if is_guarded {
        out.push('\'');
    }
    out.push_str(&text.replace('"', "\"\""));
    out.push('"');
}

/// Whether a spreadsheet may compute it.
fn is_formula(text: &str) -> bool {
    if !text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        return false;
    }
    let number = text.strip_prefix('-').unwrap_or(text);
    number.is_empty()
        || !number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_no_formulas() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", r#""""#),
            ("a,b", r#""a,b""#),
            ("say \"x\"", r#""say ""x""""#),
            ("two\nlines", "\"two\nlines\""),
            (" led", r#"" led""#),
            ("-0.25", "-0.25"),
            ("=cmd|' /C calc'!A0", r#""'=cmd|' /C calc'!A0""#),
            ("-1+1", r#""'-1+1""#),
            ("+1", r#""'+1""#),
            ("-", r#""'-""#),
            ("@SUM(A1)", r#""'@SUM(A1)""#),
            ("\t=1", "\"'\t=1\""),
        ] {
            let mut out = String::new();
            push_cell(&mut out, text);
            assert_eq!(out, expected, "{text}");
        }
    }
}
