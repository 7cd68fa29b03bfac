//! `farebox price`: rate cards and selling rules, on this machine and in the database. What they say of
//! a model, what quantities would cost, whether they obey the relations that prices obey, and which of
//! them are in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use farebox_pricing::rate_card::selling::SellingRules;
use farebox_pricing::rate_card::{CARD_BYTES_MAX, CardSet, RateCard};

use crate::args::Reach;
use crate::failure::{Failure, Outcome};

mod bundle;
mod diff;
mod import;
mod in_force;
mod lint;
mod quote;
mod show;

pub(crate) use in_force::add;

#[derive(Debug, Subcommand)]
pub(crate) enum PriceVerb {
    /// The cards, the models of one, or the prices of a model.
    Show(ShowArgs),
    /// What quantities cost: each charge with its rate and its rule.
    Quote(QuoteArgs),
    /// What of the ledger has no price, the most events first.
    Gaps(GapsArgs),
    /// Check cards: their form, and the relations that prices obey. Exit 1 when something is found.
    Lint(LintArgs),
    /// What differs between two cards, price by price, and in money over usage.
    Diff(DiffArgs),
    /// Load cards or selling rules into the database; or make a card from the price files of LiteLLM
    /// and genai-prices, for review.
    Import(ImportArgs),
    /// Put a revision in force, on every proxy within a second.
    Activate(ActivateArgs),
    /// Prices in one signed file.
    #[command(subcommand)]
    Bundle(bundle::BundleVerb),
}

/// Which cards.
#[derive(Debug, Args)]
pub(crate) struct CardsArg {
    /// Card files and selling rules, or directories of them, in place of the built-in cards of the same
    /// vendors. May be repeated.
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
    /// The revisions in the database and which are in force, asked of the collector.
    #[arg(long, conflicts_with_all = ["model", "paths"])]
    in_force: bool,
    #[command(flatten)]
    reach: Reach,
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
    /// Who is charged, by the selling rules among --cards, or with --in-force by those of the
    /// deployment. Without rules the price is the cost.
    #[arg(long)]
    tenant: Option<String>,
    /// The tenant's plan [default with --in-force: as the tenant has it].
    #[arg(long)]
    plan: Option<String>,
    /// By the cards and selling rules in force, asked of the collector.
    #[arg(long, conflicts_with_all = ["batch", "paths"])]
    in_force: bool,
    /// Read such calls from standard input, one JSON object a line, and answer line by line.
    #[arg(long, conflicts_with_all = ["provider", "models", "usage", "at", "conditions", "tenant", "plan"])]
    batch: bool,
    #[command(flatten)]
    cards: CardsArg,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct GapsArgs {
    /// Only this tenant's events.
    #[arg(long)]
    tenant: Option<String>,
    /// Only this vendor's.
    #[arg(long)]
    provider: Option<String>,
    /// Started at or after, RFC 3339 or a day.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Started before.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct ActivateArgs {
    /// A loaded revision, or its first characters, at least eight; or a file, which is loaded first,
    /// a signed bundle as a whole.
    #[arg(value_name = "REVISION-OR-FILE")]
    revision: String,
    /// Why, for the audit log.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    reach: Reach,
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
    /// A card file or one of selling rules, `built-in` for the built-in card of the other one's vendor, `active` for the one
    /// in force, or a revision of the database.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// As BEFORE.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Usage to price by both: what `farebox usage --group-by provider,model,meter --json` printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["last_month", "from", "to"])]
    usage: Option<PathBuf>,
    /// In money over every event of the last 30 days in the ledger.
    #[arg(long, conflicts_with_all = ["from", "to"])]
    last_month: bool,
    /// In money over the ledger's events from here, RFC 3339 or a day.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// In money over the ledger's events before here.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["cards", "litellm", "genai_prices"]))]
pub(crate) struct ImportArgs {
    /// Cards or selling rules, or one signed bundle, to load into the database, not in force yet.
    #[arg(value_name = "CARD", conflicts_with_all = ["litellm", "genai_prices", "provider", "onto", "out"])]
    cards: Vec<PathBuf>,
    /// The vendor whose models are taken out of the price files.
    #[arg(long, required_unless_present = "cards")]
    provider: Option<String>,
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
    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(verb: &PriceVerb) -> Outcome {
    match verb {
        PriceVerb::Show(args) => show::run(args),
        PriceVerb::Quote(args) => quote::run(args),
        PriceVerb::Lint(args) => lint::run(args),
        PriceVerb::Diff(args) => diff::run(args),
        PriceVerb::Gaps(args) => in_force::gaps(args),
        PriceVerb::Import(args) if !args.cards.is_empty() => in_force::load(args),
        PriceVerb::Import(args) => import::run(args),
        PriceVerb::Activate(args) => in_force::activate(args),
        PriceVerb::Bundle(verb) => bundle::run(verb),
    }
}

/// What a file holds.
enum Held {
    Card(Box<RateCard>),
    Selling(Box<SellingRules>),
}

/// The built-in cards with these in their place. Every mistake of every file is told.
fn load(cards: &CardsArg) -> Outcome<CardSet> {
    let mut set = CardSet::built_in().clone();
    let mut mistakes = Vec::new();
    for path in files(&cards.paths)? {
        match read(&path)? {
            Ok(Held::Card(card)) => set = set.with_active(Arc::new(*card)),
            Ok(Held::Selling(rules)) => set = set.with_selling(Arc::new(*rules)),
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

/// A card or selling rules, or what is wrong with them, each with the file's name before it.
fn read(path: &Path) -> Outcome<Result<Held, Vec<String>>> {
    let text = text_of(path)?;
    let held = if SellingRules::is_meant(&text) {
        SellingRules::from_json(&text).map(|rules| Held::Selling(Box::new(rules)))
    } else {
        RateCard::from_json(&text).map(|card| Held::Card(Box::new(card)))
    };
    Ok(held.map_err(|invalid| {
        let with_file = |problem| format!("{}: {problem}", path.display());
        invalid.0.into_iter().map(with_file).collect()
    }))
}

/// As [`read`], where only a vendor's card will do.
fn read_card(path: &Path) -> Outcome<Result<RateCard, Vec<String>>> {
    Ok(match read(path)? {
        Ok(Held::Card(card)) => Ok(*card),
        Ok(Held::Selling(_)) => Err(vec![format!("{}: is no rate card", path.display())]),
        Err(mistakes) => Err(mistakes),
    })
}

/// A file's text; one that is no card anyway is not read into memory.
fn text_of(path: &Path) -> Outcome<String> {
    let missing = |error| Failure::missing(path.display(), error);
    let bytes = std::fs::metadata(path).map_err(missing)?.len();
    if bytes > CARD_BYTES_MAX as u64 {
        let message = format!("{}: larger than {CARD_BYTES_MAX} bytes", path.display());
        return Err(Failure::Usage(message));
    }
    std::fs::read_to_string(path).map_err(missing)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    /// The words of a line, as a shell takes it apart: quotes keep spaces, a redirection ends it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for c in line.chars() {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, '<') => break,
                (None, ' ') => {
                    words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()))
                }
                (_, c) => word.push(c),
            }
        }
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words
    }

    #[test]
    fn every_line_of_the_page_on_prices_is_one_of_ours() {
        let page = include_str!("../../docs/reference/pricing.md");
        let blocks = page.split("```sh\n").skip(1);
        let lines = blocks.flat_map(|rest| rest.split("```").next().unwrap_or_default().lines());
        let mut count = 0;
        for line in lines.filter(|line| line.starts_with("farebox ")) {
            if let Err(error) = Cli::try_parse_from(words(line)) {
                panic!("{line}: {error}");
            }
            count += 1;
        }
        assert!(count > 10, "only {count} lines");
        assert!(Cli::try_parse_from(words("farebox price quote --modle x")).is_err());
    }
}
