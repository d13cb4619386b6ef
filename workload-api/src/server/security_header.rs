//! The header that a browser or a proxied request cannot have.
//!
//! Standard: SPIFFE Workload Endpoint §3, §6.

use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

/// Name of the header.
pub const SECURITY_HEADER: &str = "workload.spiffe.io";

/// Refuses requests without the header; an interceptor of tonic.
///
/// # Errors
/// `InvalidArgument`.
pub fn require_security_header(request: Request<()>) -> Result<Request<()>, Status> {
    if has_security_header(request.metadata()) {
        Ok(request)
    } else {
        Err(Status::invalid_argument("security header missing from request"))
    }
}

/// Exactly one value, and exactly this one.
fn has_security_header(metadata: &MetadataMap) -> bool {
    let mut values = metadata.get_all(SECURITY_HEADER).iter();
    matches!((values.next(), values.next()), (Some(value), None) if value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[&str]) -> bool {
        let mut request = Request::new(());
        for value in values {
            request.metadata_mut().append(SECURITY_HEADER, value.parse().unwrap());
        }
        require_security_header(request).is_ok()
    }

    #[test]
    fn workload_endpoint_3_accepts_the_one_value_alone() {
        assert!(with(&["true"]));
        for values in [&[][..], &["True"], &["1"], &[""], &["true", "true"], &["true,true"], &["false", "true"]] {
            assert!(!with(values), "{values:?}");
        }
    }
}
