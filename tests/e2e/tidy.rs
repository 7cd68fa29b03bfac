//! The shape of the source: homes of heavy packages, sizes of files, names in their places.

use std::path::{Path, PathBuf};

use crate::Result;

/// A file longer than this has more than one subject.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Product files of a folder: without the modules that only tests have.
fn product(folder: &str) -> Result<Vec<(String, String)>> {
    let all = sources(folder, "rs")?;
    let mut test_only = Vec::new();
    for (name, text) in &all {
        let folder = name
            .trim_end_matches(".rs")
            .trim_end_matches("/lib")
            .trim_end_matches("/main");
        let after = text.split("#[cfg(test)]\n").skip(1);
        for module in after.filter_map(|rest| {
            rest.lines()
                .next()?
                .trim_start_matches("pub(crate) ")
                .strip_prefix("mod ")?
                .strip_suffix(';')
        }) {
            test_only.push(format!("{folder}/{module}.rs"));
        }
    }
    Ok(all
        .into_iter()
        .filter(|(name, _)| !test_only.contains(name))
        .collect())
}

/// Files of a folder, as (path from the root, text).
fn sources(folder: &str, ending: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|known| known == ending) {
                let name = path.strip_prefix(root())?.display().to_string();
                found.push((name, std::fs::read_to_string(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Code without comments and without the tests at a file's end.
fn code(text: &str) -> String {
    let product = text.replace(
        "#[cfg(test)]\npub(super) mod tests",
        "#[cfg(test)]\nmod tests",
    );
    let product = product
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    product
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn heavy_packages_have_one_home() -> Result {
    let homes: [(&str, &str, &[&str]); 9] = [
        (
            "proxy/src",
            "rustls",
            &["proxy/src/tls.rs", "proxy/src/tls/"],
        ),
        (
            "proxy/src",
            "argon2::",
            &["proxy/src/identity.rs", "proxy/src/identity/"],
        ),
        (
            "proxy/src",
            "governor::",
            &["proxy/src/admission.rs", "proxy/src/admission/"],
        ),
        (
            "proxy/src",
            "prometheus::",
            &["proxy/src/metrics.rs", "proxy/src/metrics/"],
        ),
        (
            "proxy/src",
            "tokio_postgres",
            &["proxy/src/directory.rs", "proxy/src/directory/"],
        ),
        (
            "collector/src",
            "argon2::",
            &["collector/src/keys.rs", "collector/src/keys/"],
        ),
        (
            "collector/src",
            "prometheus::",
            &["collector/src/metrics.rs", "collector/src/metrics/"],
        ),
        (
            "collector/src",
            "deadpool_postgres",
            &[
                "collector/src/store.rs",
                "collector/src/store/",
                "collector/src/migrate.rs",
            ],
        ),
        (
            "collector/src",
            "tokio_postgres",
            &[
                "collector/src/store.rs",
                "collector/src/store/",
                "collector/src/migrate.rs",
                "collector/src/migrate/",
            ],
        ),
    ];
    let mut strays = Vec::new();
    for (folder, package, allowed) in homes {
        let all = product(folder)?;
        assert!(
            all.iter()
                .any(|(_, text)| text.contains(package.trim_end_matches("::"))),
            "{package} is not used in {folder} at all"
        );
        strays.extend(
            all.iter()
                .filter(|(name, text)| {
                    !allowed.iter().any(|home| name.starts_with(home))
                        && code(text).contains(package)
                })
                .map(|(name, _)| format!("{package} in {name}")),
        );
    }
    assert!(strays.is_empty(), "{strays:#?}");
    Ok(())
}

#[test]
fn no_file_is_longer_than_its_subject() -> Result {
    let mut long = Vec::new();
    for folder in ["pricing", "proxy", "collector", "cli", "tests"] {
        for (name, text) in sources(folder, "rs")? {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                long.push(format!("{name}: {lines} lines"));
            }
            let is_said = text.starts_with("//!") || name.ends_with("/tests.rs");
            assert!(is_said, "{name} does not say what it owns");
        }
    }
    assert!(long.is_empty(), "{long:#?}");
    Ok(())
}

#[test]
fn vendors_are_named_in_the_providers_folder_only() -> Result {
    let mut strays = Vec::new();
    // Vendors' reports have shapes of their own; nothing else of the collector knows a vendor.
    let homes = ["proxy/src/providers", "collector/src/reconcile/formats"];
    let sources = [product("proxy/src")?, product("collector/src")?].concat();
    for (name, text) in sources {
        let is_home = homes.iter().any(|home| name.starts_with(home));
        let code = code(&text);
        for vendor in ["openai", "anthropic", "deepgram", "gemini"] {
            if !is_home && code.contains(&format!("\"{vendor}\"")) {
                strays.push(format!("{vendor} in {name}"));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
    Ok(())
}

#[test]
fn money_is_never_a_float() -> Result {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut strays = Vec::new();
    for (name, text) in product("pricing/src")? {
        strays.extend(
            code(&text)
                .split(|c| !is_word(c))
                .filter(|word| ["f32", "f64"].contains(word))
                .map(|word| format!("{word} in {name}")),
        );
    }
    for (name, text) in sources("sql", "sql")? {
        let statements: Vec<String> = text
            .to_lowercase()
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default().to_owned())
            .collect();
        let floats = ["double precision", "float8", "float4", " real,", " real "];
        // A quoted text is prose about the data, not a type.
        let holds = |word: &str| {
            statements
                .iter()
                .any(|line| line.contains(word) && !line.contains('\''))
        };
        strays.extend(
            floats
                .iter()
                .filter(|word| holds(word))
                .map(|word| format!("{word} in {name}")),
        );
    }
    assert!(strays.is_empty(), "{strays:#?}");
    Ok(())
}

#[test]
fn crates_look_only_where_they_may() -> Result {
    let mut strays = Vec::new();
    let forbidden = [
        (
            "pricing",
            &["farebox-proxy", "farebox-collector", "tokio", "hyper"][..],
        ),
        ("proxy", &["farebox-collector"][..]),
        ("collector", &["farebox-proxy"][..]),
        (
            "tests",
            &["farebox-proxy", "farebox-collector", "farebox-pricing"][..],
        ),
    ];
    for (package, words) in forbidden {
        let manifest = std::fs::read_to_string(root().join(package).join("Cargo.toml"))?;
        for word in words {
            if manifest
                .lines()
                .any(|line| line.starts_with(word) && !line.starts_with("name"))
            {
                strays.push(format!("{package} depends on {word}"));
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
    Ok(())
}
