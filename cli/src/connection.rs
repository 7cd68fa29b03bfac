//! `connection.json`: how the verbs, dashboards and scripts find a running `up` or `demo`.
//!
//! It is there only while everything it names is ready: removed first at a start, written beside
//! and renamed at its end, removed at the stop.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data_dir::DataDir;
use crate::failure::{Failure, Outcome};

const FILE: &str = "connection.json";

/// Addresses and the operator's token. The file is 0600.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Connection {
    pub(crate) proxy_url: Option<String>,
    pub(crate) proxy_tls_url: Option<String>,
    pub(crate) ca_file: Option<String>,
    pub(crate) ops_url: String,
    pub(crate) collector_url: String,
    /// Logs in as a role that reads every tenant and writes nothing.
    pub(crate) database_url: String,
    pub(crate) admin_token: String,
    pub(crate) pid: u32,
    pub(crate) started_at: String,
}

impl Connection {
    /// What a running deployment wrote; `None` when there is none.
    pub(crate) fn read(data_dir: &DataDir) -> Outcome<Option<Self>> {
        let path = data_dir.join(FILE);
        read_json(&path)
    }

    /// Says that everything is ready.
    pub(crate) fn write(&self, data_dir: &DataDir) -> Outcome {
        let text =
            serde_json::to_string_pretty(self).map_err(|error| Failure::missing(FILE, error))?;
        data_dir.write_private(FILE, format!("{text}\n").as_bytes())
    }

    /// Says that nothing is.
    pub(crate) fn remove(data_dir: &DataDir) -> Outcome {
        data_dir.remove_file(FILE)
    }
}

fn read_json(path: &Path) -> Outcome<Option<Connection>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Failure::missing(path.display(), error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::missing(path.display(), error)),
    }
}
