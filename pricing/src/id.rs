//! Identifiers and the one validator for them; the same rule is a SQL check.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Most Unicode scalar values an identifier may have.
pub const SCALARS_MAX: usize = 128;

/// Why a text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidId {
    /// No character at all.
    Empty,
    /// More than [`SCALARS_MAX`] scalar values.
    TooLong,
    /// A control character (Unicode category Cc).
    Control,
    /// Not in Unicode normalization form C.
    NotNfc,
    /// Not of the form that the deployment asks for.
    OtherForm,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an identifier needs at least one character",
            Self::TooLong => "an identifier has at most 128 characters",
            Self::Control => "an identifier holds no control characters",
            Self::NotNfc => "an identifier is in Unicode normalization form C",
            Self::OtherForm => "the identifier has not the form that this deployment asks for",
        })
    }
}

impl std::error::Error for InvalidId {}

/// Checks 1–128 Unicode scalar values, NFC, no control characters.
pub fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > SCALARS_MAX && text.chars().count() > SCALARS_MAX {
        return Err(InvalidId::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId::Control);
    }
    if !text.is_ascii() && !is_nfc(text) {
        return Err(InvalidId::NotNfc);
    }
    Ok(())
}

/// The form that a deployment asks of new tenants' identifiers, beyond [`check`].
#[derive(Clone, Debug, Default)]
pub struct Form(Option<regex_lite::Regex>);

impl Form {
    /// A pattern that the whole identifier has to match.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let whole = format!("^(?:{pattern})$");
        let compiled = regex_lite::Regex::new(&whole).map_err(|error| error.to_string())?;
        Ok(Self(Some(compiled)))
    }

    /// Checks the one rule for every identifier, and the deployment's own.
    pub fn check(&self, text: &str) -> Result<(), InvalidId> {
        check(text)?;
        match &self.0 {
            Some(pattern) if !pattern.is_match(text) => Err(InvalidId::OtherForm),
            _ => Ok(()),
        }
    }
}

/// A label that is not looked up (a session, a span, a model): made to fit instead of refused.
///
/// NUL and other control characters become U+FFFD, the text becomes NFC and is cut after
/// `scalars_max`. Says whether anything changed.
#[must_use]
pub fn sanitise(text: &str, scalars_max: usize) -> (String, bool) {
    // Nearly all are, and then there is nothing to compose.
    if text.len() <= scalars_max && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return (text.to_owned(), false);
    }
    let clean: String = text
        .nfc()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .take(scalars_max)
        .collect();
    let is_changed = clean != text;
    (clean, is_changed)
}

/// A tenant's identifier, already checked. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks and keeps.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The same identifier; clones of it and clones of this one are counted apart.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self(Arc::from(&*self.0))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_for_every_surface() {
        let check_case = |text: &str, expected| assert_eq!(check(text), expected, "{text:?}");
        check_case("acme", Ok(()));
        check_case(&"x".repeat(128), Ok(()));
        check_case(&"é".repeat(128), Ok(()));
        check_case(&"x".repeat(129), Err(InvalidId::TooLong));
        check_case("", Err(InvalidId::Empty));
        check_case("a\nb", Err(InvalidId::Control));
        check_case("a\u{85}b", Err(InvalidId::Control));
        check_case("e\u{301}", Err(InvalidId::NotNfc));
    }

    #[test]
    fn a_deployment_may_ask_for_a_form_of_the_whole_identifier() {
        let form = Form::new("[a-z]+(-[a-z]+)*|x").unwrap();
        assert_eq!(form.check("acme-eu"), Ok(()));
        assert_eq!(form.check("x"), Ok(()));
        for wrong in ["Acme", "acme-", "acme eu", "xacme1"] {
            assert_eq!(form.check(wrong), Err(InvalidId::OtherForm), "{wrong}");
        }
        assert_eq!(form.check(""), Err(InvalidId::Empty));
        assert_eq!(Form::default().check("Acme 1"), Ok(()));
        assert!(Form::new("(").is_err());
    }

    #[test]
    fn labels_are_made_to_fit() {
        assert_eq!(sanitise("a\0b", 8), ("a\u{FFFD}b".into(), true));
        assert_eq!(sanitise("abc", 2), ("ab".into(), true));
        assert_eq!(sanitise("abc", 3), ("abc".into(), false));
    }
}
