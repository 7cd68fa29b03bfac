//! The recorded exchanges under `tests/fixtures`, as seeds.

use std::path::{Path, PathBuf};

use farebox_fuzz::INPUT_BYTES_MAX;
use farebox_proxy::provider::{ALL, Endpoint};
use serde_json::Value;

/// One exchange.
pub(crate) struct Exchange {
    /// Its folder: `openai/plain`.
    pub(crate) case: String,
    /// What reads it.
    pub(crate) endpoint: &'static Endpoint,
    /// Path and query of the request.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) request_type: Option<String>,
    pub(crate) request: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) answer: Vec<u8>,
}

/// The first exchange of each case folder whose route is listed.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut found = Vec::new();
    for provider in ALL {
        for folder in folders(&root.join(provider.name)) {
            let exchange: Value =
                serde_json::from_slice(&std::fs::read(folder.join("exchange.json")).unwrap())
                    .unwrap();
            let text = |name: &str| exchange[name].as_str().map(str::to_owned);
            let path = text("path").unwrap();
            let method = text("method").unwrap().parse().unwrap();
            let Some(endpoint) = provider.endpoint(&method, &path) else {
                continue;
            };
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            found.push(Exchange {
                case: format!("{}/{name}", provider.name),
                endpoint,
                path,
                query: text("query"),
                request_type: text("request_type"),
                request: starting(&folder, "request").unwrap_or_default(),
                status: exchange["status"].to_string().parse().unwrap(),
                content_type: text("content_type").unwrap(),
                answer: starting(&folder, "response").unwrap(),
            });
        }
    }
    assert!(found.len() > 100);
    found
}

/// Answers of one kind, by the end of their file's name.
pub(crate) fn answers(ending: &str) -> Vec<Vec<u8>> {
    files("response", ending)
}

/// Requests of one kind.
pub(crate) fn requests(ending: &str) -> Vec<Vec<u8>> {
    files("request", ending)
}

fn files(start: &str, ending: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let vendors = folders(&root);
    let cases = vendors.iter().flat_map(|vendor| folders(vendor));
    let files = cases.map(|case| case.join(format!("{start}.{ending}")));
    let mut found: Vec<Vec<u8>> = files.filter_map(|file| std::fs::read(file).ok()).collect();
    found.retain(|bytes| bytes.len() <= INPUT_BYTES_MAX);
    found
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(of)
        .unwrap_or_else(|error| panic!("{}: {error}", of.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

fn starting(folder: &Path, start: &str) -> Option<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_stem().is_some_and(|stem| stem == start))
        .collect();
    files.sort();
    std::fs::read(files.first()?).ok()
}
