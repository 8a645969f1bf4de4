//! Papers: the certificate and key that a server is shown in its TLS handshake, and the
//! authorities that may vouch for the server there.

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::SslConnectorBuilder,
    x509::{X509, store::X509StoreBuilder},
};

use crate::domain::ServerTls;

/// The longest PEM text, in bytes.
const PEM_BYTES: usize = 64 * 1_024;

/// Why papers are no good. None of it repeats what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusablePapers {
    /// Longer than a text may be.
    #[error("{0} is longer than {PEM_BYTES} bytes")]
    Long(&'static str),
    /// Not PEM, or PEM of something else.
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(&'static str),
    /// Not a private key.
    #[error("key is no private key in PEM, or it is encrypted")]
    NoKey,
    /// One without the other.
    #[error("certificate and key are given together, or neither")]
    Half,
    /// A key of another certificate.
    #[error("key does not belong to the first certificate")]
    Mismatch,
}

/// What is shown in a handshake, read.
pub(crate) struct Papers {
    /// The gateway's own certificate first.
    chain: Vec<X509>,
    key: Option<PKey<Private>>,
    authorities: Vec<X509>,
}

impl Papers {
    /// Reads what people gave.
    pub(crate) fn read(tls: &ServerTls) -> Result<Self, UnusablePapers> {
        let chain = certificates("certificate", tls.certificate.as_deref())?;
        let authorities = certificates("ca", tls.ca.as_deref())?;
        let key = tls.key.as_ref().map(|key| private_key(key.expose())).transpose()?;
        match (chain.first(), &key) {
            (None, None) => {}
            (Some(own), Some(key)) => {
                if !own.public_key().is_ok_and(|public| public.public_eq(key)) {
                    return Err(UnusablePapers::Mismatch);
                }
            }
            _ => return Err(UnusablePapers::Half),
        }
        Ok(Self { chain, key, authorities })
    }

    /// Has them shown, and looked at, in the handshakes of a connector.
    pub(super) fn show(&self, tls: &mut SslConnectorBuilder) -> Result<(), ErrorStack> {
        if let (Some((own, others)), Some(key)) = (self.chain.split_first(), &self.key) {
            tls.set_certificate(own)?;
            for other in others {
                tls.add_extra_chain_cert(other.clone())?;
            }
            tls.set_private_key(key)?;
        }
        if !self.authorities.is_empty() {
            let mut store = X509StoreBuilder::new()?;
            for authority in &self.authorities {
                store.add_cert(authority.clone())?;
            }
            // The system's are not asked any more.
            tls.set_cert_store(store.build());
        }
        Ok(())
    }

    /// Whose the gateway's certificate is and when it ends, as people read it.
    pub(crate) fn own(&self) -> Option<(String, String)> {
        let own = self.chain.first()?;
        let entries = own.subject_name().entries();
        let names = entries.filter_map(|entry| {
            let kind = entry.object().nid().short_name().ok()?;
            Some(format!("{kind}={}", entry.data().to_string().ok()?))
        });
        Some((names.collect::<Vec<_>>().join(", "), own.not_after().to_string()))
    }

    /// How many authorities may vouch for the server in place of the system's.
    pub(crate) const fn authorities(&self) -> usize {
        self.authorities.len()
    }
}

fn certificates(member: &'static str, pem: Option<&str>) -> Result<Vec<X509>, UnusablePapers> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    if pem.len() > PEM_BYTES {
        return Err(UnusablePapers::Long(member));
    }
    let read = X509::stack_from_pem(pem.as_bytes());
    let read = read.map_err(|_| UnusablePapers::NoCertificate(member))?;
    if read.is_empty() { Err(UnusablePapers::NoCertificate(member)) } else { Ok(read) }
}

fn private_key(pem: &str) -> Result<PKey<Private>, UnusablePapers> {
    if pem.len() > PEM_BYTES {
        return Err(UnusablePapers::Long("key"));
    }
    // Without the callback OpenSSL would ask the terminal for a password.
    let key = PKey::private_key_from_pem_callback(pem.as_bytes(), |_| Ok(0));
    key.map_err(|_| UnusablePapers::NoKey)
}

#[cfg(test)]
mod tests {
    use openssl::{
        asn1::Asn1Time, ec::EcGroup, ec::EcKey, hash::MessageDigest, nid::Nid, symm::Cipher,
        x509::X509NameBuilder,
    };

    use super::{
        UnusablePapers::{Half, Long, Mismatch, NoCertificate, NoKey},
        *,
    };
    use crate::domain::Secret;

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
    }

    fn text(pem: Result<Vec<u8>, ErrorStack>) -> String {
        String::from_utf8(pem.expect("PEM")).expect("text")
    }

    fn certificate(key: &PKey<Private>) -> String {
        let mut name = X509NameBuilder::new().expect("a name");
        name.append_entry_by_text("CN", "gateway").expect("a name");
        let name = name.build();
        let mut made = X509::builder().expect("a certificate");
        let in_days = |days| Asn1Time::days_from_now(days).expect("a time");
        made.set_subject_name(&name).expect("a name");
        made.set_issuer_name(&name).expect("a name");
        made.set_pubkey(key).expect("a key");
        made.set_not_before(&in_days(0)).expect("a time");
        made.set_not_after(&in_days(9)).expect("a time");
        made.sign(key, MessageDigest::sha256()).expect("signed");
        text(made.build().to_pem())
    }

    fn read(
        certificate: Option<&str>,
        key: Option<&str>,
        ca: Option<&str>,
    ) -> Result<Papers, UnusablePapers> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let key = key.map(Secret::new);
        Papers::read(&ServerTls { certificate: owned(certificate), key, ca: owned(ca) })
    }

    fn refused(
        certificate: Option<&str>,
        key: Option<&str>,
        ca: Option<&str>,
    ) -> Option<UnusablePapers> {
        read(certificate, key, ca).err()
    }

    #[test]
    fn a_certificate_with_its_key_is_taken() {
        let own = key();
        let (pem, key) = (certificate(&own), text(own.private_key_to_pem_pkcs8()));

        let papers = read(Some(&pem), Some(&key), Some(&pem)).expect("good papers");

        assert_eq!(papers.own().map(|(subject, _)| subject), Some("CN=gateway".to_owned()));
        assert_eq!(papers.authorities(), 1);
    }

    #[test]
    fn what_is_wrong_with_papers_is_said_without_what_is_in_them() {
        let (own, other) = (key(), key());
        let (pem, key) = (certificate(&own), text(own.private_key_to_pem_pkcs8()));
        let others = text(other.private_key_to_pem_pkcs8());
        let (cipher, word) = (Cipher::aes_256_cbc(), b"password");
        let locked = text(own.private_key_to_pem_pkcs8_passphrase(cipher, word));
        let long = "x".repeat(PEM_BYTES + 1);

        assert_eq!(refused(Some(&pem), None, None), Some(Half));
        assert_eq!(refused(None, Some(&key), None), Some(Half));
        assert_eq!(refused(Some(&pem), Some(&others), None), Some(Mismatch));
        assert_eq!(refused(Some(&pem), Some("nonsense"), None), Some(NoKey));
        assert_eq!(refused(Some(&pem), Some(&locked), None), Some(NoKey));
        assert_eq!(refused(Some(&key), Some(&key), None), Some(NoCertificate("certificate")));
        assert_eq!(refused(None, None, Some("nonsense")), Some(NoCertificate("ca")));
        assert_eq!(refused(None, None, Some(&long)), Some(Long("ca")));
        assert_eq!(refused(None, Some(&long), None), Some(Long("key")));
    }
}
