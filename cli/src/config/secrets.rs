//! Secrets by `*_env` and `*_file`: looked up once, never shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use farebox_pricing::key::KeySecrets;
use farebox_pricing::vault::MasterKeys;
use farebox_proxy::config::Secret;

use super::Mistake;
use super::parse::Source;

/// Looks secrets up and notes what cannot be read.
pub(super) struct Secrets<'a> {
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) source: &'a Source<'a>,
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

impl Secrets<'_> {
    /// One secret. A variable that is unset or empty is no secret; a file that is named must hold one.
    pub(super) fn one(
        &mut self,
        key: &str,
        variable: Option<&str>,
        file: Option<&Path>,
    ) -> Option<Secret> {
        let text = self.text(key, variable, file)?;
        let text = text.trim();
        if text.is_empty() {
            if file.is_some() {
                self.mistake(key, "the file is empty");
            }
            return None;
        }
        Some(Secret::new(text.to_owned()))
    }

    /// One secret a line; blank lines and those that begin with `#` are skipped.
    pub(super) fn list(
        &mut self,
        key: &str,
        variable: Option<&str>,
        file: Option<&Path>,
    ) -> Vec<Secret> {
        let Some(text) = self.text(key, variable, file) else {
            return Vec::new();
        };
        if let Err(error) = KeySecrets::parse(&text) {
            self.mistake(key, &error.to_string());
            return Vec::new();
        }
        key_secrets(&text)
    }

    /// Master keys of the credential vault.
    pub(super) fn master_keys(
        &mut self,
        variable: Option<&str>,
        file: Option<&Path>,
    ) -> Option<Arc<MasterKeys>> {
        let text = self.text("credentials.master_key", variable, file)?;
        match MasterKeys::parse(&text) {
            Ok(keys) => Some(Arc::new(keys)),
            Err(error) => {
                self.mistake("credentials.master_key", &error.to_string());
                None
            }
        }
    }

    fn text(&mut self, key: &str, variable: Option<&str>, file: Option<&Path>) -> Option<String> {
        if let (Some(_), Some(_)) = (variable, file) {
            self.mistake(key, "the variable and the file exclude each other");
            return None;
        }
        if let Some(variable) = variable {
            return self.environment.get(variable).cloned();
        }
        let file = file?;
        match std::fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) => {
                self.mistake(key, &format!("{} cannot be read: {error}", file.display()));
                None
            }
        }
    }

    fn mistake(&mut self, key: &str, message: &str) {
        let file_key = format!("{key}_file");
        let path: Vec<&str> = file_key.split('.').collect();
        self.mistakes.push(Mistake {
            place: self.source.place(&path),
            message: format!("{key}: {message}"),
        });
    }
}

/// The lines that [`KeySecrets::parse`] takes as secrets.
pub(crate) fn key_secrets(text: &str) -> Vec<Secret> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| Secret::new(line.to_owned()))
        .collect()
}
