//! `farebox up`: everything on this machine, until SIGINT or SIGTERM.

use crate::args::UpArgs;
use crate::config::{self, credential_variable};
use crate::connection::Connection;
use crate::data_dir::DataDir;
use crate::deployment::Deployment;
use crate::failure::Outcome;
use crate::roles::{built_in_upstreams, stop_signal};

/// Runs until stopped.
pub(crate) async fn run(args: &UpArgs) -> Outcome {
    let settings = config::load(args.config.as_deref(), &built_in_upstreams())?;
    let data_dir = DataDir::resolve(args.data_dir.data_dir.as_deref(), "farebox")?;
    let stop = stop_signal()?;
    let with_credential: Vec<String> = settings
        .upstreams
        .iter()
        .filter(|(_, upstream)| upstream.credential.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    let amend = |settings: &mut config::Settings, simulator| {
        settings
            .proxy
            .test_upstream
            .get_or_insert_with(|| format!("http://{simulator}"));
    };
    let deployment = Deployment::start(data_dir.clone(), settings, &amend, true, &stop).await?;
    greet(&deployment.connection, &data_dir, &with_credential);
    stop.cancelled().await;
    deployment.stop(true).await
}

fn greet(connection: &Connection, data_dir: &DataDir, with_credential: &[String]) {
    println!("\nFarebox is up.\n");
    print_addresses(connection, data_dir);
    if with_credential.is_empty() {
        let variables: Vec<String> = built_in_upstreams()
            .into_iter()
            .map(credential_variable)
            .collect();
        println!(
            "\nNo provider credential is set ({}): live keys",
            variables.join(", ")
        );
        println!("get 503 credential_missing; test keys reach the simulated upstream.");
    } else {
        println!("\nProvider credentials: {}.", with_credential.join(", "));
    }
    println!("\nA first tenant and its key:\n");
    println!("  farebox tenant create acme");
    println!("  farebox key issue --name first --tenant acme --environment test --reveal\n");
}

/// A password belongs into `connection.json` and on no screen.
fn shown(database_url: &str) -> String {
    if database_url.contains('@') {
        "database_url in connection.json".to_owned()
    } else {
        format!("psql '{database_url}'")
    }
}

/// The addresses, one a line.
pub(crate) fn print_addresses(connection: &Connection, data_dir: &DataDir) {
    if let Some(url) = &connection.proxy_url {
        println!("  proxy        {url}");
    }
    if let Some(url) = &connection.proxy_tls_url {
        let ca = connection
            .ca_file
            .as_deref()
            .map(|file| format!("   (trust {file})"));
        println!("  proxy, TLS   {url}{}", ca.unwrap_or_default());
    }
    println!("  operations   {}/metrics", connection.ops_url);
    println!("  collector    {}", connection.collector_url);
    println!("  database     {}", shown(&connection.database_url));
    println!("  data         {}", data_dir.path().display());
}
