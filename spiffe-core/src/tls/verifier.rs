//! Who the peer is.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Authorizer, TlsSource};
use crate::id::SpiffeId;
use crate::time::Timestamp;
use crate::x509::{Certificate, MAX_CHAIN_LENGTH, Purpose, X509Error, check_leaf, verify_svid_for};

/// Why a peer was refused; it stands in the handshake's [`CertificateError::Other`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerRefused {
    /// The SVID does not verify.
    #[error("peer's X.509-SVID is refused: {0}")]
    Svid(#[from] X509Error),
    /// The SVID verifies, but the authorizer does not accept its ID.
    #[error("peer {id} is not authorized")]
    Unauthorized {
        /// The peer.
        id: SpiffeId,
    },
}

/// As the message: rustls shows errors of others in this form alone, and it should be readable in logs.
impl fmt::Debug for PeerRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The SPIFFE ID of a peer whose handshake succeeded, from the certificates that the connection kept
/// (`CommonState::peer_certificates`).
///
/// Verifies nothing: the configurations of this module did, and no other must have been used.
///
/// # Errors
/// [`X509Error::NoCertificate`] for a peer that showed none; otherwise as [`check_leaf`].
pub fn peer_id(certificates: &[CertificateDer<'_>]) -> Result<SpiffeId, X509Error> {
    check_leaf(&Certificate::from_der(certificates.first().ok_or(X509Error::NoCertificate)?)?)
}

pub(super) struct Verifier<S, A> {
    source: S,
    authorizer: A,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether a client has to show a certificate; servers always have to.
    mandatory: bool,
}

impl<S: TlsSource, A: Authorizer> Verifier<S, A> {
    pub(super) fn new(source: S, authorizer: A, algorithms: WebPkiSupportedAlgorithms, mandatory: bool) -> Self {
        Self { source, authorizer, algorithms, mandatory }
    }

    fn check(
        &self,
        purpose: Purpose,
        leaf: &[u8],
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, PeerRefused> {
        if rest.len() >= MAX_CHAIN_LENGTH {
            return Err(X509Error::ChainTooLong { length: rest.len() + 1 }.into());
        }
        let chain = std::iter::once(leaf)
            .chain(rest.iter().map(AsRef::as_ref))
            .map(Certificate::from_der)
            .collect::<Result<Vec<_>, _>>()?;
        let now = Timestamp::from_unix(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let id = verify_svid_for(purpose, &chain, &self.source.bundles(), now)?;
        if self.authorizer.authorize(&id) { Ok(id) } else { Err(PeerRefused::Unauthorized { id }) }
    }

    fn verify(&self, purpose: Purpose, leaf: &[u8], rest: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        match self.check(purpose, leaf, rest, now) {
            Ok(_) => Ok(()),
            Err(refused) => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))),
        }
    }
}

impl<S, A> fmt::Debug for Verifier<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("mandatory", &self.mandatory).finish_non_exhaustive()
    }
}

impl<S: TlsSource, A: Authorizer> ServerCertVerifier for Verifier<S, A> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(Purpose::TlsServer, end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl<S: TlsSource, A: Authorizer> ClientCertVerifier for Verifier<S, A> {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(Purpose::TlsClient, end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
