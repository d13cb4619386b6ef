//! JWT-SVIDs that are still worth handing out.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_core::RngCore;
use spiffe_core::{SpiffeId, Timestamp};

use super::renewal::renew_at;
use super::update::JwtSvid;

/// Whose, and for whom: the order of the audience does not matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    id: SpiffeId,
    audience: Vec<String>,
}

impl Key {
    fn new(id: &SpiffeId, audience: &[String]) -> Self {
        let mut audience = audience.to_vec();
        audience.sort();
        Self { id: id.clone(), audience }
    }
}

/// At most so many tokens; the one that was not used for longest makes room.
#[derive(Debug)]
pub struct JwtCache {
    limit: usize,
    tokens: BTreeMap<Key, Cached>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

#[derive(Debug)]
struct Cached {
    svid: JwtSvid,
    renew_at: Timestamp,
    used: u64,
}

/// What there is of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is in the first half of its life.
    Fresh(JwtSvid),
    /// It is still valid, but a new one should be had.
    Aging(JwtSvid),
    /// There is none.
    Missing,
}

impl JwtCache {
    /// Holds up to `limit` tokens.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, tokens: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token of `id` for `audience`.
    pub fn get(&mut self, id: &SpiffeId, audience: &[String], now: Timestamp) -> Lookup {
        let key = Key::new(id, audience);
        let Some(cached) = self.tokens.get_mut(&key) else { return Lookup::Missing };
        self.uses += 1;
        self.by_use.remove(&cached.used);
        cached.used = self.uses;
        let lookup = if cached.svid.expires_at <= now {
            Lookup::Missing
        } else if cached.renew_at <= now {
            Lookup::Aging(cached.svid.clone())
        } else {
            Lookup::Fresh(cached.svid.clone())
        };
        self.by_use.insert(self.uses, key);
        lookup
    }

    /// Keeps a new token.
    pub fn insert(&mut self, audience: &[String], svid: JwtSvid, rng: &mut (impl RngCore + ?Sized)) {
        let key = Key::new(&svid.id, audience);
        let renew_at = renew_at(svid.issued_at, svid.expires_at, None, rng);
        self.uses += 1;
        if let Some(previous) = self.tokens.insert(key.clone(), Cached { svid, renew_at, used: self.uses }) {
            self.by_use.remove(&previous.used);
        }
        self.by_use.insert(self.uses, key);
        while self.tokens.len() > self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.tokens.remove(&oldest);
        }
    }

    /// Forgets the tokens that were signed with one of these keys.
    pub fn drop_signed_by(&mut self, key_ids: &BTreeSet<String>) {
        let tokens = &mut self.tokens;
        self.by_use.retain(|_, key| {
            let tainted =
                tokens.get(key).is_none_or(|cached| key_id(&cached.svid.token).is_some_and(|id| key_ids.contains(&id)));
            if tainted {
                tokens.remove(key);
            }
            !tainted
        });
    }
}

/// The `kid` in a token's header.
fn key_id(token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    header.get("kid")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;
    use spiffe_core::testing::TestAuthority;

    use super::*;

    fn token(path: &str, issued_at: i64, expires_at: i64) -> JwtSvid {
        let id = SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
        let (issued_at, expires_at) = (Timestamp::from_unix(issued_at), Timestamp::from_unix(expires_at));
        JwtSvid { id, token: format!("{path}.{issued_at}"), issued_at, expires_at }
    }

    fn audience(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_token_is_fresh_until_half_life_and_gone_at_its_end() {
        let (mut cache, mut rng) = (JwtCache::new(10), ChaCha8Rng::seed_from_u64(1));
        let svid = token("/a", 0, 300);
        cache.insert(&audience(&["x", "y"]), svid.clone(), &mut rng);
        let mut at = |second| cache.get(&svid.id, &audience(&["y", "x"]), Timestamp::from_unix(second));
        assert_eq!(at(100), Lookup::Fresh(svid.clone()));
        assert_eq!(at(200), Lookup::Aging(svid.clone()));
        assert_eq!(at(300), Lookup::Missing);
        assert_eq!(cache.get(&svid.id, &audience(&["x"]), Timestamp::from_unix(0)), Lookup::Missing);
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let (mut cache, mut rng) = (JwtCache::new(2), ChaCha8Rng::seed_from_u64(1));
        let (now, audience) = (Timestamp::from_unix(1), audience(&["x"]));
        let [a, b, c] = ["/a", "/b", "/c"].map(|path| token(path, 0, 300));
        cache.insert(&audience, a.clone(), &mut rng);
        cache.insert(&audience, b.clone(), &mut rng);
        cache.get(&a.id, &audience, now);
        cache.insert(&audience, c.clone(), &mut rng);
        cache.insert(&audience, c.clone(), &mut rng);
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.get(&b.id, &audience, now), Lookup::Missing);
        assert_eq!(cache.get(&a.id, &audience, now), Lookup::Fresh(a));
    }

    #[test]
    fn tokens_of_a_tainted_key_are_forgotten() {
        let (mut cache, mut rng) = (JwtCache::new(2), ChaCha8Rng::seed_from_u64(1));
        let authority = TestAuthority::new("example.org");
        let mut svid = token("/a", 0, 300);
        svid.token = authority.jwt_svid("/a", &["x"], Timestamp::from_unix(300));
        let kid = authority.bundle().jwt_authorities[0].key_id.clone();
        cache.insert(&audience(&["x"]), svid, &mut rng);
        cache.drop_signed_by(&BTreeSet::from(["other".to_owned()]));
        assert_eq!(cache.len(), 1);
        cache.drop_signed_by(&BTreeSet::from([kid]));
        assert!(cache.is_empty());
    }
}
