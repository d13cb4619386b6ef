//! JWT-SVIDs as bearer tokens of HTTP and gRPC.

use super::JwtError;
use super::jws::Compact;

const SCHEME: &str = "Bearer ";

/// The value of the HTTP header or gRPC metadata `authorization`.
///
/// Standard: JWT-SVID §5.2, §5.3.
#[must_use]
pub fn to_authorization(token: &str) -> String {
    [SCHEME, token].concat()
}

/// The token out of such a value; the scheme's case does not matter (RFC 9110 §11.1). Nothing is verified.
///
/// # Errors
/// [`JwtError::Malformed`] for another scheme, [`JwtError::Type`] for a token that is not to be borne, as a WIT-SVID
/// (WIT-SVID §5).
pub fn from_authorization(value: &str) -> Result<&str, JwtError> {
    let malformed = JwtError::Malformed { what: "authorization" };
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(malformed.clone())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(malformed);
    }
    match Compact::split(token)?.header.typ.as_deref() {
        None | Some("JWT" | "JOSE") => Ok(token),
        Some(_) => Err(JwtError::Type),
    }
}
