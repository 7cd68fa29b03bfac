//! Certificates for tests, and clients that trust just one file of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Result;

/// A certificate for localhost, signed by itself, as two PEM files.
pub struct Certificate {
    /// The certificate; also what a client has to trust.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Writes a new certificate for `localhost` and `127.0.0.1` into `folder`.
pub fn certificate(folder: &Path) -> Result<Certificate> {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let files = Certificate {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem())?;
    std::fs::write(&files.key, made.signing_key.serialize_pem())?;
    Ok(files)
}

/// An acceptor with this certificate that offers `alpn`.
pub fn server(files: &Certificate, alpn: &[&str]) -> Result<TlsAcceptor> {
    let chain: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(&files.cert)?.collect();
    let key = PrivateKeyDer::from_pem_file(&files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain?, key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A connector that trusts the certificates in `ca` and offers `alpn`.
pub fn client(ca: &Path, alpn: &[&str]) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name every test server goes by.
#[must_use]
pub fn localhost() -> ServerName<'static> {
    ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into())
}
