//! Which blocks and map nodes are reached from the roots: a graph of the nodes in memory, and one bit for each block. What was walked once is
//! not read again; what a leaf that is reached no more named is made anew from the leaves that are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use crate::catalogue::CatalogueError;
use crate::catalogue::map::NodeStore;
use crate::format::map::{Child, ChunkEntry, Node, NodeRef, PackSummary, Run};
use crate::format::marked::{MarkedNode, Names};
use crate::jobs::JobError;
use crate::monitor::Monitor;
use crate::restore::is_map_damage;
use crate::units::{Address, ContentId, PackId, SlotSet};

/// A node that was asked for, by its number.
type Read = (u32, Result<Arc<Node>, CatalogueError>);

/// Nodes that are read at a time.
const BATCH_NODES: usize = 256;

/// The graph and the bits.
#[derive(Default)]
pub(super) struct Marked {
    pub(super) packs: Vec<PackId>,
    pub(super) nodes: Vec<MarkedNode>,
    /// Live identities, of blocks and of nodes.
    pub(super) live: HashMap<PackId, SlotSet>,
    pack_numbers: HashMap<PackId, u32>,
    node_numbers: HashMap<Address, u32>,
    /// What nodes that cannot be read may name.
    pub(super) unreadable: Vec<PackSummary>,
}

/// What a mark has to do with nodes.
pub(super) struct Walker<'a> {
    pub(super) store: &'a dyn NodeStore,
    pub(super) monitor: &'a dyn Monitor,
}

impl Walker<'_> {
    fn read(&self, node: &MarkedNode, summary: PackSummary) -> Result<Arc<Node>, CatalogueError> {
        // The content hash says nothing of where a node lies.
        let reference = NodeRef { id: node.id, address: node.address, content: ContentId([0; ContentId::LEN]), packs: summary };
        self.store.read_node(&reference)
    }

    /// Reads many nodes at once, and gives each with its number.
    fn read_all(&self, nodes: &[MarkedNode], numbers: &[u32]) -> Result<Vec<Read>, JobError> {
        if self.monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        let read = |number: &u32| Some((*number, self.read(nodes.get(*number as usize)?, PackSummary::default())));
        let read: Vec<_> = numbers.par_iter().filter_map(read).collect();
        match read.iter().position(|(_, node)| node.as_ref().is_err_and(|error| !is_map_damage(error))) {
            Some(failed) => match read.into_iter().nth(failed) {
                Some((_, Err(error))) => Err(error.into()),
                _ => Ok(Vec::new()),
            },
            None => Ok(read),
        }
    }
}

impl Marked {
    /// From what was remembered: nodes and the bits of blocks. Those of nodes follow from the nodes.
    pub(super) fn remembered(packs: Vec<PackId>, nodes: Vec<MarkedNode>, blocks: Vec<(PackId, Vec<u64>)>) -> Self {
        let pack_numbers = packs.iter().copied().zip(0..).collect();
        let node_numbers = nodes.iter().map(|node| node.address).zip(0..).collect();
        let live = blocks.into_iter().map(|(pack, words)| (pack, SlotSet::from_words(words))).collect();
        Self { packs, nodes, live, pack_numbers, node_numbers, unreadable: Vec::new() }
    }

    /// The bits of blocks, without those of nodes.
    pub(super) fn blocks(&self) -> Vec<(PackId, Vec<u64>)> {
        let of_nodes = self.packs_of_nodes();
        let blocks = self.live.iter().filter(|(pack, _)| !of_nodes.contains(pack));
        blocks.map(|(pack, slots)| (*pack, slots.words().to_vec())).collect()
    }

    fn packs_of_nodes(&self) -> BTreeSet<PackId> {
        self.nodes.iter().map(|node| node.address.pack).collect()
    }

    /// Marks exactly what the roots reach.
    pub(super) fn mark(&mut self, roots: &[NodeRef], walker: &Walker<'_>) -> Result<(), JobError> {
        self.unreadable.clear();
        self.packs_of_nodes().iter().for_each(|pack| drop(self.live.remove(pack)));
        let visited = self.walk(roots, walker, |_| true)?;
        let touched = self.forget_unvisited(&visited);
        self.mark_anew(&touched, walker)?;
        for node in &self.nodes {
            self.live.entry(node.address.pack).or_default().insert(node.address.slot, 1);
        }
        Ok(())
    }

    /// Marks what the roots reach besides what is marked, as far as it can concern `packs`: subtrees whose summary admits none of them are
    /// not read.
    pub(super) fn add(&mut self, roots: &[NodeRef], packs: &BTreeSet<PackId>, walker: &Walker<'_>) -> Result<(), JobError> {
        let before = self.nodes.len();
        self.walk(roots, walker, |summary| packs.iter().any(|pack| summary.may_contain(pack)))?;
        for node in self.nodes.iter().skip(before) {
            self.live.entry(node.address.pack).or_default().insert(node.address.slot, 1);
        }
        Ok(())
    }

    /// Goes through all nodes below the roots, reads those that are not known and wanted, and marks the blocks of their leaves. Says which
    /// nodes it came by.
    fn walk(&mut self, roots: &[NodeRef], walker: &Walker<'_>, wanted: impl Fn(&PackSummary) -> bool) -> Result<Vec<bool>, JobError> {
        let mut stack: Vec<u32> = roots.iter().map(|root| self.number_of(root)).collect();
        let (mut visited, mut unread) = (Vec::new(), Vec::new());
        loop {
            while let Some(number) = stack.pop() {
                visited.resize(self.nodes.len().max(visited.len()), false);
                let index = number as usize;
                if visited.get(index).copied().unwrap_or(true) {
                    continue;
                }
                visited[index] = true;
                match self.nodes.get(index).map(|node| &node.names) {
                    Some(Names::Nodes(children)) => stack.extend(children),
                    Some(Names::Unknown(summary)) if wanted(summary) => unread.push(number),
                    _ => {}
                }
            }
            if unread.is_empty() {
                visited.resize(self.nodes.len(), false);
                return Ok(visited);
            }
            let later = unread.split_off(unread.len().saturating_sub(BATCH_NODES));
            for (number, node) in walker.read_all(&self.nodes, &later)? {
                match node {
                    Ok(node) => {
                        self.learn(number, &node);
                        if let Some(Names::Nodes(children)) = self.nodes.get(number as usize).map(|node| &node.names) {
                            stack.extend(children);
                        }
                    }
                    Err(_) => self.note_unreadable(number),
                }
            }
        }
    }

    fn note_unreadable(&mut self, number: u32) {
        if let Some(Names::Unknown(summary)) = self.nodes.get(number as usize).map(|node| &node.names) {
            self.unreadable.push(*summary);
        }
    }

    /// The number of a node, known or not.
    fn number_of(&mut self, node: &NodeRef) -> u32 {
        let next = self.nodes.len() as u32;
        let number = *self.node_numbers.entry(node.address).or_insert(next);
        if number == next {
            self.nodes.push(MarkedNode { id: node.id, address: node.address, names: Names::Unknown(node.packs) });
        }
        number
    }

    fn pack_number(&mut self, pack: PackId) -> u32 {
        let next = self.packs.len() as u32;
        let number = *self.pack_numbers.entry(pack).or_insert(next);
        if number == next {
            self.packs.push(pack);
        }
        number
    }

    /// Takes in a node that was read.
    fn learn(&mut self, number: u32, node: &Node) {
        let names = match node {
            Node::Inner { children, .. } => {
                let nodes = children.iter().filter_map(|child| if let Child::Node(node) = child { Some(node) } else { None });
                Names::Nodes(nodes.map(|node| self.number_of(node)).collect())
            }
            Node::Leaf(entries) => {
                let mut packs = BTreeSet::new();
                each_run(entries, |address, blocks| {
                    packs.insert(address.pack);
                    self.live.entry(address.pack).or_default().insert(address.slot, blocks);
                });
                Names::Packs(packs.into_iter().map(|pack| self.pack_number(pack)).collect())
            }
        };
        if let Some(known) = self.nodes.get_mut(number as usize) {
            known.names = names;
        }
    }

    /// Forgets nodes that no root reaches; the packs that their leaves named.
    fn forget_unvisited(&mut self, visited: &[bool]) -> BTreeSet<PackId> {
        let mut touched = BTreeSet::new();
        let mut renumbered: Vec<u32> = Vec::with_capacity(self.nodes.len());
        let mut kept = 0;
        for (node, visited) in self.nodes.iter().zip(visited) {
            renumbered.push(kept);
            kept += u32::from(*visited);
            if let Names::Packs(packs) = &node.names
                && !visited
            {
                touched.extend(packs.iter().filter_map(|number| self.packs.get(*number as usize)));
            }
        }
        let mut visited = visited.iter();
        self.nodes.retain(|_| visited.next().copied().unwrap_or(true));
        for node in &mut self.nodes {
            if let Names::Nodes(children) = &mut node.names {
                // A node that is reached reaches its children.
                children.iter_mut().for_each(|child| *child = renumbered.get(*child as usize).copied().unwrap_or(*child));
            }
        }
        self.node_numbers = self.nodes.iter().map(|node| node.address).zip(0..).collect();
        touched
    }

    /// Makes the bits of some packs anew, from the leaves that name them.
    fn mark_anew(&mut self, touched: &BTreeSet<PackId>, walker: &Walker<'_>) -> Result<(), JobError> {
        touched.iter().for_each(|pack| drop(self.live.remove(pack)));
        let named: Vec<bool> = self.packs.iter().map(|pack| touched.contains(pack)).collect();
        let names_one = |packs: &[u32]| packs.iter().any(|number| named.get(*number as usize).copied().unwrap_or(false));
        let leaves = self.nodes.iter().zip(0..).filter(|(node, _)| matches!(&node.names, Names::Packs(packs) if names_one(packs)));
        let leaves: Vec<u32> = leaves.map(|(_, number)| number).collect();
        for batch in leaves.chunks(BATCH_NODES) {
            for (number, node) in walker.read_all(&self.nodes, batch)? {
                match node.as_deref() {
                    Ok(Node::Leaf(entries)) => each_run(entries, |address, blocks| {
                        if touched.contains(&address.pack) {
                            self.live.entry(address.pack).or_default().insert(address.slot, blocks);
                        }
                    }),
                    _ => self.unlearn(number),
                }
            }
        }
        Ok(())
    }

    /// A leaf that was read once cannot be read any more: all that it names is kept.
    fn unlearn(&mut self, number: u32) {
        let Some(node) = self.nodes.get_mut(number as usize) else { return };
        let mut summary = PackSummary::default();
        summary.insert(&node.address.pack);
        if let Names::Packs(packs) = &node.names {
            packs.iter().filter_map(|number| self.packs.get(*number as usize)).for_each(|pack| summary.insert(pack));
        }
        node.names = Names::Unknown(summary);
        self.unreadable.push(summary);
    }

    /// Calls for every identity that a map names in its order, as far as it can concern `packs`: first each node, then what it names.
    pub(super) fn in_order(
        &self,
        root: &NodeRef,
        packs: &BTreeSet<PackId>,
        walker: &Walker<'_>,
        each: &mut dyn FnMut(Address, u32) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let Some(number) = self.node_numbers.get(&root.address) else { return Ok(()) };
        let mut stack = vec![*number];
        while let Some(number) = stack.pop() {
            let Some(node) = self.nodes.get(number as usize) else { continue };
            each(node.address, 1)?;
            match &node.names {
                Names::Nodes(children) => stack.extend(children.iter().rev()),
                Names::Packs(named)
                    if named.iter().any(|number| self.packs.get(*number as usize).is_some_and(|pack| packs.contains(pack))) =>
                {
                    let read = walker.read_all(&self.nodes, &[number])?;
                    let Some((_, Ok(leaf))) = read.into_iter().next() else { continue };
                    if let Node::Leaf(entries) = leaf.as_ref() {
                        let mut runs = Vec::new();
                        each_run(entries, |address, blocks| runs.push((address, blocks)));
                        runs.into_iter().try_for_each(|(address, blocks)| each(address, blocks))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The runs of a leaf's chunks that are stored.
fn each_run(entries: &[ChunkEntry], mut each: impl FnMut(Address, u32)) {
    for entry in entries {
        let ChunkEntry::Data { runs, .. } = entry else { continue };
        for run in runs {
            if let Run::Blocks { address, blocks } = *run {
                each(address, u32::from(blocks));
            }
        }
    }
}
