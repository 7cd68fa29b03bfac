//! The certificate authority and the server certificate that `up` and `demo` make for themselves.
//!
//! Both are made anew at every start and their keys are forgotten or private (0600): the authority's
//! key is never written, so nobody can sign with it later.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::data_dir::DataDir;
use crate::failure::{Failure, Outcome};

/// Names the certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Files of a listener with a generated certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// For clients to trust.
    pub(crate) ca_file: PathBuf,
    /// The listener's certificate.
    pub(crate) cert_file: PathBuf,
    /// Its key.
    pub(crate) key_file: PathBuf,
}

/// Makes them in the data directory.
pub(crate) fn make(data_dir: &DataDir) -> Outcome<Certificates> {
    let made = generate().map_err(|error| Failure::missing("certificate", error))?;
    data_dir.write_private("ca.pem", made.ca.as_bytes())?;
    data_dir.write_private("server.pem", made.cert.as_bytes())?;
    data_dir.write_private("server-key.pem", made.key.as_bytes())?;
    Ok(Certificates {
        ca_file: data_dir.join("ca.pem"),
        cert_file: data_dir.join("server.pem"),
        key_file: data_dir.join("server-key.pem"),
    })
}

struct Pem {
    ca: String,
    cert: String,
    key: String,
}

fn generate() -> Result<Pem, rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name = named("Farebox local authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
    server.distinguished_name = named("Farebox");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let cert = server.signed_by(&key, &issuer)?;
    Ok(Pem {
        ca: issuer.pem(),
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
