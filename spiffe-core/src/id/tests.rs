use proptest::prelude::*;

use super::*;

#[test]
fn ids_that_follow_the_rules_parse() {
    for (uri, trust_domain, path) in [
        ("spiffe://example.org", "example.org", ""),
        ("spiffe://example.org/a", "example.org", "/a"),
        ("spiffe://a_b-c.1/x.y/..z/-_", "a_b-c.1", "/x.y/..z/-_"),
        ("spiffe://example.org/CamelCase", "example.org", "/CamelCase"),
    ] {
        let id = SpiffeId::parse(uri).unwrap();
        assert_eq!((id.trust_domain().as_str(), id.path(), id.as_str()), (trust_domain, path, uri));
    }
}

#[test]
fn each_broken_rule_is_named() {
    for (uri, error) in [
        ("", IdError::Empty),
        ("example.org/a", IdError::WrongScheme),
        ("SPIFFE://example.org/a", IdError::WrongScheme),
        ("https://example.org/a", IdError::WrongScheme),
        ("spiffe:/example.org", IdError::WrongScheme),
        ("spiffe://", IdError::MissingTrustDomain),
        ("spiffe:///a", IdError::MissingTrustDomain),
        ("spiffe://Example.org/a", IdError::BadTrustDomainCharacter),
        ("spiffe://user@example.org/a", IdError::BadTrustDomainCharacter),
        ("spiffe://example.org:80/a", IdError::BadTrustDomainCharacter),
        ("spiffe://ex%41mple.org/a", IdError::BadTrustDomainCharacter),
        ("spiffe://example.org/", IdError::TrailingSlash),
        ("spiffe://example.org/a/", IdError::TrailingSlash),
        ("spiffe://example.org//a", IdError::EmptySegment),
        ("spiffe://example.org/./a", IdError::DotSegment),
        ("spiffe://example.org/a/..", IdError::DotSegment),
        ("spiffe://example.org/a?q", IdError::BadPathCharacter),
        ("spiffe://example.org?q", IdError::BadTrustDomainCharacter),
        ("spiffe://example.org/a#f", IdError::BadPathCharacter),
        ("spiffe://example.org/%41", IdError::BadPathCharacter),
        ("spiffe://example.org/ä", IdError::BadPathCharacter),
    ] {
        assert_eq!(SpiffeId::parse(uri), Err(error), "{uri}");
    }
}

#[test]
fn lengths_are_bounded_to_the_byte() {
    let id = |path_length: usize| format!("spiffe://example.org/{}", "a".repeat(path_length));
    let longest = MAX_ID_LENGTH - "spiffe://example.org/".len();
    assert!(SpiffeId::parse(&id(longest)).is_ok());
    assert_eq!(SpiffeId::parse(&id(longest + 1)), Err(IdError::TooLong { length: MAX_ID_LENGTH + 1 }));
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    assert!(trust_domain.join(&format!("/{}", "a".repeat(longest))).is_ok());
    assert!(trust_domain.join(&format!("/{}", "a".repeat(longest + 1))).is_err());
    assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
    assert!(TrustDomain::parse(&"a".repeat(256)).is_err());
}

#[test]
fn a_trust_domain_is_taken_as_name_or_out_of_an_id() {
    for text in ["example.org", "spiffe://example.org", "spiffe://example.org/ignored"] {
        assert_eq!(TrustDomain::parse_name_or_id(text).unwrap().as_str(), "example.org");
    }
    assert!(TrustDomain::parse_name_or_id("https://example.org").is_err());
}

#[test]
fn membership_is_by_the_whole_name() {
    let id = SpiffeId::parse("spiffe://example.org/a").unwrap();
    assert!(id.is_member_of(&TrustDomain::parse("example.org").unwrap()));
    assert!(!id.is_member_of(&TrustDomain::parse("example.or").unwrap()));
    assert!(!id.is_member_of(&TrustDomain::parse("example.org.evil").unwrap()));
    assert!(IdMatcher::exactly(id.clone()).matches(&id));
    assert!(!IdMatcher::OneOf(Vec::new()).matches(&id));
}

proptest! {
    #[test]
    fn whatever_parses_prints_back(text in "(spiffe://)?[a-z0-9._-]{0,20}(/[a-zA-Z0-9._-]{0,8}){0,4}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert_eq!(id.trust_domain().join(id.path()).unwrap(), id);
        }
    }

    #[test]
    fn nothing_panics(text in ".*") {
        let _ = SpiffeId::parse(&text);
        let _ = TrustDomain::parse_name_or_id(&text);
    }
}
