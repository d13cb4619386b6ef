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
        match segment {
            "" if rest.peek().is_none() => return Err(IdError::TrailingSlash),
            "" => return Err(IdError::EmptySegment),
            "." | ".." => return Err(IdError::DotSegment),
            _ if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) => {
                return Err(IdError::BadPathCharacter);
            }
            _ => {}
        }
    }
    Ok(())
}
