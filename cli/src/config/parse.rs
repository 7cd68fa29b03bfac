//! File and environment merged into sections of keys, each with its place, and read key by key, so
//! that one mistake does not hide the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use farebox_proxy::config::UpstreamConfig;
use serde::de::DeserializeOwned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::Mistake;

/// What a variable of the configuration begins with.
const PREFIX: &str = "FAREBOX_";
const SECTIONS: [&str; 9] = [
    "database",
    "proxy",
    "spool",
    "upstreams",
    "keys",
    "credentials",
    "ids",
    "collector",
    "metrics",
];

/// A value and who said it.
struct Entry {
    /// What it may mean: one value from the file; from the environment a text, else what TOML reads.
    readings: Vec<Value>,
    place: String,
}

type Section = BTreeMap<String, Entry>;

/// Everything that was said.
pub(super) struct Source<'a> {
    sections: BTreeMap<String, Section>,
    upstreams: BTreeMap<String, Section>,
    places: BTreeMap<String, String>,
    built_in: &'a [&'a str],
}

impl<'a> Source<'a> {
    pub(super) fn read(
        file: Option<(String, String)>,
        environment: &BTreeMap<String, String>,
        built_in: &'a [&'a str],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut source = Self {
            sections: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            places: BTreeMap::new(),
            built_in,
        };
        if let Some((name, text)) = file {
            source.read_file(&name, &text, mistakes);
        }
        for (name, value) in environment {
            source.read_variable(name, value, mistakes);
        }
        source
    }

    /// Where that key was said, or the key itself.
    pub(super) fn place(&self, path: &[&str]) -> String {
        for length in (1..=path.len()).rev() {
            if let Some(place) = self.places.get(&path[..length].join(".")) {
                return place.clone();
            }
        }
        path.iter()
            .copied()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(".")
    }

    /// A whole section.
    pub(super) fn section<T: DeserializeOwned + Default>(
        &mut self,
        name: &str,
        mistakes: &mut Vec<Mistake>,
    ) -> T {
        let section = self.sections.remove(name).unwrap_or_default();
        read_section(name, &section, mistakes)
    }

    /// Some keys of a section; the others stay.
    pub(super) fn part_of_section<T: DeserializeOwned + Default>(
        &mut self,
        name: &str,
        keys: &[&str],
        mistakes: &mut Vec<Mistake>,
    ) -> T {
        let mut part = Section::new();
        if let Some(section) = self.sections.get_mut(name) {
            for key in keys {
                if let Some(entry) = section.remove(*key) {
                    part.insert((*key).to_owned(), entry);
                }
            }
        }
        read_section(name, &part, mistakes)
    }

    /// Removes a key that is set to the empty text, and says whether it was.
    pub(super) fn take_empty(&mut self, section: &str, key: &str) -> bool {
        let Some(section) = self.sections.get_mut(section) else {
            return false;
        };
        let is_empty = section
            .get(key)
            .is_some_and(|entry| entry.readings.first().and_then(Value::as_str) == Some(""));
        if is_empty {
            section.remove(key);
        }
        is_empty
    }

    /// Takes a TLS listener's address that stands without a certificate; `up` makes one for it.
    pub(super) fn take_tls_listen_alone(&mut self) -> Option<SocketAddr> {
        let section = self.sections.get_mut("proxy")?;
        let table = section.get("tls")?.readings.first()?.as_table()?;
        let address = table.get("listen")?.as_str()?.parse().ok()?;
        if table.len() > 1 {
            return None;
        }
        section.remove("tls");
        Some(address)
    }

    pub(super) fn upstream_names(&self) -> Vec<String> {
        self.upstreams.keys().cloned().collect()
    }

    pub(super) fn upstream(&self, name: &str, mistakes: &mut Vec<Mistake>) -> UpstreamConfig {
        match self.upstreams.get(name) {
            Some(section) => read_section(&format!("upstreams.{name}"), section, mistakes),
            None => UpstreamConfig::default(),
        }
    }

    /// Whatever no one has asked for by now.
    pub(super) fn refuse_unknown_sections(&self, mistakes: &mut Vec<Mistake>) {
        for name in self.sections.keys() {
            mistakes.push(Mistake {
                place: self.place(&[name]),
                message: format!(
                    "unknown section `{name}`; known are {}",
                    SECTIONS.join(", ")
                ),
            });
        }
    }

    fn read_file(&mut self, name: &str, text: &str, mistakes: &mut Vec<Mistake>) {
        let table: toml::Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                mistakes.push(Mistake {
                    place: format!("{name}:{line}"),
                    message: error.message().to_owned(),
                });
                return;
            }
        };
        if let Ok(spanned) = DeTable::parse(text) {
            note_places(name, text, "", spanned.get_ref(), &mut self.places);
        }
        for (section, value) in table {
            let Value::Table(keys) = value else {
                mistakes.push(Mistake {
                    place: self.place(&[&section]),
                    message: format!("`{section}` stands outside any section"),
                });
                continue;
            };
            if section != "upstreams" {
                let entries = self.entries(&[&section], keys);
                self.sections.entry(section).or_default().extend(entries);
                continue;
            }
            for (upstream, value) in keys {
                match value {
                    Value::Table(keys) => {
                        let entries = self.entries(&["upstreams", &upstream], keys);
                        self.upstreams.entry(upstream).or_default().extend(entries);
                    }
                    _ => mistakes.push(Mistake {
                        place: self.place(&["upstreams", &upstream]),
                        message: format!("write [upstreams.{upstream}] and its keys below"),
                    }),
                }
            }
        }
    }

    fn entries(&self, path: &[&str], keys: toml::Table) -> Section {
        keys.into_iter()
            .map(|(key, value)| {
                let place = self.place(&[path, &[key.as_str()]].concat());
                let readings = vec![value];
                (key, Entry { readings, place })
            })
            .collect()
    }

    fn read_variable(&mut self, name: &str, value: &str, mistakes: &mut Vec<Mistake>) {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__")) else {
            return;
        };
        let parts: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (section, key, inner) = match parts.as_slice() {
            ["upstreams", upstream, key] => {
                let upstream = self.upstream_meant(upstream);
                self.places
                    .insert(format!("upstreams.{upstream}.{key}"), name.to_owned());
                self.places
                    .entry(format!("upstreams.{upstream}"))
                    .or_insert_with(|| name.to_owned());
                (self.upstreams.entry(upstream).or_default(), *key, None)
            }
            [section, key] if *section != "upstreams" => {
                self.places
                    .insert(format!("{section}.{key}"), name.to_owned());
                self.places
                    .entry((*section).to_owned())
                    .or_insert_with(|| name.to_owned());
                (
                    self.sections.entry((*section).to_owned()).or_default(),
                    *key,
                    None,
                )
            }
            [section, key, inner] => {
                self.places
                    .insert(format!("{section}.{key}.{inner}"), name.to_owned());
                self.places
                    .entry((*section).to_owned())
                    .or_insert_with(|| name.to_owned());
                (
                    self.sections.entry((*section).to_owned()).or_default(),
                    *key,
                    Some(*inner),
                )
            }
            _ => {
                mistakes.push(Mistake {
                    place: name.to_owned(),
                    message: "names of configuration are FAREBOX_SECTION__KEY".to_owned(),
                });
                return;
            }
        };
        let text = Value::String(value.to_owned());
        let Some(inner) = inner else {
            let read = toml::from_str::<toml::Table>(&format!("v = {value}"))
                .ok()
                .and_then(|mut table| table.remove("v"));
            let readings = [Some(text), read].into_iter().flatten().collect();
            let place = name.to_owned();
            section.insert(key.to_owned(), Entry { readings, place });
            return;
        };
        // Tables inside a section hold texts only.
        let entry = section.entry(key.to_owned()).or_insert_with(|| Entry {
            readings: vec![Value::Table(toml::Table::new())],
            place: name.to_owned(),
        });
        for reading in &mut entry.readings {
            if let Value::Table(table) = reading {
                // Header names hold `-`, which a variable's name cannot.
                let inner = if key == "header_aliases" {
                    inner.replace('_', "-")
                } else {
                    inner.to_owned()
                };
                table.insert(inner, text.clone());
            }
        }
    }

    /// A variable writes `_` for `-`: an upstream that is known by such a name is meant, else one
    /// with `-` is made.
    fn upstream_meant(&self, written: &str) -> String {
        self.upstreams
            .keys()
            .map(String::as_str)
            .chain(self.built_in.iter().copied())
            .find(|known| known.replace('-', "_") == written)
            .map_or_else(|| written.replace('_', "-"), str::to_owned)
    }
}

/// Each key alone first, so that every wrong one is told; then the right ones together.
fn read_section<T: DeserializeOwned + Default>(
    name: &str,
    section: &Section,
    mistakes: &mut Vec<Mistake>,
) -> T {
    let mut whole = toml::Table::new();
    for (key, entry) in section {
        let mut refused = None;
        let fits = entry.readings.iter().find(|reading| {
            let alone = toml::Table::from_iter([(key.clone(), (*reading).clone())]);
            match T::deserialize(alone) {
                Ok(_) => true,
                Err(error) => {
                    refused = Some(error.message().to_owned());
                    false
                }
            }
        });
        match fits {
            Some(value) => {
                whole.insert(key.clone(), value.clone());
            }
            None => {
                let message = refused
                    .unwrap_or_default()
                    .replace("unknown field", "unknown key");
                mistakes.push(Mistake {
                    place: entry.place.clone(),
                    message: format!("{name}.{key}: {}", message.trim_end()),
                });
            }
        }
    }
    match T::deserialize(whole) {
        Ok(read) => read,
        Err(error) => {
            mistakes.push(Mistake {
                place: name.to_owned(),
                message: error.message().to_owned(),
            });
            T::default()
        }
    }
}

fn note_places(
    file: &str,
    text: &str,
    path: &str,
    table: &DeTable<'_>,
    places: &mut BTreeMap<String, String>,
) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let own = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        let line = line_of(text, key.span().start);
        places.insert(own.clone(), format!("{file}:{line}"));
        if let DeValue::Table(inner) = value.get_ref() {
            note_places(file, text, &own, inner, places);
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
