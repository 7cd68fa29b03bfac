//! Postgres' address as people write it, and the TLS that its `sslmode` asks for.
//!
//! `sslmode` and `sslrootcert` mean what they mean to `psql`: `disable` never encrypts, `prefer` (when
//! nothing is said) does where the server can, `require` insists, and neither asks who the server is;
//! `verify-ca` wants a certificate of a known authority, `verify-full` one of that host. Known are the
//! authorities of `sslrootcert`, without it those that browsers know. A unix socket is never encrypted.
//! Any other mode is refused, and no error repeats the address: it may hold a password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::Config;

mod tls;
mod verify;

pub use tls::Tls;
use verify::Verify;

/// An address that can be connected to.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where, and as whom.
    pub config: Config,
    /// How.
    pub tls: Tls,
}

/// Why an address cannot be used; it is not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress(String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for Address {
    type Err = InvalidAddress;

    /// Reads a URL or key-value text.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let taken = Taken::from(text);
        let (mode, verify) = match taken.mode.as_deref() {
            None => (None, Verify::Nothing),
            Some(known @ ("disable" | "prefer")) => (Some(known), Verify::Nothing),
            // With an authority named, `psql` looks at the certificate here as well.
            Some("require") if taken.root.is_none() => (Some("require"), Verify::Nothing),
            Some("require" | "verify-ca") => (Some("require"), Verify::Authority),
            Some("verify-full") => (Some("require"), Verify::Host),
            Some(_) => {
                return Err(InvalidAddress(
                    "sslmode: disable, prefer, require, verify-ca or verify-full".to_owned(),
                ));
            }
        };
        let mut config: Config = taken
            .rest
            .parse()
            .map_err(|error: tokio_postgres::Error| InvalidAddress(error.to_string()))?;
        config.ssl_mode(match mode {
            Some("disable") => tokio_postgres::config::SslMode::Disable,
            Some("require") => tokio_postgres::config::SslMode::Require,
            _ => tokio_postgres::config::SslMode::Prefer,
        });
        let root = taken.root.map(PathBuf::from);
        let tls = Tls::new(verify, root.as_deref()).map_err(InvalidAddress)?;
        Ok(Self { config, tls })
    }
}

/// An address without the two parameters that its reader does not know in full.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    rest: String,
    mode: Option<String>,
    root: Option<String>,
}

impl From<&str> for Taken {
    fn from(text: &str) -> Self {
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let mut taken = Self::default();
        if !is_url {
            let kept: Vec<&str> = pairs(text).filter(|pair| !taken.take(pair)).collect();
            taken.rest = kept.join(" ");
            return taken;
        }
        let (front, query) = text.split_once('?').unwrap_or((text, ""));
        let kept: Vec<&str> = query.split('&').filter(|pair| !taken.take(pair)).collect();
        let query = kept.join("&");
        taken.rest = match query.is_empty() {
            true => front.to_owned(),
            false => format!("{front}?{query}"),
        };
        if let Some(root) = &taken.root {
            taken.root = Some(decoded(root));
        }
        taken
    }
}

impl Taken {
    /// Keeps the value of a pair that is ours.
    fn take(&mut self, pair: &str) -> bool {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.trim().trim_matches('\'').to_owned();
        match name.trim() {
            "sslmode" => self.mode = Some(value),
            "sslrootcert" => self.root = Some(value),
            _ => return false,
        }
        true
    }
}

/// `name=value` pairs of key-value text; white space within quotes is part of a value.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |c: char| {
        let is_free = !is_quoted && !is_escaped;
        is_quoted ^= c == '\'' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_free && c.is_ascii_whitespace()
    })
    .filter(|pair| !pair.is_empty())
}

/// `%2F` and the like as they are meant; anything else stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = (*first == b'%')
            .then(|| behind.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = match hex {
            Some(_) => &behind[2..],
            None => behind,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rest: &str, mode: &str, root: &str) -> Taken {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Taken {
            rest: rest.to_owned(),
            mode: some(mode),
            root: some(root),
        }
    }

    #[test]
    fn the_two_parameters_are_taken_out_of_either_form() {
        let check = |text: &str, expected: Taken| assert_eq!(Taken::from(text), expected, "{text}");
        check("postgres://u@h/d", taken("postgres://u@h/d", "", ""));
        check("postgres://u@h/d?", taken("postgres://u@h/d", "", ""));
        check(
            "postgresql://u@h/d?sslmode=verify-full&application_name=x&sslrootcert=%2Ftmp%2Fa%20b.pem",
            taken(
                "postgresql://u@h/d?application_name=x",
                "verify-full",
                "/tmp/a b.pem",
            ),
        );
        check(
            "host=h sslmode=require password='a sslmode=x' sslrootcert='/a b.pem'",
            taken("host=h password='a sslmode=x'", "require", "/a b.pem"),
        );
        check(
            r"host=h password=a\ b",
            taken(r"host=h password=a\ b", "", ""),
        );
    }

    #[test]
    fn a_mode_that_is_none_is_refused_without_the_address() {
        for text in [
            "postgres://u:secret@h/d?sslmode=verify",
            "postgres://u:secret@h/d?sslmode=allow",
            "postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere.pem",
            "postgres://u:secret@h/d?no_such=parameter",
        ] {
            let refused = text.parse::<Address>().unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
        for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
            let text = format!("postgres://u@h/d?sslmode={mode}");
            assert!(text.parse::<Address>().is_ok(), "{mode}");
        }
    }
}
