//! The `farebox` program: one process a role, everything together in `up` and `demo`, and the verbs
//! that are clients of a running collector or of the spool's directory.

mod allocator;
mod api;
mod args;
mod certificates;
mod check;
mod cluster;
mod config;
mod connection;
mod data_dir;
mod database;
mod demo;
mod deployment;
mod failure;
mod price;
mod roles;
mod say;
mod simulate;
mod table;
mod up;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use args::{Cli, Verb};
use failure::Outcome;

/// A third of a call's work in this process is small allocations, and this one is cheaper at them.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    farebox_proxy::process::use_small_pages();
    let cli = Cli::parse();
    write_log(cli.log_json, default_level(&cli.verb));
    farebox_proxy::tls::install_provider();
    match run(&cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("farebox: {failure}");
            failure.exit_code()
        }
    }
}

fn run(verb: &Verb) -> Outcome {
    match verb {
        Verb::Up(args) => roles::block_on(up::run(args)),
        Verb::Demo(args) => roles::block_on(demo::run(args)),
        Verb::Proxy(args) => roles::block_on(roles::proxy(args)),
        Verb::Collector(args) => roles::block_on(roles::collector(args)),
        Verb::Migrate(args) => roles::block_on(roles::migrate(args)),
        Verb::Simulate(args) => roles::block_on(roles::simulate(args)),
        Verb::Check(args) => roles::block_on(check::run(args)),
        Verb::Tenant(verb) => verbs::tenant::run(verb),
        Verb::Customer(verb) => verbs::customer::run(verb),
        Verb::Key(verb) => verbs::key::run(verb),
        Verb::Credential(verb) => verbs::credential::run(verb),
        Verb::Apply(args) => verbs::apply::run(args),
        Verb::Limit(verb) => verbs::limit::run(verb),
        Verb::Usage(args) => verbs::usage::usage(args),
        Verb::Events(args) => verbs::usage::events(args),
        Verb::Sessions(args) => verbs::usage::sessions(args),
        Verb::Runs(args) => verbs::runs::run(args),
        Verb::Trace(args) => verbs::trace::run(args),
        Verb::Export(args) => verbs::export::run(args),
        Verb::Reconcile(args) => verbs::reconcile::run(args),
        Verb::Reread(args) => verbs::reread::run(args),
        Verb::Price(verb) => price::run(verb),
        Verb::Invoice(verb) => verbs::invoice::run(verb),
        Verb::Retag(args) => verbs::retag::run(args),
        Verb::Node(verb) => verbs::invoice::node(verb),
        Verb::Reprice(args) => verbs::reprice::run(args),
        Verb::Spool(verb) => verbs::spool::run(verb),
        Verb::IngestToken(verb) => verbs::ingest_token::run(verb),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "farebox", &mut script);
            say::say(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
    }
}

/// A server says what it does; a program for people speaks up only when something is wrong.
fn default_level(verb: &Verb) -> &'static str {
    match verb {
        Verb::Proxy(_) | Verb::Collector(_) | Verb::Simulate(_) => "info",
        _ => "warn",
    }
}

/// Standard error, from that level up unless `RUST_LOG` says otherwise.
fn write_log(as_json: bool, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if as_json {
        log.json().init();
    } else {
        // Colours are a feature that is not built in; asked for, they are a warning before every answer.
        log.with_ansi(false).init();
    }
}
