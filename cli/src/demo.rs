//! `farebox demo`: everything on a private cluster, real traffic of three tenants through the proxy
//! to the simulated upstream, then each tenant's invoice.
//!
//! `--once` compares what was booked with what the simulated upstream says it served, to the last
//! digit. It knows nothing of tenants; a call is found in its log by the id it answered with. What
//! was booked before this run does not count.

mod exact;
mod expected;
mod invoice;
mod traffic;

use std::net::SocketAddr;

use farebox_proxy::config::{Secret, UpstreamConfig};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::args::DemoArgs;
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::database;
use crate::deployment::{Deployment, progress};
use crate::failure::{Failure, Outcome};
use crate::roles::stop_signal;
use crate::up::print_addresses;

/// Upstreams that the simulated one stands in for.
const SIMULATED: [&str; 3] = ["openai", "anthropic", "deepgram"];
/// What the simulated upstream is shown as the operator's credential.
const CREDENTIAL: &str = "simulated-credential";

/// Runs until stopped, or once.
pub(crate) async fn run(args: &DemoArgs) -> Outcome {
    let data_dir = DataDir::resolve(args.data_dir.as_deref(), "farebox-demo")?;
    let stop = stop_signal()?;
    let amend = |settings: &mut Settings, simulator: SocketAddr| {
        for name in SIMULATED {
            settings.upstreams.insert(
                name.to_owned(),
                UpstreamConfig {
                    base_url: Some(format!("http://{simulator}")),
                    credential: Some(Secret::new(CREDENTIAL.to_owned())),
                    ..UpstreamConfig::default()
                },
            );
        }
        settings.proxy.test_upstream = Some(format!("http://{simulator}"));
    };
    let mut settings = Settings::default();
    settings.upstreams.clear();
    listen_where_free(&mut settings, args.once);
    eprintln!("Farebox demo, in {}", data_dir.path().display());
    let deployment =
        Deployment::start(data_dir.clone(), settings, &amend, !args.once, &stop).await?;
    let shown = show(&deployment, &stop).await;
    let outcome = match shown {
        Ok(checked) if args.once => {
            println!("\n{checked}");
            Ok(())
        }
        Ok(_) => {
            println!("\nIt stays up; Ctrl-C stops it.\n");
            print_addresses(&deployment.connection, &data_dir);
            traffic::print_curl(&deployment.connection, &data_dir);
            stop.cancelled().await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    let stopped = deployment.stop(!args.once).await;
    outcome.and(stopped)
}

/// The usual addresses, or any free ones where they are taken; `--once` never takes the usual ones.
fn listen_where_free(settings: &mut Settings, takes_any: bool) {
    let free = |addr: SocketAddr| {
        let is_free = !takes_any && std::net::TcpListener::bind(addr).is_ok();
        SocketAddr::new(addr.ip(), if is_free { addr.port() } else { 0 })
    };
    settings.proxy.listen = settings.proxy.listen.map(free);
    settings.proxy.ops_listen = free(settings.proxy.ops_listen);
    settings.collector.listen = free(settings.collector.listen);
    settings.tls_listen = Some(free(crate::deployment::TLS_LISTEN));
}

/// Traffic, invoices, and the comparison; what it says when all is right.
async fn show(deployment: &Deployment, stop: &CancellationToken) -> Outcome<String> {
    let connection = deployment.connection.clone();
    let database = database::connect(&connection.database_url).await?;
    let before = invoice::read_all(&database, &traffic::TENANTS).await?;
    let is_stopped = stop.clone();
    let data_dir = deployment.data_dir().clone();
    let calls = tokio::task::spawn_blocking(move || {
        let api = Api::new(
            &connection.collector_url,
            connection.admin_token.clone(),
            None,
        )?;
        traffic::run(&api, &connection, &data_dir, &is_stopped)
    })
    .await
    .map_err(|error| Failure::missing("demo traffic", error))??;
    progress("waiting for the last event to be booked");
    let booked = invoice::wait_for(&database, &calls, stop).await?;
    let after = invoice::read_all(&database, &traffic::TENANTS).await?;
    println!();
    for tenant in traffic::TENANTS {
        invoice::print(&database, tenant).await?;
    }
    let served = deployment.simulator.truth.calls();
    expected::compare(&calls, &served, &booked, &before, &after)
}
