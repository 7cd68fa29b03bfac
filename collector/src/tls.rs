//! The listener's certificate, read again when its files change.
//!
//! A connection keeps the certificate it began with. A pair of files that cannot be used, because only
//! one of them is new yet or at all, is said once and changes nothing.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::TlsConfig;
use crate::{Error, Result};

/// How often the files are looked at for a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// When certificate and key were written, as far as it can be told.
type Written = [Option<SystemTime>; 2];

/// Hands out an acceptor made from the present certificate.
pub(crate) struct Acceptor {
    config: TlsConfig,
    /// As the files were before they were read first.
    written: Written,
    current: RwLock<TlsAcceptor>,
}

impl Acceptor {
    /// Reads certificate and key.
    pub(crate) fn load(config: &TlsConfig) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            config: config.clone(),
            written: written(config),
            current: RwLock::new(read(config)?),
        }))
    }

    /// The acceptor of the present certificate.
    pub(crate) fn current(&self) -> TlsAcceptor {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks after the files until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.written;
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL))
            .await
            .is_some()
        {
            let now = written(&self.config);
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.config) {
                Ok(new) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                    tracing::info!(cert = %self.config.cert.display(), "certificate read again");
                }
                Err(error) => {
                    tracing::warn!(%error, "the changed certificate is not usable; the old one stays");
                }
            }
        }
    }
}

fn written(config: &TlsConfig) -> Written {
    [&config.cert, &config.key].map(|path| {
        std::fs::metadata(path)
            .and_then(|file| file.modified())
            .ok()
    })
}

fn read(config: &TlsConfig) -> Result<TlsAcceptor> {
    let fault = |what: &'static str, path: &Path, cause: &dyn std::fmt::Display| {
        Error::Tls(format!("{what} {}: {cause}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&config.cert)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|cause| fault("collector.tls.cert", &config.cert, &cause))?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|cause| fault("collector.tls.key", &config.key, &cause))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|cause| fault("collector.tls.cert", &config.cert, &cause))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}
