//! Trees: items in the order of their keys, on the devices and, over them, what the replay of a log has changed in memory.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::super::{GuestError, GuestResult};
use super::layout::Key;
use super::node::Node;
use super::pool::Pool;
use super::superblock::RootPointer;

/// The data of an item.
#[derive(Clone)]
pub(super) enum Bytes {
    /// In a tree block.
    Block(Arc<Node>, Range<usize>),
    /// Made in memory.
    Own(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Block(node, range) => node.data(range),
            Self::Own(bytes) => bytes,
        }
    }
}

/// An item of a tree.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) key: Key,
    pub(super) data: Bytes,
}

/// What was changed in memory: new data, or `None` for an item that is gone.
pub(super) type Overlay = BTreeMap<Key, Option<Arc<[u8]>>>;

/// One tree.
#[derive(Clone)]
pub(super) struct Tree {
    pool: Arc<Pool>,
    root: RootPointer,
    pub(super) overlay: Overlay,
}

impl Tree {
    pub(super) fn new(pool: &Arc<Pool>, root: RootPointer) -> Self {
        Self { pool: Arc::clone(pool), root, overlay: Overlay::new() }
    }

    /// The data of the item with that key.
    pub(super) fn get(&self, key: Key) -> GuestResult<Option<Bytes>> {
        if let Some(changed) = self.overlay.get(&key) {
            return Ok(changed.as_ref().map(|bytes| Bytes::Own(Arc::clone(bytes))));
        }
        Ok(self.stored_up_to(key)?.filter(|item| item.key == key).map(|item| item.data))
    }

    /// The item with the greatest key from `from` to `key`.
    pub(super) fn last_up_to(&self, from: Key, key: Key) -> GuestResult<Option<Item>> {
        let changed = self.overlay.range(from..=key).rev().find_map(|(key, bytes)| Some((*key, bytes.clone()?)));
        let mut below = key;
        loop {
            let stored = self.stored_up_to(below)?.filter(|item| item.key >= from);
            match (&stored, &changed) {
                (Some(item), Some((key, _))) if item.key <= *key => break,
                (None, _) => break,
                (Some(item), _) if !self.overlay.contains_key(&item.key) => return Ok(stored),
                (Some(item), _) => match item.key.before() {
                    Some(before) => below = before,
                    None => break,
                },
            }
        }
        Ok(changed.map(|(key, bytes)| Item { key, data: Bytes::Own(bytes) }))
    }

    /// The item with the greatest key up to `key` on the devices.
    fn stored_up_to(&self, key: Key) -> GuestResult<Option<Item>> {
        let mut pointer = self.root;
        loop {
            let node = self.pool.node(pointer)?;
            let Some(slot) = node.partition(|other| *other <= key).checked_sub(1) else { return Ok(None) };
            if node.level() == 0 {
                let range = node.item(slot);
                return Ok(Some(Item { key: node.key(slot), data: Bytes::Block(node, range) }));
            }
            pointer = below(&node, slot);
        }
    }

    /// All items with keys from `from` to `to`, in order. After an error of one tree block it goes on behind that block.
    pub(super) fn range(&self, from: Key, to: Key) -> Walk<'_> {
        let stored = StoredWalk { tree: self, stack: Vec::new(), begun: false, from, to, last: None };
        // BTreeMap panics at ranges that end before they begin.
        let overlay = if from <= to { self.overlay.range(from..=to) } else { btree_map::Range::default() };
        Walk { stored, ahead: None, overlay: overlay.peekable() }
    }

    /// All items.
    pub(super) fn all(&self) -> Walk<'_> {
        self.range(Key::new(0, 0, 0), Key::new(u64::MAX, u8::MAX, u64::MAX))
    }
}

fn below(node: &Node, slot: usize) -> RootPointer {
    let (logical, generation) = node.pointer(slot);
    RootPointer { logical, level: node.level().saturating_sub(1), generation }
}

/// Items of a tree on the devices. Levels fall with each step down, and keys must rise: it ends on any tree.
struct StoredWalk<'a> {
    tree: &'a Tree,
    stack: Vec<(Arc<Node>, usize)>,
    begun: bool,
    from: Key,
    to: Key,
    last: Option<Key>,
}

impl StoredWalk<'_> {
    /// Steps down into a block whose first key is `first` (any, for the topmost). As the pointers of a block are in order, so then are
    /// all blocks below it.
    fn enter(&mut self, pointer: RootPointer, first: Option<Key>) -> GuestResult<()> {
        let node = self.tree.pool.node(pointer)?;
        if first.is_some_and(|first| node.count() == 0 || node.key(0) != first) {
            return Err(GuestError::damaged(format!("tree block {}", pointer.logical), "it does not begin with the key of its pointer"));
        }
        let slot = match node.level() {
            0 => node.partition(|key| *key < self.from),
            _ => node.partition(|key| *key <= self.from).saturating_sub(1),
        };
        self.stack.push((node, slot));
        Ok(())
    }

    fn step(&mut self) -> GuestResult<Option<Item>> {
        if !self.begun {
            self.begun = true;
            self.enter(self.tree.root, None)?;
        }
        while let Some((node, next)) = self.stack.last_mut() {
            let (node, slot) = (Arc::clone(node), *next);
            if slot >= node.count() {
                self.stack.pop();
                continue;
            }
            *next = slot.saturating_add(1);
            let key = node.key(slot);
            if key > self.to {
                self.stack.clear();
                break;
            }
            if node.level() > 0 {
                self.enter(below(&node, slot), Some(key))?;
                continue;
            }
            if self.last.is_some_and(|last| last >= key) {
                self.stack.clear();
                return Err(GuestError::damaged("a tree", format!("its blocks are not in order at object {}", key.objectid)));
            }
            self.last = Some(key);
            let range = node.item(slot);
            return Ok(Some(Item { key, data: Bytes::Block(node, range) }));
        }
        Ok(None)
    }
}

/// Items of a tree as it is seen.
pub(super) struct Walk<'a> {
    stored: StoredWalk<'a>,
    ahead: Option<Item>,
    overlay: Peekable<btree_map::Range<'a, Key, Option<Arc<[u8]>>>>,
}

impl Iterator for Walk<'_> {
    type Item = GuestResult<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.ahead.is_none() {
                match self.stored.step() {
                    Ok(item) => self.ahead = item,
                    Err(error) => return Some(Err(error)),
                }
            }
            let stored = self.ahead.as_ref().map(|item| item.key);
            match self.overlay.peek() {
                Some((changed, _)) if stored.is_none_or(|stored| **changed <= stored) => {
                    let (&key, bytes) = self.overlay.next()?;
                    if stored == Some(key) {
                        self.ahead = None;
                    }
                    if let Some(bytes) = bytes {
                        return Some(Ok(Item { key, data: Bytes::Own(Arc::clone(bytes)) }));
                    }
                }
                _ => return self.ahead.take().map(Ok),
            }
        }
    }
}
