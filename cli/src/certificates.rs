//! The certificate authority and the server certificate that `up` and `demo` make for themselves.
//!
//! Made once for a data directory, so that what trusts it trusts the next start too. Their keys are
//! forgotten or private (0600): the authority's key is never written, so nobody can sign with it later.

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

/// Those of the data directory; makes them when they are not all there.
pub(crate) fn ensure(data_dir: &DataDir) -> Outcome<Certificates> {
    let files = Certificates {
        ca_file: data_dir.join("ca.pem"),
        cert_file: data_dir.join("server.pem"),
        key_file: data_dir.join("server-key.pem"),
    };
    let all = [&files.ca_file, &files.cert_file, &files.key_file];
    if all.iter().all(|file| file.exists()) {
        return Ok(files);
    }
    // The authority goes first and comes last: where it stands, the others are of it.
    data_dir.remove_file("ca.pem")?;
    let made = generate().map_err(|error| Failure::missing("certificate", error))?;
    data_dir.write_private("server-key.pem", made.key.as_bytes())?;
    data_dir.write_private("server.pem", made.cert.as_bytes())?;
    data_dir.write_private("ca.pem", made.ca.as_bytes())?;
    Ok(files)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_is_trusted_by_who_trusted_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::resolve(Some(folder.path()), "test").unwrap();
        let read = |files: &Certificates| {
            [&files.ca_file, &files.cert_file, &files.key_file]
                .map(|file| std::fs::read(file).unwrap())
        };
        let first = read(&ensure(&data_dir).unwrap());
        assert_eq!(read(&ensure(&data_dir).unwrap()), first);
        // Half of them is none of them.
        data_dir.remove_file("server.pem").unwrap();
        let again = read(&ensure(&data_dir).unwrap());
        assert!(again.iter().zip(&first).all(|(new, old)| new != old));
    }
}
