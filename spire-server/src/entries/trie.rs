//! A map whose copies share all but what changed since.

use std::borrow::Borrow;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

/// Bits of the hash that choose a branch.
const BITS: u32 = 4;
/// Branches of a node.
const WIDTH: usize = 1 << BITS;
/// Most members of a leaf that can still be parted. More would take less room, but a change copies its whole leaf, and
/// touches what lies behind each member.
const LEAF: usize = 16;
/// Levels, after which the hash is used up.
const LEVELS: u32 = u64::BITS / BITS;

/// A map whose clones cost nothing, and whose change costs a few nodes on the way to the member that changes.
#[derive(Clone, Debug)]
pub(super) struct TrieMap<K, V> {
    root: Arc<Node<K, V>>,
    length: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<Member<K, V>>),
    /// [`WIDTH`] of them.
    Branches(Vec<Arc<Self>>),
}

/// Keys are compared only where hashes are the same: they lie elsewhere in memory.
#[derive(Clone, Debug)]
struct Member<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K, V> Default for TrieMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), length: 0 }
    }
}

/// Multiplies eight bytes at a time, and folds the product. The keys are an administrator's: no need for a secret.
#[derive(Default)]
pub(super) struct Folding(u64);

/// Digits of pi, as good as any other odd number without a pattern.
const FACTOR: u64 = 0x2437_54a3_2415_9265;

impl Folding {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default();
        self.0 = (half(product) ^ half(product >> 64)).wrapping_add(FACTOR);
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.fold(u64::from_le_bytes(word));
        }
        self.fold(bytes.len() as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.fold(0);
        last.0
    }
}

/// How the members' keys are hashed.
pub(super) type Hashing = BuildHasherDefault<Folding>;

fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    Hashing::default().hash_one(key)
}

/// The highest bits choose first: in the order of their hashes, members of one branch stand side by side.
fn branch(hash: u64, level: u32) -> usize {
    let bits = hash.checked_shr(u64::BITS - (level + 1) * BITS).unwrap_or_default() & (WIDTH as u64 - 1);
    usize::try_from(bits).unwrap_or_default()
}

impl<K: Hash + Eq + Clone, V: Clone> TrieMap<K, V> {
    /// A map of many members at once. Put in one after the other, a million of them would touch memory all over.
    ///
    /// The first member of a key makes its value by `first`, the others are added by `further`.
    pub(super) fn gather<M>(gathered: Gathered<K, M>, first: impl Fn(M) -> V, further: impl Fn(&mut V, M)) -> Self {
        let mut loose = gathered.0;
        loose.sort_by_key(|member| member.hash);
        let mut members: Vec<Member<K, V>> = Vec::with_capacity(loose.len());
        for Member { hash, key, value } in loose {
            let mut alike = members.iter_mut().rev().take_while(|member| member.hash == hash);
            match alike.find(|member| member.key == key) {
                Some(member) => further(&mut member.value, value),
                None => members.push(Member { hash, key, value: first(value) }),
            }
        }
        Self { length: members.len(), root: Arc::new(planted(members, 0)) }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).map(|member| &member.value)
    }

    /// The key as the map holds it: a copy of it shares its memory.
    pub(super) fn key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        self.find(key).map(|member| &member.key)
    }

    fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&Member<K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = hash_of(key);
        let (mut node, mut level) = (self.root.as_ref(), 0);
        loop {
            match node {
                Node::Leaf(members) => return members.iter().find(|member| member.is(hash, key)),
                Node::Branches(branches) => node = branches.get(branch(hash, level))?,
            }
            level += 1;
        }
    }

    /// Puts a value, and returns the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = hash_of(&key);
        let former = insert(&mut self.root, 0, Member { hash, key, value });
        self.length += usize::from(former.is_none());
        former
    }

    /// Takes a value out.
    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Ask first: a miss must not copy anything.
        self.get(key)?;
        let hash = hash_of(key);
        let (mut node, mut level) = (&mut self.root, 0);
        loop {
            match Arc::make_mut(node) {
                Node::Leaf(members) => {
                    let position = members.iter().position(|member| member.is(hash, key))?;
                    self.length -= 1;
                    return Some(members.swap_remove(position).value);
                }
                Node::Branches(branches) => node = branches.get_mut(branch(hash, level))?,
            }
            level += 1;
        }
    }

    /// Changes the value of `key` by way of `change`, beginning with the default. What `is_empty` says is empty
    /// afterwards goes.
    pub(super) fn alter(&mut self, key: &K, change: impl FnOnce(&mut V), is_empty: impl FnOnce(&V) -> bool)
    where
        V: Default,
    {
        if let Some(value) = self.get_mut(key) {
            change(value);
            if is_empty(value) {
                self.remove(key);
            }
        } else {
            let mut value = V::default();
            change(&mut value);
            if !is_empty(&value) {
                self.insert(key.clone(), value);
            }
        }
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // Ask first: a miss must not copy anything.
        self.get(key)?;
        let hash = hash_of(key);
        let (mut node, mut level) = (&mut self.root, 0);
        loop {
            match Arc::make_mut(node) {
                Node::Leaf(members) => {
                    return members.iter_mut().find(|member| member.is(hash, key)).map(|member| &mut member.value);
                }
                Node::Branches(branches) => node = branches.get_mut(branch(hash, level))?,
            }
            level += 1;
        }
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> Values<'_, K, V> {
        Values { nodes: vec![self.root.as_ref()], leaf: [].iter() }
    }
}

impl<K, V> Member<K, V> {
    fn is<Q: Eq + ?Sized>(&self, hash: u64, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.hash == hash && self.key.borrow() == key
    }
}

fn insert<K: Eq + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, level: u32, new: Member<K, V>) -> Option<V> {
    let node = Arc::make_mut(node);
    match node {
        Node::Leaf(members) => {
            if let Some(former) = members.iter_mut().find(|member| member.is(new.hash, &new.key)) {
                return Some(std::mem::replace(&mut former.value, new.value));
            }
            push(members, new);
            if members.len() > LEAF && level < LEVELS {
                *node = part(std::mem::take(members), level);
            }
            None
        }
        Node::Branches(branches) => insert(branches.get_mut(branch(new.hash, level))?, level + 1, new),
    }
}

/// Leaves take no more room than they need: most have a few members.
fn push<T>(members: &mut Vec<T>, new: T) {
    members.reserve_exact(1);
    members.push(new);
}

fn part<K, V>(members: Vec<Member<K, V>>, level: u32) -> Node<K, V> {
    let mut parts: Vec<Vec<Member<K, V>>> = (0..WIDTH).map(|_| Vec::new()).collect();
    for member in members {
        if let Some(part) = parts.get_mut(branch(member.hash, level)) {
            push(part, member);
        }
    }
    Node::Branches(parts.into_iter().map(|part| Arc::new(Node::Leaf(part))).collect())
}

/// The node of members that are in the order of their hashes.
fn planted<K, V>(mut members: Vec<Member<K, V>>, level: u32) -> Node<K, V> {
    if members.len() <= LEAF || level == LEVELS {
        members.shrink_to_fit();
        return Node::Leaf(members);
    }
    let mut branches: Vec<_> = (0..WIDTH)
        .rev()
        .map(|number| {
            let at = members.partition_point(|member| branch(member.hash, level) < number);
            Arc::new(planted(members.split_off(at), level + 1))
        })
        .collect();
    branches.reverse();
    Node::Branches(branches)
}

/// What a map is made of at once: keys, each perhaps several times, and what belongs to them.
#[derive(Debug)]
pub(super) struct Gathered<K, M>(Vec<Member<K, M>>);

impl<K, M> Default for Gathered<K, M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Hash, M> Gathered<K, M> {
    pub(super) fn push(&mut self, key: K, value: M) {
        self.0.push(Member { hash: hash_of(&key), key, value });
    }
}

/// The values of a [`TrieMap`].
#[derive(Debug)]
pub(super) struct Values<'a, K, V> {
    nodes: Vec<&'a Node<K, V>>,
    leaf: std::slice::Iter<'a, Member<K, V>>,
}

impl<'a, K, V> Iterator for Values<'a, K, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        loop {
            if let Some(member) = self.leaf.next() {
                return Some(&member.value);
            }
            match self.nodes.pop()? {
                Node::Leaf(members) => self.leaf = members.iter(),
                Node::Branches(branches) => self.nodes.extend(branches.iter().map(Arc::as_ref)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_spread_names_that_are_alike_over_all_branches() {
        for level in 0..LEVELS {
            let mut counts = [0; WIDTH];
            for number in 0..16_000 {
                counts[branch(hash_of(&format!("spiffe://example.org/node/workload-{number}")), level)] += 1;
            }
            assert!(counts.iter().all(|count| (800..1200).contains(count)), "{level}: {counts:?}");
        }
    }

    proptest! {
        #[test]
        fn gathered_it_is_as_if_put_in_one_by_one(
            pairs in proptest::collection::vec((0_u16..2000, any::<u8>()), 0..3000),
            (key, value) in (0_u16..2000, any::<u8>()),
        ) {
            let (mut gathered, mut oracle) = (Gathered::default(), HashMap::<u16, Vec<u8>>::new());
            for (key, value) in pairs {
                gathered.push(key, value);
                oracle.entry(key).or_default().push(value);
            }
            let mut map = TrieMap::gather(gathered, |value| vec![value], |values: &mut Vec<u8>, value| values.push(value));
            prop_assert_eq!(map.len(), oracle.len());
            prop_assert_eq!(map.values().count(), oracle.len());
            prop_assert_eq!(map.insert(key, vec![value]), oracle.insert(key, vec![value]));
            for key in 0..2000 {
                prop_assert_eq!(map.get(&key), oracle.get(&key));
            }
        }

        #[test]
        fn it_is_a_map_and_former_copies_stay_as_they_were(
            steps in proptest::collection::vec((any::<bool>(), 0_u16..1000, any::<u8>()), 0..1500),
        ) {
            let (mut map, mut oracle) = (TrieMap::default(), HashMap::new());
            let mut former = Vec::new();
            for (put, key, value) in steps {
                if value % 64 == 0 {
                    former.push((map.clone(), oracle.clone()));
                }
                if put {
                    prop_assert_eq!(map.insert(key, value), oracle.insert(key, value));
                } else {
                    prop_assert_eq!(map.remove(&key), oracle.remove(&key));
                }
            }
            former.push((map, oracle));
            for (map, oracle) in former {
                prop_assert_eq!(map.len(), oracle.len());
                for key in 0..1000 {
                    prop_assert_eq!(map.get(&key), oracle.get(&key));
                }
                let mut values: Vec<u8> = map.values().copied().collect();
                let mut expected: Vec<u8> = oracle.values().copied().collect();
                values.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(values, expected);
            }
        }
    }
}
