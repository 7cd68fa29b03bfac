//! `farebox credential`: provider credentials. A secret comes from a file, a variable or standard
//! input, never from an argument, and is shown nowhere.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Column, ITEMS_MAX, print_item, print_items};
use crate::api::Api;
use crate::args::Reach;
use crate::failure::{Failure, Outcome};
use crate::table::Align::Left;

/// Largest secret read.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

const COLUMNS: [Column; 7] = [
    ("CREDENTIAL", Left, "credential_id"),
    ("UPSTREAM", Left, "upstream"),
    ("TENANT", Left, "tenant_id"),
    ("NAME", Left, "name"),
    ("HOST", Left, "host"),
    ("SECRET", Left, "masked"),
    ("ROTATED", Left, "rotated_at"),
];

/// Where a secret comes from; standard input when nothing is said.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct SecretFrom {
    /// Read the secret from this file.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Read the secret from this environment variable.
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialVerb {
    /// Set the operator's credential for an upstream, or a tenant's own; the secret comes from standard
    /// input unless a flag says otherwise.
    Set {
        /// The configured upstream it is for.
        #[arg(long)]
        upstream: String,
        /// The tenant whose own it is [default: the operator's].
        #[arg(long)]
        tenant: Option<String>,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// Host, and port where its URL has one, that it may be sent to [default: that of the configured
        /// upstream].
        #[arg(long)]
        host: Option<String>,
        #[command(flatten)]
        secret: SecretFrom,
        #[command(flatten)]
        reach: Reach,
    },
    /// All credentials, masked.
    List {
        /// Only this tenant's own.
        #[arg(long)]
        tenant: Option<String>,
        /// Only for this upstream.
        #[arg(long)]
        upstream: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Replace a credential's secret under the same id, or move all to a new master key.
    #[command(group = clap::ArgGroup::new("what").required(true).args(["credential_id", "master_key"]))]
    Rotate {
        credential_id: Option<Uuid>,
        /// Wrap every data key under the first master key; the secrets stay.
        #[arg(long, conflicts_with_all = ["secret_file", "secret_env"])]
        master_key: bool,
        #[command(flatten)]
        secret: SecretFrom,
        #[command(flatten)]
        reach: Reach,
    },
    /// Remove a credential.
    Remove {
        credential_id: Uuid,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) fn run(verb: &CredentialVerb) -> Outcome {
    const PATH: &str = "/api/v1/credentials";
    match verb {
        CredentialVerb::Set {
            upstream,
            tenant,
            name,
            host,
            secret,
            reach,
        } => {
            let body = json!({
                "upstream": upstream,
                "tenant_id": tenant,
                "name": name,
                "host": host,
                "secret": secret.read()?,
            });
            print_item(&Api::reach(reach)?.post(PATH, &body)?, reach);
        }
        CredentialVerb::List {
            tenant,
            upstream,
            reach,
        } => {
            let query: Vec<(&str, &str)> = [("tenant", tenant), ("upstream", upstream)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let items = Api::reach(reach)?.list(PATH, &query, ITEMS_MAX)?;
            print_items(&items, &COLUMNS, reach, "There is no credential.");
        }
        CredentialVerb::Rotate {
            credential_id: Some(credential_id),
            secret,
            reach,
            ..
        } => {
            let body = json!({ "secret": secret.read()? });
            let path = format!("{PATH}/{credential_id}/rotate");
            print_item(&Api::reach(reach)?.post(&path, &body)?, reach);
        }
        CredentialVerb::Rotate { reach, .. } => {
            let done = Api::reach(reach)?.post(&format!("{PATH}/rewrap"), &Value::Null)?;
            print_item(&done, reach);
        }
        CredentialVerb::Remove {
            credential_id,
            reach,
        } => {
            let removed = Api::reach(reach)?.delete(&format!("{PATH}/{credential_id}"))?;
            print_item(&removed, reach);
        }
    }
    Ok(())
}

impl SecretFrom {
    fn read(&self) -> Outcome<String> {
        let text = match (&self.secret_file, &self.secret_env) {
            (Some(file), _) => std::fs::read_to_string(file)
                .map_err(|error| Failure::missing(file.display(), error))?,
            (None, Some(name)) => std::env::var(name)
                .map_err(|_| Failure::Usage(format!("--secret-env {name}: it is not set")))?,
            (None, None) => {
                let input = std::io::stdin();
                if input.is_terminal() {
                    return Err(Failure::Usage(
                        "a secret is not typed: give --secret-file, --secret-env, or pipe it in"
                            .to_owned(),
                    ));
                }
                let mut text = String::new();
                input
                    .take(SECRET_BYTES_MAX)
                    .read_to_string(&mut text)
                    .map_err(|error| Failure::missing("standard input", error))?;
                text
            }
        };
        match text.trim() {
            "" => Err(Failure::Usage("the secret is empty".to_owned())),
            secret => Ok(secret.to_owned()),
        }
    }
}
