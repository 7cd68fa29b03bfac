//! The line to Postgres: encrypted as the address asks, to whom it asks, or not at all.

use std::net::TcpListener;
use std::process::Command;

use farebox_collector::store::Store;
use farebox_tests::postgres::Cluster;
use farebox_tests::tls;

use crate::support::Result;

/// A cluster that speaks TLS on a port of its own.
async fn cluster() -> Result<(Cluster, u16, tls::Certificate)> {
    let cluster = Cluster::start()?;
    let files = tls::certificate(cluster.folder())?;
    for file in [&files.cert, &files.key] {
        let mode = Command::new("chmod").arg("600").arg(file).status()?;
        assert!(mode.success());
        // Run by a person, the cluster is that person's.
        let data = std::fs::metadata(cluster.folder().join("data"))?;
        let owner = std::os::unix::fs::MetadataExt::uid(&data);
        std::os::unix::fs::chown(file, Some(owner), None)?;
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let client = cluster.connect("postgres").await?;
    for (name, value) in [
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", files.cert.display().to_string()),
        ("ssl_key_file", files.key.display().to_string()),
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
    ] {
        let set = format!("alter system set {name} = '{value}'");
        client.batch_execute(&set).await?;
    }
    drop(client);
    cluster.stop()?;
    cluster.resume()?;
    Ok((cluster, port, files))
}

/// Whether the connection is encrypted; an error where there is none.
async fn is_encrypted(url: &str) -> Result<bool> {
    let client = Store::connect(url, 1)?.client().await?;
    let row = client
        .query_one(
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

#[tokio::test]
async fn the_address_decides_how_the_line_is_made_sure_of() -> Result {
    let (cluster, port, files) = cluster().await?;
    let other = tempfile::tempdir()?;
    let other = tls::certificate(other.path())?.cert.display().to_string();
    let own = files.cert.display().to_string();
    let known = format!("host=127.0.0.1 port={port} user=postgres");
    // The same server under a name that its certificate does not have.
    let renamed = format!("host=elsewhere hostaddr=127.0.0.1 port={port} user=postgres");
    let root = |mode: &str, file: &str| format!("sslmode={mode} sslrootcert={file}");
    for (address, parameters, expected) in [
        (&known, String::new(), Some(true)),
        (&known, "sslmode=disable".to_owned(), Some(false)),
        (&known, "sslmode=require".to_owned(), Some(true)),
        (&known, root("verify-full", &own), Some(true)),
        (&known, root("verify-full", &other), None),
        (&known, "sslmode=verify-full".to_owned(), None),
        (&renamed, root("verify-full", &own), None),
        (&renamed, root("verify-ca", &own), Some(true)),
        (&renamed, root("require", &own), Some(true)),
        (&renamed, root("require", &other), None),
    ] {
        let found = is_encrypted(&format!("{address} {parameters}")).await;
        assert_eq!(
            found.as_ref().ok().copied(),
            expected,
            "{parameters}: {found:?}"
        );
    }
    let url = format!(
        "postgres://postgres@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={}",
        own.replace('/', "%2F")
    );
    assert!(is_encrypted(&url).await?);
    // A server that cannot encrypt is refused by whoever insists.
    let client = Store::connect(&known, 1)?.client().await?;
    client.batch_execute("alter system set ssl = off").await?;
    drop(client);
    cluster.stop()?;
    cluster.resume()?;
    assert!(
        is_encrypted(&format!("{known} sslmode=require"))
            .await
            .is_err()
    );
    assert!(!is_encrypted(&known).await?);
    Ok(())
}
