//! `farebox export`: the ledger as a file, streamed through. A file is there under its name only when it
//! is whole; what is written on the way is said on the terminal.

use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::{query, refuse_existing};
use crate::api::Api;
use crate::args::{ExportArgs, ExportFormat};
use crate::failure::{Failure, Outcome};

/// Between two words about how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
const BYTES_A_MEBIBYTE: u64 = 1024 * 1024;

pub(crate) fn run(args: &ExportArgs) -> Outcome {
    refuse_existing(args.out.as_deref())?;
    let format = format(args)?
        .to_possible_value()
        .map(|value| value.get_name().to_owned());
    let query = query([
        ("format", &format),
        ("month", &args.month),
        ("from", &args.from),
        ("to", &args.to),
        ("tenant", &args.tenant),
        ("environment", &args.environment),
    ]);
    let api = Api::reach(&args.reach)?;
    let Some(path) = &args.out else {
        let mut out = std::io::stdout().lock();
        let mut progress = Progress::new(!out.is_terminal());
        return api.stream("/api/v1/export", &query, &mut |bytes| {
            progress.add(bytes.len());
            match out.write_all(bytes).and_then(|()| out.flush()) {
                // A reader that has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
                written => written,
            }
        });
    };
    let part = beside(path);
    let written = write(&api, &query, &part, path);
    if written.is_err() {
        // What is left of a part that was never whole is of no use to anybody.
        drop(std::fs::remove_file(&part));
    }
    written
}

/// `--json` and `--csv` say nothing that `--format` contradicts; all but JSON are CSV.
fn format(args: &ExportArgs) -> Outcome<ExportFormat> {
    match (args.format, args.reach.json, args.reach.csv) {
        (None | Some(ExportFormat::Json), true, _) => Ok(ExportFormat::Json),
        (Some(_), true, _) | (Some(ExportFormat::Json), _, true) => Err(Failure::Usage(
            "--json or --csv and --format name two shapes".to_owned(),
        )),
        (format, ..) => Ok(format.unwrap_or(ExportFormat::Csv)),
    }
}

fn write(api: &Api, query: &[(&str, &str)], part: &Path, path: &Path) -> Outcome {
    let at = |path: &Path| path.display().to_string();
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(part)
        .map_err(|error| Failure::missing(at(part), error))?;
    let mut progress = Progress::new(true);
    api.stream("/api/v1/export", query, &mut |bytes| {
        progress.add(bytes.len());
        file.write_all(bytes)
    })?;
    file.sync_all()
        .and_then(|()| std::fs::rename(part, path))
        .map_err(|error| Failure::missing(at(path), error))
}

/// The name a file has until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// How far it is, on standard error where that is somebody's terminal.
struct Progress {
    is_shown: bool,
    bytes: u64,
    said_at: Instant,
    has_said: bool,
}

impl Progress {
    fn new(is_wanted: bool) -> Self {
        Self {
            is_shown: is_wanted && std::io::stderr().is_terminal(),
            bytes: 0,
            said_at: Instant::now(),
            has_said: false,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.is_shown && self.said_at.elapsed() >= PROGRESS_INTERVAL {
            self.said_at = Instant::now();
            self.has_said = true;
            eprint!("\r{} MiB", self.bytes / BYTES_A_MEBIBYTE);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_said {
            eprintln!("\r{} MiB", self.bytes / BYTES_A_MEBIBYTE);
        }
    }
}
