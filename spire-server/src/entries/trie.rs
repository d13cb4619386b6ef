//! A map whose copies share all but what changed since.

use std::borrow::Borrow;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

/// Bits of the hash that choose a branch.
const BITS: u32 = 4;
/// Branches of a node.
const WIDTH: usize = 1 << BITS;
/// Most members of a leaf that can still be parted.
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
    Leaf(Vec<(K, V)>),
    /// [`WIDTH`] of them.
    Branches(Vec<Arc<Self>>),
}

impl<K, V> Default for TrieMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), length: 0 }
    }
}

fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    // The keys are an administrator's: no need for a secret in the hash.
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

fn branch(hash: u64, level: u32) -> usize {
    let bits = (hash >> (level * BITS)) & (WIDTH as u64 - 1);
    usize::try_from(bits).unwrap_or_default()
}

impl<K: Hash + Eq + Clone, V: Clone> TrieMap<K, V> {
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
        let hash = hash_of(key);
        let (mut node, mut level) = (self.root.as_ref(), 0);
        loop {
            match node {
                Node::Leaf(members) => return members.iter().find(|(k, _)| k.borrow() == key).map(|(_, value)| value),
                Node::Branches(branches) => node = branches.get(branch(hash, level))?,
            }
            level += 1;
        }
    }

    /// Puts a value, and returns the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = hash_of(&key);
        let former = insert(&mut self.root, hash, 0, key, value);
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
                    let position = members.iter().position(|(k, _)| k.borrow() == key)?;
                    self.length -= 1;
                    return Some(members.swap_remove(position).1);
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
        let mut value = self.get(key).cloned().unwrap_or_default();
        change(&mut value);
        if is_empty(&value) {
            self.remove(key);
        } else {
            self.insert(key.clone(), value);
        }
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> Values<'_, K, V> {
        Values { nodes: vec![self.root.as_ref()], leaf: [].iter() }
    }
}

fn insert<K: Hash + Eq + Clone, V: Clone>(
    node: &mut Arc<Node<K, V>>,
    hash: u64,
    level: u32,
    key: K,
    value: V,
) -> Option<V> {
    let node = Arc::make_mut(node);
    match node {
        Node::Leaf(members) => {
            if let Some((_, former)) = members.iter_mut().find(|(k, _)| *k == key) {
                return Some(std::mem::replace(former, value));
            }
            members.push((key, value));
            if members.len() > LEAF && level < LEVELS {
                *node = part(std::mem::take(members), level);
            }
            None
        }
        Node::Branches(branches) => {
            let next = branches.get_mut(branch(hash, level))?;
            insert(next, hash, level + 1, key, value)
        }
    }
}

fn part<K: Hash, V>(members: Vec<(K, V)>, level: u32) -> Node<K, V> {
    let mut parts: Vec<Vec<(K, V)>> = (0..WIDTH).map(|_| Vec::new()).collect();
    for (key, value) in members {
        let hash = hash_of(&key);
        if let Some(part) = parts.get_mut(branch(hash, level)) {
            part.push((key, value));
        }
    }
    Node::Branches(parts.into_iter().map(|part| Arc::new(Node::Leaf(part))).collect())
}

/// The values of a [`TrieMap`].
#[derive(Debug)]
pub(super) struct Values<'a, K, V> {
    nodes: Vec<&'a Node<K, V>>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Values<'a, K, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        loop {
            if let Some((_, value)) = self.leaf.next() {
                return Some(value);
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

    proptest! {
        #[test]
        fn it_is_a_map_and_former_copies_stay_as_they_were(
            steps in proptest::collection::vec((any::<bool>(), 0_u16..300, any::<u8>()), 0..600),
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
                for key in 0..300 {
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
