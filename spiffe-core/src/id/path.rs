//! The path of a SPIFFE ID.

use super::IdError;

/// Checks a path: empty, or slash-led segments of letters, digits, dots, dashes and underscores.
///
/// # Errors
/// [`IdError`] names the rule that is broken (SPIFFE-ID §2.2).
pub fn check(path: &str) -> Result<(), IdError> {
    let Some(segments) = path.strip_prefix('/') else {
        return if path.is_empty() { Ok(()) } else { Err(IdError::NoLeadingSlash) };
    };
    let mut rest = segments.split('/').peekable();
    while let Some(segment) = rest.next() {
        if segment.is_empty() && rest.peek().is_none() {
            return Err(IdError::TrailingSlash);
        }
        check_segment(segment)?;
    }
    Ok(())
}

/// Checks one segment.
pub(super) fn check_segment(segment: &str) -> Result<(), IdError> {
    match segment {
        "" => Err(IdError::EmptySegment),
        "." | ".." => Err(IdError::DotSegment),
        _ if segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => Ok(()),
        _ => Err(IdError::BadPathCharacter),
    }
}
