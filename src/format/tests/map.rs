//! Map nodes: their bytes, shape and content hashes.

use proptest::prelude::*;

use super::strategies;
use crate::format::FormatError;
use crate::format::map::*;
use crate::units::*;

fn blocks(pack: u8, slot: u32, blocks: u16) -> Run {
    Run::Blocks { address: Address { pack: PackId([pack; 16]), slot }, blocks }
}

fn data(hash: u8, runs: Vec<Run>) -> ChunkEntry {
    ChunkEntry::Data { hash: ChunkHash([hash; 32]), runs }
}

/// A leaf with every kind of chunk and run, naming pack 2 before pack 1.
fn leaf() -> Node {
    let mixed = vec![blocks(2, 64, 10), Run::Zero { blocks: 4 }, blocks(1, 7, 50)];
    Node::Leaf(vec![ChunkEntry::Hole, data(1, mixed), ChunkEntry::Free, data(2, vec![blocks(2, 74, 64)]), ChunkEntry::Zero])
}

fn inner() -> Node {
    let child = |pack, slot| {
        Child::Node(NodeRef {
            id: NodeId([slot as u8; 32]),
            address: Address { pack: PackId([pack; 16]), slot },
            content: ContentId([8; 32]),
            packs: PackSummary([9; 32]),
        })
    };
    Node::Inner { level: 1, children: vec![child(2, 5), Child::Zero, child(1, 0), Child::Hole, child(2, 6), Child::Free] }
}

#[test]
fn only_whole_and_canonical_nodes_decode() {
    for node in [leaf(), inner()] {
        let bytes = node.encode();
        assert_eq!(Node::decode(&bytes), Ok(node));
        for at in 0..bytes.len() {
            assert!(Node::decode(&bytes[..at]).is_err(), "cut to {at}");
            for flip in 1..=255 {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                if let Ok(other) = Node::decode(&changed) {
                    assert_eq!(other.encode(), changed, "byte {at} ^ {flip:02x}");
                }
            }
        }
        assert!(Node::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}

/// The table of packs of [`leaf`] starts at byte 8, its columns of tags, run counts and pack numbers follow.
#[test]
fn tables_of_packs_have_one_order_only() {
    let bytes = leaf().encode();
    let mut twice = bytes.clone();
    twice[24..40].copy_from_slice(&[2; 16]);
    insta::assert_snapshot!(Node::decode(&twice).expect_err("refused"), @"the map node is damaged at byte 24: expected each pack once, found one twice");
    let mut other_order = bytes.clone();
    let numbers = 40 + 5 + 2;
    other_order[numbers..numbers + 8].copy_from_slice(&[1, 0, 0xff, 0xff, 0, 0, 1, 0]);
    insta::assert_snapshot!(Node::decode(&other_order).expect_err("refused"), @"the map node is damaged at byte 59: expected the number of a pack, in order of first use, found 1");
    let mut unnamed = bytes.clone();
    unnamed[numbers..numbers + 8].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    insta::assert_snapshot!(Node::decode(&unnamed).expect_err("refused"), @"the map node is damaged at byte 71: expected every pack of the table to be named, found 1 of 2");
    let mut zeros_with_slot = bytes;
    zeros_with_slot[numbers + 8 + 4 + 4] = 1;
    insta::assert_snapshot!(Node::decode(&zeros_with_slot).expect_err("refused"), @"the map node is damaged at byte 63: expected slot 0 of zeros, found 1");
}

#[test]
fn nodes_of_a_later_version_are_told_apart_from_damage() {
    let mut bytes = leaf().encode();
    bytes[1] = 2;
    insta::assert_snapshot!(Node::decode(&bytes).expect_err("refused"), @"the map node has version 2, which this cairn does not know; use a newer cairn");
    bytes[1] = 0;
    assert!(matches!(Node::decode(&bytes), Err(FormatError::Corrupt { .. })));
}

#[test]
fn nodes_that_break_a_rule_are_not_stored() {
    let bad = [
        Node::Leaf(Vec::new()),
        Node::Leaf(vec![ChunkEntry::Hole; 257]),
        Node::Leaf(vec![data(0, vec![blocks(1, 0, 1)])]),
        Node::Leaf(vec![data(1, Vec::new())]),
        Node::Leaf(vec![data(1, vec![Run::Zero { blocks: 64 }])]),
        Node::Leaf(vec![data(1, vec![blocks(1, 0, 65)])]),
        Node::Leaf(vec![data(1, vec![blocks(1, 0, 0)])]),
        Node::Leaf(vec![data(1, vec![blocks(1, u32::MAX, 1)])]),
        Node::Inner { level: 0, children: vec![Child::Hole] },
        Node::Inner { level: 8, children: vec![Child::Hole] },
        Node::Inner { level: 1, children: Vec::new() },
        Node::Inner { level: 1, children: vec![Child::Hole; 257] },
    ];
    for (number, node) in bad.into_iter().enumerate() {
        assert!(std::panic::catch_unwind(|| node.encode()).is_err(), "node {number} was stored");
    }
}

/// The largest node there can be fits into a slot of a metadata pack.
#[test]
fn the_largest_nodes_fit_into_a_slot() {
    let pack = |index: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&index.to_le_bytes());
        PackId(id)
    };
    let run = |index| Run::Blocks { address: Address { pack: pack(index), slot: 0 }, blocks: 1 };
    let entry = |chunk: u32| data(1, (chunk * 64..(chunk + 1) * 64).map(run).collect());
    let bytes = Node::Leaf((0..256).map(entry).collect()).encode();
    assert!(bytes.len() <= crate::format::pack::MAX_NODE_BYTES as usize, "{} bytes", bytes.len());
    assert!(Node::decode(&bytes).is_ok());
}

#[test]
fn a_disk_has_one_root() {
    for (chunks, level) in [(0, 0), (1, 0), (256, 0), (257, 1), (1 << 16, 1), ((1 << 16) + 1, 2), (1 << 42, 5), (u64::MAX, 7)] {
        assert_eq!(root_level(chunks), level, "{chunks} chunks");
    }
    assert_eq!([subtree_chunks(0), subtree_chunks(1), subtree_chunks(7)], [256, 65536, u64::MAX]);
}

#[test]
fn content_is_what_a_restore_gives() {
    let absent = [ChunkEntry::Hole, ChunkEntry::Zero, ChunkEntry::Free];
    assert_eq!(leaf_content(&absent), ABSENT);
    assert_eq!(inner_content(3, &[ABSENT; 200]), ABSENT);
    let chunk = |runs| data(1, runs);
    let here = leaf_content(&[ChunkEntry::Hole, chunk(vec![blocks(1, 0, 64)])]);
    let there = leaf_content(&[ChunkEntry::Free, chunk(vec![Run::Zero { blocks: 1 }, blocks(2, 9, 63)])]);
    assert_eq!(here, there, "where blocks lie makes no difference");
    let others = [
        leaf_content(&[chunk(vec![blocks(1, 0, 64)]), ChunkEntry::Hole]),
        leaf_content(&[ChunkEntry::Hole, data(2, vec![blocks(1, 0, 64)])]),
        leaf_content(&[ChunkEntry::Hole, chunk(vec![blocks(1, 0, 64)]), ChunkEntry::Hole]),
        inner_content(1, &[ABSENT, here]),
        inner_content(2, &[ABSENT, here]),
        disk_content_id(&Grid::new(1 << 20, 0).expect("a grid"), here),
        disk_content_id(&Grid::new(1 << 21, 0).expect("a grid"), here),
        disk_content_id(&Grid::new(1 << 20, 512).expect("a grid"), here),
        ABSENT,
    ];
    for (index, other) in others.iter().enumerate() {
        assert!(*other != here && !others[..index].contains(other), "content {index} is another's");
    }
}

#[test]
fn summaries_name_every_pack_below() {
    let summary = leaf().packs();
    assert!(summary.may_contain(&PackId([1; 16])) && summary.may_contain(&PackId([2; 16])));
    assert!(!summary.may_contain(&PackId([3; 16])));
    assert_eq!(inner().packs(), PackSummary([9; 32]));
    assert_eq!(Child::Hole.packs(), PackSummary::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nodes_come_back(node in strategies::node()) {
        prop_assert_eq!(Node::decode(&node.encode()), Ok(node));
    }

    #[test]
    fn no_pack_below_is_missing_in_a_summary(node in strategies::node()) {
        if let Node::Leaf(entries) = &node {
            let summary = node.packs();
            prop_assert!(entries.iter().flat_map(ChunkEntry::packs).all(|pack| summary.may_contain(pack)));
        }
    }
}
