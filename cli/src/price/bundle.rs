//! `farebox price bundle`: prices in one signed file, for collectors that take no others.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use farebox_pricing::rate_card::bundle::{Bundle, PrivateKey, PublicKey};
use serde_json::{Value, json};

use super::{files, text_of};
use crate::api::{Api, path_segment};
use crate::data_dir::random_text;
use crate::failure::{Failure, Outcome};
use crate::say::say;
use crate::verbs::{hand_over, print_json, refuse_existing};

#[derive(Debug, Subcommand)]
pub(crate) enum BundleVerb {
    /// Make a key that signs, in a new file of the owner's alone, and print its public half, which
    /// goes into `collector.price_keys`.
    Key(KeyArgs),
    /// Put cards and selling rules into one file and sign it.
    Sign(SignArgs),
    /// Check a file by a public key. Exit 1 when that key has not signed it as it is.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The file of the key (0600, never overwritten).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The file of the key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Write the bundle to this new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Cards and selling rules, or directories of them.
    #[arg(value_name = "CARD", required = true)]
    cards: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The public key, 64 hexadecimal digits. Repeated: any of them will do.
    #[arg(long = "key", value_name = "HEX", required = true)]
    keys: Vec<String>,
    /// The bundle.
    #[arg(value_name = "FILE")]
    bundle: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verb: &BundleVerb) -> Outcome {
    match verb {
        BundleVerb::Key(args) => make_key(args),
        BundleVerb::Sign(args) => sign(args),
        BundleVerb::Verify(args) => verify(args),
    }
}

fn make_key(args: &KeyArgs) -> Outcome {
    refuse_existing(Some(&args.out))?;
    let seed = random_text()?;
    let key = private_key(&seed, &args.out)?;
    hand_over(&seed, Some(&args.out))?;
    say(&key.public().to_string());
    Ok(())
}

fn sign(args: &SignArgs) -> Outcome {
    refuse_existing(Some(&args.out))?;
    let seed = std::fs::read_to_string(&args.key)
        .map_err(|error| Failure::missing(args.key.display(), error))?;
    let key = private_key(&seed, &args.key)?;
    let paths = files(&args.cards)?;
    let mut texts = Vec::with_capacity(paths.len());
    for path in &paths {
        texts.push(text_of(path)?);
    }
    let bundle = Bundle::sign(texts.iter().map(String::as_str), &key)
        .map_err(|invalid| Failure::Usage(named(&invalid.0, &paths).join("\n")))?;
    let text = bundle
        .to_json()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    super::import::write_new(&args.out, &text)?;
    for one in bundle.prices() {
        say(&format!("{} {}", one.revision, one.provider));
    }
    Ok(())
}

/// Mistakes by the files' names: the bundle counts its cards.
fn named(mistakes: &[String], paths: &[PathBuf]) -> Vec<String> {
    let by_file = |mistake: &String| {
        let rest = mistake.strip_prefix("bundle: prices[")?;
        let (place, problem) = rest.split_once("]: ")?;
        let path = paths.get(place.parse::<usize>().ok()?)?;
        Some(format!("{}: {problem}", path.display()))
    };
    mistakes
        .iter()
        .map(|mistake| by_file(mistake).unwrap_or_else(|| mistake.clone()))
        .collect()
}

fn verify(args: &VerifyArgs) -> Outcome {
    let keys = args.keys.iter().map(|key| {
        PublicKey::try_from(key.clone()).map_err(|why| Failure::Usage(format!("--key: {why}")))
    });
    let keys: Vec<PublicKey> = keys.collect::<Outcome<_>>()?;
    let bundle = read(&args.bundle)?;
    let prices = bundle
        .verified(&keys)
        .map_err(|why| Failure::No(format!("{}: {why}", args.bundle.display())))?;
    if args.json {
        let items = prices
            .iter()
            .map(|one| json!({ "provider": one.provider, "revision": one.revision }));
        say(&json!({ "items": items.collect::<Vec<Value>>() }).to_string());
        return Ok(());
    }
    for one in prices {
        say(&format!("{} {}", one.revision, one.provider));
    }
    Ok(())
}

fn private_key(seed: &str, path: &Path) -> Outcome<PrivateKey> {
    PrivateKey::from_seed(seed).map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))
}

fn read(path: &Path) -> Outcome<Bundle> {
    Bundle::from_json(&text(path)?).map_err(|invalid| {
        let with_file = |problem: &String| format!("{}: {problem}", path.display());
        let mistakes: Vec<String> = invalid.0.iter().map(with_file).collect();
        Failure::Usage(mistakes.join("\n"))
    })
}

/// A bundle may be larger than a card.
fn text(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::missing(path.display(), error))
}

/// The bundle among the files, when there is one: it stands alone.
pub(super) fn among(paths: &[PathBuf]) -> Outcome<Option<&Path>> {
    for path in paths {
        if path.is_file() && Bundle::is_meant(&text(path)?) {
            return match paths.len() {
                1 => Ok(Some(path)),
                _ => Err(Failure::Usage(format!(
                    "{}: a bundle is loaded alone",
                    path.display()
                ))),
            };
        }
    }
    Ok(None)
}

/// Has the collector load a bundle, and put all of it in force when asked to.
pub(super) fn send(
    path: &Path,
    api: &Api,
    activate: bool,
    reason: Option<&str>,
) -> Outcome<Vec<Value>> {
    read(path)?;
    let body: Value = serde_json::from_str(&text(path)?)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    let mut route = format!("/api/v1/prices/bundle?activate={activate}");
    if let Some(reason) = reason {
        route.push_str("&reason=");
        route.push_str(&path_segment(reason));
    }
    let mut answer = api.post(&route, &body)?;
    match answer["items"].take() {
        Value::Array(items) => Ok(items),
        _ => {
            print_json(&answer);
            Err(Failure::Missing(
                "the collector did not say what it loaded".to_owned(),
            ))
        }
    }
}
