//! `farebox price`: rate cards on this machine, without a server. What they say of a model, what
//! quantities would cost, and whether they obey the relations that prices obey.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use farebox_pricing::rate_card::{CardSet, RateCard};

use crate::failure::{Failure, Outcome};

mod diff;
mod import;
mod lint;
mod quote;
mod show;

#[derive(Debug, Subcommand)]
pub(crate) enum PriceVerb {
    /// The cards, the models of one, or the prices of a model.
    Show(ShowArgs),
    /// What quantities cost: each charge with its rate and its rule.
    Quote(QuoteArgs),
    /// Check cards: their form, and the relations that prices obey. Exit 1 when something is found.
    Lint(LintArgs),
    /// What differs between two cards, price by price, and in money over usage.
    Diff(DiffArgs),
    /// Add models to a card from the price files of LiteLLM and genai-prices, for review.
    Import(ImportArgs),
}

/// Which cards.
#[derive(Debug, Args)]
pub(crate) struct CardsArg {
    /// Card files, or directories of them, in place of the built-in cards of the same vendors. May
    /// be repeated.
    #[arg(long = "cards", value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The vendor [default: all, one line each].
    #[arg(long)]
    provider: Option<String>,
    /// A model by any of its names [default: all, one line each].
    #[arg(long, requires = "provider")]
    model: Option<String>,
    #[command(flatten)]
    cards: CardsArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QuoteArgs {
    /// The vendor.
    #[arg(long, required_unless_present = "batch")]
    provider: Option<String>,
    /// The model. Repeated: what each would cost, side by side.
    #[arg(
        long = "model",
        value_name = "MODEL",
        required_unless_present = "batch"
    )]
    models: Vec<String>,
    /// Quantities by meter, such as '{"input_tokens":"1000","output_tokens":"200"}'.
    #[arg(long, value_name = "JSON", required_unless_present = "batch")]
    usage: Option<String>,
    /// When the call starts, RFC 3339 [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// What else the price depends on, such as '{"service_tier":"flex"}'.
    #[arg(long, value_name = "JSON")]
    conditions: Option<String>,
    /// Who is charged. There are no selling rules in the built-in cards: the price is the cost.
    #[arg(long)]
    tenant: Option<String>,
    /// Read such calls from standard input, one JSON object a line, and answer line by line.
    #[arg(long, conflicts_with_all = ["provider", "models", "usage", "at", "conditions", "tenant"])]
    batch: bool,
    #[command(flatten)]
    cards: CardsArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Card files, or directories of them; each is held against the built-in card of its vendor
    /// [default: the built-in cards].
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A card file, or `built-in` for the built-in card of the other one's vendor.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// A card file, or `built-in`.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Usage to price by both: what `farebox usage --group-by provider,model,meter --json` printed.
    #[arg(long, value_name = "FILE")]
    usage: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("from").required(true).multiple(true).args(["litellm", "genai_prices"]))]
pub(crate) struct ImportArgs {
    /// The vendor.
    #[arg(long)]
    provider: String,
    /// What the files call the vendor, where it is not the same [default: the vendor].
    #[arg(long, value_name = "NAME")]
    named: Option<String>,
    /// LiteLLM's model_prices_and_context_window.json.
    #[arg(long, value_name = "FILE")]
    litellm: Option<PathBuf>,
    /// genai-prices' data.json.
    #[arg(long, value_name = "FILE")]
    genai_prices: Option<PathBuf>,
    /// The card to add to [default: the built-in one, else an empty one].
    #[arg(long, value_name = "CARD")]
    onto: Option<PathBuf>,
    /// Write the card to this new file [default: only tell].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(verb: &PriceVerb) -> Outcome {
    match verb {
        PriceVerb::Show(args) => show::run(args),
        PriceVerb::Quote(args) => quote::run(args),
        PriceVerb::Lint(args) => lint::run(args),
        PriceVerb::Diff(args) => diff::run(args),
        PriceVerb::Import(args) => import::run(args),
    }
}

/// The built-in cards with these in their place. Every mistake of every file is told.
fn load(cards: &CardsArg) -> Outcome<CardSet> {
    let mut set = CardSet::built_in().clone();
    let mut mistakes = Vec::new();
    for path in files(&cards.paths)? {
        match read(&path)? {
            Ok(card) => set = set.with_active(Arc::new(card)),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        Ok(set)
    } else {
        Err(Failure::Usage(mistakes.join("\n")))
    }
}

/// The files named, and those of a directory that end in `.json`, in order.
fn files(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error| Failure::missing(path.display(), error);
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                inside.push(path);
            }
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// A card, or what is wrong with it, each with the file's name before it.
fn read(path: &Path) -> Outcome<Result<RateCard, Vec<String>>> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::missing(path.display(), error))?;
    Ok(RateCard::from_json(&text).map_err(|invalid| {
        let with_file = |problem| format!("{}: {problem}", path.display());
        invalid.0.into_iter().map(with_file).collect()
    }))
}
