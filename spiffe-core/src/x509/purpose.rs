//! What a key is to be used for (RFC 5280 §4.2.1.12).

use webpki::{ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::{Certificate, X509Error};

/// The part that the holder of an SVID plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Whatever the certificate is for.
    Any,
    /// Either side of a connection: certificates that restrict their use name one of them.
    #[default]
    Either,
    /// The client of a TLS connection.
    TlsClient,
    /// The server of a TLS connection.
    TlsServer,
}

/// The extended key usage of a certificate, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtendedKeyUsage {
    /// Whether clients of TLS connections may use it.
    pub client_auth: bool,
    /// Whether servers of TLS connections may use it.
    pub server_auth: bool,
}

impl Purpose {
    fn is_in(self, usage: ExtendedKeyUsage) -> bool {
        match self {
            Self::Any => true,
            Self::Either => usage.client_auth || usage.server_auth,
            Self::TlsClient => usage.client_auth,
            Self::TlsServer => usage.server_auth,
        }
    }

    /// A certificate without the extension is for everything; `anyExtendedKeyUsage` does not stand for others.
    pub(super) fn check(self, certificate: &Certificate) -> Result<(), X509Error> {
        match certificate.extended_key_usage() {
            Some(usage) if !self.is_in(usage) => Err(X509Error::Purpose),
            _ => Ok(()),
        }
    }
}

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut usage = ExtendedKeyUsage::default();
        let mut restricted = false;
        for purpose in purposes {
            let oid = purpose?.to_decoded_oid();
            restricted = true;
            usage.server_auth |= oid == [1, 3, 6, 1, 5, 5, 7, 3, 1];
            usage.client_auth |= oid == [1, 3, 6, 1, 5, 5, 7, 3, 2];
        }
        if !restricted || self.is_in(usage) {
            return Ok(());
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(webpki::RequiredEkuNotFoundContext {
            required: webpki::KeyUsage::client_auth(),
            present: Vec::new(),
        }))
    }
}
