//! Traffic for a build that counts which of its code runs: what `make profile` measures.
//!
//! The counts are written when a process ends in order, so all of them do.

use std::time::Duration;

use farebox_tests::Result;

use crate::bench::start_upstream;
use crate::client::Ask;
use crate::ours::Ours;
use crate::rounds;

/// Connections of each round.
const CONNECTIONS: usize = 64;

/// How long to send.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Length of each of the rounds in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Sends chat calls, JSON and event streams, plain and under TLS, while a collector takes their events.
pub(crate) async fn run(options: Options) -> Result<()> {
    let (_upstream, upstream) = start_upstream().await?;
    let mut ours = Ours::start(upstream).await?;
    ours.start_collector().await?;
    for is_tls in [false, true] {
        for ask in [Ask::Json, Ask::Stream] {
            let target = ours.subject()?.target(is_tls, ask)?;
            let seconds = Duration::from_secs(options.seconds);
            println!("{}", rounds::closed(&target, CONNECTIONS, seconds).await?);
        }
    }
    ours.stop().await
}
