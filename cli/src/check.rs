//! `farebox check`: configuration, rate cards, TLS files and connections, all mistakes at once.

use std::path::Path;
use std::time::Duration;

use farebox_pricing::rate_card::CardSet;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::args::RoleArgs;
use crate::config::{self, Settings};
use crate::data_dir::DataDir;
use crate::database;
use crate::failure::{Failure, Outcome};
use crate::roles::built_in_upstreams;
use crate::say::say;

/// Longest wait for one connection.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// What was found, thing by thing.
#[derive(Default)]
struct Findings {
    mistakes: usize,
}

impl Findings {
    fn note(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(said) => say(&format!("ok       {what}: {said}")),
            Err(why) => {
                self.mistakes += 1;
                say(&format!("mistake  {what}: {why}"));
            }
        }
    }
}

/// Looks at everything; exit 1 when something is wrong.
pub(crate) async fn run(args: &RoleArgs) -> Outcome {
    let mut findings = Findings::default();
    check_cards(&mut findings);
    match config::load(args.config.as_deref(), &built_in_upstreams()) {
        Ok(settings) => {
            findings.note("configuration", Ok("read".to_owned()));
            check_tls(&settings, &mut findings);
            check_upstreams(&settings);
            check_database(&settings, &mut findings).await;
            check_collector(&settings, &mut findings).await;
            check_spool(args.data_dir.data_dir.as_deref(), &settings, &mut findings);
        }
        Err(mistakes) => {
            for mistake in mistakes.0 {
                findings.note(&mistake.place, Err(mistake.message));
            }
        }
    }
    match findings.mistakes {
        0 => Ok(()),
        1 => Err(Failure::No("there is one mistake".to_owned())),
        count => Err(Failure::No(format!("there are {count} mistakes"))),
    }
}

fn check_cards(findings: &mut Findings) {
    for provider in built_in_upstreams() {
        let revision = CardSet::built_in().revision(provider);
        findings.note(
            &format!("rate card {provider}"),
            revision
                .map(|sha| format!("revision {}", sha.get(..12).unwrap_or(sha)))
                .ok_or_else(|| "there is none".to_owned()),
        );
    }
}

fn check_tls(settings: &Settings, findings: &mut Findings) {
    if let Some(tls) = &settings.proxy.tls {
        findings.note("proxy.tls.cert", certificates_in(&tls.cert));
        findings.note("proxy.tls.key", key_in(&tls.key));
        if let Some(ca) = &tls.client_ca {
            findings.note("proxy.tls.client_ca", certificates_in(ca));
        }
    }
    if let Some(tls) = &settings.collector.tls {
        findings.note("collector.tls.cert", certificates_in(&tls.cert));
        findings.note("collector.tls.key", key_in(&tls.key));
    }
    for (name, upstream) in &settings.upstreams {
        if let Some(ca) = &upstream.ca_file {
            findings.note(&format!("upstreams.{name}.ca_file"), certificates_in(ca));
        }
    }
}

fn certificates_in(path: &Path) -> Result<String, String> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(format!("{} certificates", found.len()))
}

fn key_in(path: &Path) -> Result<String, String> {
    PrivateKeyDer::from_pem_file(path)
        .map(|_| "a private key".to_owned())
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn check_upstreams(settings: &Settings) {
    for (name, upstream) in &settings.upstreams {
        let said = if upstream.credential.is_some() {
            "has a credential"
        } else {
            "no credential: calls that need the operator's get 503 credential_missing"
        };
        say(&format!("ok       upstreams.{name}: {said}"));
    }
}

async fn check_database(settings: &Settings, findings: &mut Findings) {
    let Some(url) = &settings.database_url else {
        say("ok       database: none named; `up` runs a private one");
        return;
    };
    let asked = async {
        let client = database::connect(url.expose()).await?;
        client
            .query_one("show server_version", &[])
            .await
            .and_then(|row| row.try_get::<_, String>(0))
            .map_err(|error| Failure::No(database::reason(&error)))
    };
    let answer = match tokio::time::timeout(CONNECT_WAIT, asked).await {
        Ok(Ok(version)) => Ok(format!("Postgres {version}")),
        Ok(Err(failure)) => Err(failure.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    let is_there = answer.is_ok();
    findings.note("database", answer);
    if is_there {
        check_nodes(url.expose(), findings).await;
    }
}

/// Every live node: a close waits for each of them until it is retired. And every one of which
/// numbered settlements have not arrived.
async fn check_nodes(url: &str, findings: &mut Findings) {
    let asked = async {
        let client = database::connect(url).await?;
        let failed = |error: tokio_postgres::Error| Failure::No(database::reason(&error));
        let is_migrated: bool = client
            .query_one("select to_regclass('farebox.nodes') is not null", &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(failed)?;
        if !is_migrated {
            return Ok(None);
        }
        let rows = client
            .query(
                "select node || ', last seen ' || to_char(last_seen_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                    || coalesce(', shipped up to ' || to_char(open_since at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '')
                    || case when is_live then '' else ', retired' end
                    || case when missing > 0 then ', ' || missing || ' settlements have not arrived' else '' end,
                     missing = 0
                 from farebox.nodes
                 where is_live or missing > 0
                 order by node",
                &[],
            )
            .await
            .map_err(failed)?;
        let nodes: Result<Vec<(String, bool)>, _> = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect();
        Ok::<_, Failure>(Some(nodes.map_err(failed)?))
    };
    match tokio::time::timeout(CONNECT_WAIT, asked).await {
        Ok(Ok(Some(nodes))) => {
            for (node, is_whole) in nodes {
                match is_whole {
                    true => say(&format!("ok       live node: {node}")),
                    false => findings.note("node", Err(node)),
                }
            }
        }
        Ok(Ok(None)) => say("ok       database: not migrated yet; run `farebox migrate`"),
        Ok(Err(failure)) => findings.note("live nodes", Err(failure.to_string())),
        Err(_) => findings.note("live nodes", Err("no answer in time".to_owned())),
    }
}

async fn check_collector(settings: &Settings, findings: &mut Findings) {
    let Some(url) = settings.collector_url.clone() else {
        return;
    };
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(CONNECT_WAIT))
            .http_status_as_error(false)
            .build()
            .into();
        agent
            .get(format!("{}/healthz", url.trim_end_matches('/')))
            .call()
            .map(|answer| format!("answers {}", answer.status().as_u16()))
            .map_err(|error| error.to_string())
    });
    let answer = asked.await.unwrap_or_else(|error| Err(error.to_string()));
    findings.note("collector.url", answer);
}

fn check_spool(data_dir: Option<&Path>, settings: &Settings, findings: &mut Findings) {
    let dir = match &settings.spool.dir {
        Some(dir) => dir.clone(),
        None => match DataDir::resolve(data_dir, "farebox") {
            Ok(data_dir) => data_dir.join("spool"),
            Err(failure) => return findings.note("spool", Err(failure.to_string())),
        },
    };
    if !dir.exists() {
        say(&format!(
            "ok       spool: {} is made at the first start",
            dir.display()
        ));
        return;
    }
    let said = farebox_proxy::spool::inspect(&dir).map(|stats| {
        format!(
            "{} settlements to ship, {} set aside",
            stats.unshipped, stats.failed
        )
    });
    findings.note(
        "spool",
        said.map_err(|error| format!("{}: {error}", dir.display())),
    );
}
