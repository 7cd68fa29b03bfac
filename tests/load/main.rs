//! `farebox-load`: a lean load generator, an upstream that costs next to nothing, and the benchmark
//! that puts the proxy beside nginx.
//!
//! Owns: the command line. The generator speaks HTTP/1.1 over kept connections, plain or TLS, with no
//! HTTP library, so that its own cost stays small and constant. It only ever talks to loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use farebox_tests::Result;

mod bench;
mod client;
mod figures;
mod ingest;
mod nginx;
mod ours;
mod rounds;
mod table;
mod train;
mod upstream;

/// A load generator for Farebox.
#[derive(Parser)]
#[command(name = "farebox-load")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves canned chat answers: JSON, or an event stream when the request asks for one.
    Upstream {
        /// Where to listen; port 0 takes any free one. The address is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Sends requests as fast as answers come, or at a given rate.
    Run {
        /// Where to.
        #[arg(long)]
        to: SocketAddr,
        /// The request's path.
        #[arg(long, default_value = "/v1/chat/completions")]
        path: String,
        /// A virtual key.
        #[arg(long, default_value = "none")]
        key: String,
        /// Speak TLS, trusting this file of certificates.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// Ask for event streams.
        #[arg(long)]
        stream: bool,
        /// Connections kept open.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Requests a second; without it, as many as can be.
        #[arg(long)]
        rate: Option<u32>,
        /// How long, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Opens slow event streams and holds them.
    Streams {
        /// Where to.
        #[arg(long)]
        to: SocketAddr,
        /// The request's path.
        #[arg(long, default_value = "/v1/chat/completions")]
        path: String,
        /// A virtual key.
        #[arg(long, default_value = "none")]
        key: String,
        /// Speak TLS, trusting this file of certificates.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: usize,
    },
    /// Puts the proxy beside nginx and prints the table.
    Bench(bench::Options),
    /// Sends a mix of calls through a deployment that counts which of its code runs.
    Train(train::Options),
    /// Ships events to a collector as fast as it takes them, and prints what it and Postgres use.
    Ingest(ingest::Options),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Upstream { listen } => upstream::serve(listen).await,
            Command::Run {
                to,
                path,
                key,
                ca,
                stream,
                connections,
                rate,
                seconds,
            } => {
                let target = client::Target::new("given", to, ca.as_deref())?.with_request(
                    &path,
                    &key,
                    if stream {
                        client::Ask::Stream
                    } else {
                        client::Ask::Json
                    },
                );
                let seconds = Duration::from_secs(seconds);
                let outcome = match rate {
                    Some(rate) => rounds::paced(&target, rate, seconds).await?,
                    None => rounds::closed(&target, connections, seconds).await?,
                };
                println!("{outcome}");
                Ok(())
            }
            Command::Streams {
                to,
                path,
                key,
                ca,
                count,
            } => {
                let target = client::Target::new("given", to, ca.as_deref())?.with_request(
                    &path,
                    &key,
                    client::Ask::SlowStream,
                );
                let open = rounds::SlowStreams::open(&target, count).await?;
                println!("{count} streams open; first byte {}", open.first_bytes);
                open.close().await;
                Ok(())
            }
            Command::Bench(options) => bench::run(options).await,
            Command::Ingest(options) => ingest::run(options).await,
            Command::Train(options) => train::run(options).await,
        }
    })
}
