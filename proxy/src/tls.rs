//! TLS to both sides: certificates of our listener, read again when the file changes, and trust
//! towards upstreams. The only file that names rustls.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::TlsConfig;

/// How often the certificate's file is looked at for a change.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What cannot be used, and why.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

fn because(path: &Path, what: &str, error: impl fmt::Display) -> TlsError {
    TlsError(format!("{what} {}: {error}", path.display()))
}

/// The listener's side: hands out an acceptor made from the present certificate.
pub struct Acceptor {
    config: TlsConfig,
    current: RwLock<(TlsAcceptor, Option<SystemTime>)>,
}

impl Acceptor {
    /// Reads certificate and key; fails with the file's name.
    pub fn load(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(config)?));
        let current = RwLock::new((acceptor, modified(&config.cert)));
        Ok(Arc::new(Self {
            config: config.clone(),
            current,
        }))
    }

    /// The acceptor of the present certificate.
    #[must_use]
    pub fn current(&self) -> TlsAcceptor {
        self.current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
            .clone()
    }

    /// Watches the certificate's file for ever. A file that does not parse is logged and the old
    /// certificate stays.
    pub async fn reload_on_change(self: Arc<Self>) {
        loop {
            tokio::time::sleep(CERTIFICATE_CHECK_INTERVAL).await;
            let seen = modified(&self.config.cert);
            let known = self
                .current
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .1;
            if seen.is_none() || seen == known {
                continue;
            }
            match server_config(&self.config) {
                Ok(config) => {
                    let mut current = self
                        .current
                        .write()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    *current = (TlsAcceptor::from(Arc::new(config)), seen);
                    tracing::info!(cert = %self.config.cert.display(), "certificate read again");
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificate is not usable; the old one stays")
                }
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|meta| meta.modified())
        .ok()
}

fn server_config(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&config.cert)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|error| because(&config.key, "private key", error))?;
    let builder = ServerConfig::builder();
    let builder = match &config.client_ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            add_authorities(&mut roots, path)?;
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .map_err(|error| because(path, "client authority", error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|error| because(&config.cert, "certificate", error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| because(path, "certificate", error))?
        .collect();
    let chain = chain.map_err(|error| because(path, "certificate", error))?;
    if chain.is_empty() {
        return Err(TlsError(format!(
            "certificate {}: no certificate in the file",
            path.display()
        )));
    }
    Ok(chain)
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| because(path, "authority", error))?;
    }
    Ok(())
}

/// Makes `ring` the process's provider; harmless when done before.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The upstream's side: trust and the protocols we offer.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Connector {
    /// Trusts the public authorities and those of `ca_file`; offers HTTP/2 when `with_h2`.
    pub fn new(ca_file: Option<&PathBuf>, with_h2: bool) -> Result<Self, TlsError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(path) = ca_file {
            add_authorities(&mut roots, path)?;
        }
        let mut client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = if with_h2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        Ok(Self(TlsConnector::from(Arc::new(client))))
    }

    /// The same trust for a connection that is to speak HTTP/1.1.
    #[must_use]
    pub fn without_h2(&self) -> Self {
        let mut client = ClientConfig::clone(self.0.config());
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(TlsConnector::from(Arc::new(client)))
    }

    /// Shakes hands as a client of `host`.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<ClientStream, TlsError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| TlsError(format!("host {host}: {error}")))?;
        self.0
            .connect(name, stream)
            .await
            .map_err(|error| TlsError(format!("host {host}: {error}")))
    }
}

/// A TLS stream to an upstream.
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;
/// A TLS stream from a caller.
pub type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Whether the two sides agreed on HTTP/2.
#[must_use]
pub fn client_speaks_h2(stream: &ClientStream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Whether the two sides agreed on HTTP/2.
#[must_use]
pub fn server_speaks_h2(stream: &ServerStream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
