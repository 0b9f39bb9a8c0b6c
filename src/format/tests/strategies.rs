//! Arbitrary legal values of every type that is stored.

use jiff::Timestamp;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::format::control::*;
use crate::format::index::*;
use crate::format::known::*;
use crate::format::map::*;
use crate::format::marked::*;
use crate::format::pack::*;
use crate::format::point::*;
use crate::format::settings::*;
use crate::format::vault::*;
use crate::units::*;

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    (-10_000_000_000_i64..100_000_000_000, prop_oneof![Just(0), 0..999_999_999])
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).expect("in range"))
}

/// Few values, so that equal packs come up.
pub(super) fn pack_id() -> impl Strategy<Value = PackId> {
    (0..4_u8, 0..4_u8).prop_map(|(first, last)| PackId([first, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, last]))
}

fn name() -> impl Strategy<Value = MachineName> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}".prop_map(|text| text.parse().expect("a name"))
}

pub(super) fn header() -> impl Strategy<Value = VaultHeader> {
    let choices = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<[u8; 16]>(), time(), any::<i32>(), 1..=256_u16, choices).prop_map(
        |(vault, created, compression_level, frame_blocks, (sealed, shared, many))| VaultHeader {
            vault: VaultId(vault),
            created,
            cipher: if sealed { Cipher::Aes256Gcm } else { Cipher::None },
            compression_level,
            frame_blocks,
            dedup_scope: if shared { DedupScope::Vault } else { DedupScope::Machine },
            writers: if many { Writers::Many } else { Writers::One },
        },
    )
}

pub(super) fn key_slot() -> impl Strategy<Value = KeySlot> {
    let kind = prop_oneof![
        Just(SlotKind::Plain),
        any::<[u8; 16]>().prop_map(|salt| SlotKind::KeyFile { salt }),
        (any::<[u8; 16]>(), 8 * 64..=MAX_MEMORY_KIB, 1..=MAX_PASSES, 1..=MAX_LANES)
            .prop_map(|(salt, memory_kib, passes, lanes)| SlotKind::Passphrase { salt, memory_kib, passes, lanes }),
    ];
    (any::<[u8; 8]>(), any::<[u8; 16]>(), kind, time(), "\\PC{0,60}", any::<u8>()).prop_map(|(id, vault, kind, created, label, byte)| {
        let key_bytes = if kind == SlotKind::Plain { 32 } else { 60 };
        KeySlot { id: KeySlotId(id), vault: VaultId(vault), kind, created, label, wrapped_key: vec![byte; key_bytes] }
    })
}

fn summary() -> impl Strategy<Value = PackSummary> {
    any::<[u8; 32]>().prop_map(PackSummary)
}

pub(super) fn child() -> impl Strategy<Value = Child> {
    let node = (any::<[u8; 32]>(), pack_id(), any::<u32>(), any::<[u8; 32]>(), summary());
    prop_oneof![
        Just(Child::Hole),
        Just(Child::Zero),
        Just(Child::Free),
        node.prop_map(|(id, pack, slot, content, packs)| Child::Node(NodeRef {
            id: NodeId(id),
            address: Address { pack, slot },
            content: ContentId(content),
            packs
        })),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    prop_oneof![
        (1..=4_u16).prop_map(|blocks| Run::Zero { blocks }),
        (pack_id(), prop_oneof![0..1000_u32, Just(u32::MAX - 8)], 1..=8_u16)
            .prop_map(|(pack, slot, blocks)| Run::Blocks { address: Address { pack, slot }, blocks }),
    ]
}

fn entry() -> impl Strategy<Value = ChunkEntry> {
    let last = Run::Blocks { address: Address { pack: PackId([9; 16]), slot: 3 }, blocks: 1 };
    let data = (any::<[u8; 31]>(), vec(run(), 0..8)).prop_map(move |(hash, mut runs)| {
        runs.push(last);
        let mut full = [1; 32];
        full[1..].copy_from_slice(&hash);
        ChunkEntry::Data { hash: ChunkHash(full), runs }
    });
    prop_oneof![1 => Just(ChunkEntry::Hole), 1 => Just(ChunkEntry::Zero), 1 => Just(ChunkEntry::Free), 4 => data]
}

pub(super) fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        vec(entry(), 1..=32).prop_map(Node::Leaf),
        vec(entry(), 256).prop_map(Node::Leaf),
        (1..=MAX_LEVEL, vec(child(), 1..=32)).prop_map(|(level, children)| Node::Inner { level, children }),
        (1..=MAX_LEVEL, vec(child(), 256)).prop_map(|(level, children)| Node::Inner { level, children }),
    ]
}

fn changes() -> impl Strategy<Value = ChangeSource> {
    prop_oneof![
        Just(ChangeSource::First),
        Just(ChangeSource::Scan),
        ("\\PC{0,20}", any::<u64>()).prop_map(|(origin, sampled_chunks)| ChangeSource::Hints { origin, sampled_chunks }),
        ("\\PC{0,20}", "\\PC{0,20}").prop_map(|(origin, reason)| ChangeSource::HintsRefused { origin, reason }),
    ]
}

fn disk() -> impl Strategy<Value = DiskRecord> {
    let grid = (0..=Grid::MAX_DISK_BYTES, 0..8_u32);
    let statistics = any::<[u64; 4]>();
    (name(), grid, child(), any::<[u8; 32]>(), "\\PC{0,20}", changes(), statistics).prop_map(
        |(name, (size_bytes, sectors), root, content_id, source, changes, [read_bytes, changed_bytes, new_bytes, stored_bytes])| {
            DiskRecord {
                name,
                grid: Grid::new(size_bytes, sectors * 512).expect("a legal grid"),
                root,
                content_id: ContentId(content_id),
                source,
                changes,
                statistics: DiskStatistics { read_bytes, changed_bytes, new_bytes, stored_bytes },
            }
        },
    )
}

fn distinct_disks() -> impl Strategy<Value = Vec<DiskRecord>> {
    vec(disk(), 0..4).prop_map(|mut disks| {
        disks.sort_by(|one, other| one.name.cmp(&other.name));
        disks.dedup_by(|one, other| one.name == other.name);
        disks
    })
}

pub(super) fn manifest() -> impl Strategy<Value = Manifest> {
    let consistency = prop_oneof![Just(Consistency::Crash), Just(Consistency::FileSystem), Just(Consistency::Application)];
    let ids = (any::<[u8; 16]>(), option::of(any::<[u8; 16]>()), option::of(any::<[u8; 32]>()), 1..u64::MAX);
    let configs = btree_set("[a-z]{1,9}", 0..3).prop_flat_map(|names| {
        let count = names.len();
        (Just(names), vec(vec(any::<u8>(), 0..30), count)).prop_map(|(names, contents)| {
            names.into_iter().zip(contents).map(|(name, bytes)| ConfigFile { name, bytes }).collect::<Vec<_>>()
        })
    });
    let texts = (vec("\\PC{0,9}", 0..4), "\\PC{0,9}", "\\PC{0,9}");
    (ids, name(), (time(), option::of(time())), consistency, distinct_disks(), texts, configs).prop_map(
        |((point, base, predecessor, sequence), machine, (time, retain_until), consistency, disks, (tags, tool_version, host), configs)| {
            Manifest {
                point: PointId(point),
                machine,
                sequence,
                predecessor,
                time,
                retain_until,
                consistency,
                base: base.map(PointId),
                disks,
                tags,
                configs,
                tool_version,
                host,
            }
        },
    )
}

pub(super) fn verdict() -> impl Strategy<Value = Verdict> {
    (any::<[u8; 16]>(), any::<bool>(), any::<[u8; 16]>(), time()).prop_map(|(point, published, lease, time)| Verdict {
        point: PointId(point),
        decision: if published { Decision::Published } else { Decision::Revoked },
        lease: LeaseId(lease),
        time,
    })
}

pub(super) fn state() -> impl Strategy<Value = PointState> {
    (any::<[u8; 16]>(), any::<bool>(), vec("\\PC{0,9}", 0..4), option::of(time()), option::of(time()), time()).prop_map(
        |(point, pinned, tags, retain_until, deleted, time)| PointState {
            point: PointId(point),
            pinned,
            tags,
            retain_until,
            deleted,
            time,
        },
    )
}

pub(super) fn known() -> impl Strategy<Value = KnownPoint> {
    let verdict = (any::<u64>(), any::<bool>(), time()).prop_map(|(size_bytes, published, time)| KnownVerdict {
        size_bytes,
        decision: if published { Decision::Published } else { Decision::Revoked },
        time,
    });
    let manifest = (any::<u64>(), any::<[u8; 32]>(), manifest());
    (any::<[u8; 16]>(), option::of(manifest), option::of(verdict), option::of((any::<u64>(), any::<u64>(), state()))).prop_map(
        |(id, manifest, verdict, state)| {
            let point = PointId(id);
            let manifest =
                manifest.map(|(size_bytes, hash, manifest)| KnownManifest { size_bytes, hash, manifest: Manifest { point, ..manifest } });
            let state = state.map(|(number, size_bytes, state)| KnownState { number, size_bytes, state: PointState { point, ..state } });
            KnownPoint { point, manifest, verdict, state }
        },
    )
}

pub(super) fn marked() -> impl Strategy<Value = MarkedNodes> {
    let address = || (pack_id(), any::<u32>()).prop_map(|(pack, slot)| Address { pack, slot });
    let names = prop_oneof![
        any::<[u8; 32]>().prop_map(|summary| Names::Unknown(PackSummary(summary))),
        vec(0..2_u32, 0..3).prop_map(Names::Packs),
        vec(0..1_u32, 0..3).prop_map(Names::Nodes),
    ];
    let node = (any::<[u8; 32]>(), address(), names).prop_map(|(id, address, names)| MarkedNode { id: NodeId(id), address, names });
    let birth = (any::<u32>(), address(), any::<u32>()).prop_map(|(slot, birth, count)| BirthRange { slot, birth, count });
    let table = (pack_id(), any::<bool>(), any::<u32>(), vec(birth, 0..3)).prop_map(|(pack, map, slots, births)| PackTable {
        pack,
        kind: if map { PackKind::Map } else { PackKind::Data },
        slots,
        births,
    });
    let seen = (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 16]>(), any::<u64>());
    let seen = seen.prop_map(|(lease, number, boot, seconds)| SeenLease { lease: LeaseId(lease), number, boot, seconds });
    let blocks = vec((pack_id(), vec(any::<u64>(), 0..3)), 0..3);
    let rest = (vec(table, 0..3), vec(moved(), 0..2), vec(seen, 0..3));
    ([pack_id(), pack_id()], vec(node, 1..4), blocks, rest).prop_map(|(packs, nodes, blocks, (tables, moved, leases))| MarkedNodes {
        packs: packs.to_vec(),
        nodes,
        blocks,
        tables,
        moved,
        leases,
    })
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let name = || "[a-z0-9][a-z0-9._-]{0,5}".prop_map(|name| name.parse::<MachineName>().expect("legal"));
    let policy = (option::of("\\PC{0,9}"), "\\PC{0,9}", option::of("\\PC{0,9}"), option::of(any::<u32>()));
    let policies = proptest::collection::btree_map(name(), policy, 1..4);
    let assignments = proptest::collection::btree_map(name(), any::<proptest::sample::Index>(), 0..4);
    let state = proptest::sample::select(vec![ImmutabilityState::Disabled, ImmutabilityState::Enabled, ImmutabilityState::Locked]);
    (any::<u64>(), policies, assignments, any::<u16>(), (state, 1..=u16::MAX), time()).prop_map(
        |(number, policies, assignments, soft_delete_days, (state, days), time)| {
            let names: Vec<MachineName> = policies.keys().cloned().collect();
            let record = |(name, (schedule, retention, mirror, scrub_millionths))| PolicyRecord {
                name,
                schedule,
                retention,
                mirror,
                scrub_millionths,
            };
            Settings {
                number,
                default_policy: names[0].clone(),
                assignments: assignments.into_iter().map(|(machine, policy)| (machine, policy.get(&names).clone())).collect(),
                policies: policies.into_iter().map(record).collect(),
                soft_delete_days,
                immutability: Immutability { state, days: if state == ImmutabilityState::Disabled { 0 } else { days } },
                time,
            }
        },
    )
}

pub(super) fn lease() -> impl Strategy<Value = Lease> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), vec(any::<[u8; 16]>(), 0..4), "\\PC{0,20}", time()).prop_map(
        |(lease, number, collection, base_points, holder, time)| Lease {
            lease: LeaseId(lease),
            number,
            collection,
            base_points: base_points.into_iter().map(PointId).collect(),
            holder,
            time,
        },
    )
}

pub(super) fn collection() -> impl Strategy<Value = Collection> {
    (any::<u64>(), any::<[u8; 16]>(), time()).prop_map(|(number, lease, time)| Collection { number, lease: LeaseId(lease), time })
}

pub(super) fn condemned() -> impl Strategy<Value = Condemned> {
    (any::<u64>(), btree_set(any::<[u8; 16]>(), 0..9))
        .prop_map(|(collection, packs)| Condemned { collection, packs: packs.into_iter().map(PackId).collect() })
}

/// First slots and counts that ascend and do not overlap.
fn slot_ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    vec((0..9_u32, 1..9_u32), 0..9).prop_map(|gaps| {
        let mut free_from = 0;
        let place = |(gap, count)| {
            let slot = free_from + gap;
            free_from = slot + count;
            (slot, count)
        };
        gaps.into_iter().map(place).collect()
    })
}

pub(super) fn moved() -> impl Strategy<Value = Moved> {
    (any::<[u8; 16]>(), any::<u64>(), slot_ranges(), pack_id(), 0..u32::MAX / 2).prop_map(|(pack, number, ranges, target, slot)| Moved {
        pack: PackId(pack),
        number,
        ranges: ranges.into_iter().map(|(birth_slot, count)| MovedRange { birth_slot, count, pack: target, slot }).collect(),
    })
}

pub(super) fn damaged() -> impl Strategy<Value = Damaged> {
    (any::<u64>(), slot_ranges(), slot_ranges(), time()).prop_map(|(number, first, second, time)| {
        let of = |pack: u8, ranges: Vec<(u32, u32)>| {
            ranges.into_iter().map(move |(slot, count)| (Address { pack: PackId([pack; 16]), slot }, count))
        };
        Damaged { number, slots: of(1, first).chain(of(2, second)).collect(), time }
    })
}

/// A legal table of contents, with the key header that goes with its frames' lengths.
pub(super) fn toc() -> impl Strategy<Value = (Toc, KeyHeader)> {
    let frame = (1..=256_u32, any::<bool>(), any::<u32>(), 0..4096_u32);
    (any::<[u8; 16]>(), any::<bool>(), any::<bool>(), vec(frame, 1..20), slot_ranges()).prop_map(|(pack, data, sealed, frames, births)| {
        let key = if sealed { KeyHeader::MasterKey([5; 60]) } else { KeyHeader::None };
        let kind = if data { PackKind::Data } else { PackKind::Map };
        let mut toc = Toc { pack: PackId(pack), kind, frames: Vec::new(), slot_count: 0, births: Vec::new() };
        let mut offset_bytes = 0;
        for (size, zstd, crc32, less) in frames {
            let raw_bytes = if data { size * 4096 } else { size * 2 };
            let saved = if zstd { 1 + less % (raw_bytes - 1) } else { 0 };
            let codec = if zstd { Codec::Zstd } else { Codec::Stored };
            let stored_bytes = raw_bytes - saved + key.overhead_bytes();
            toc.frames.push(FrameEntry { offset_bytes, stored_bytes, raw_bytes, codec, crc32, first_slot: toc.slot_count });
            offset_bytes += u64::from(stored_bytes);
            toc.slot_count += if data { size } else { 1 };
        }
        let legal = births.into_iter().filter(|(slot, count)| slot + count <= toc.slot_count);
        let birth = |slot| Address { pack: PackId([1; 16]), slot: slot + 100 };
        toc.births = legal.map(|(slot, count)| BirthRange { slot, count, birth: birth(slot) }).collect();
        (toc, key)
    })
}

/// Fingerprints for the slots of a pack, as many as it stores.
fn fingerprints(toc: &Toc) -> Vec<Fingerprint> {
    match toc.kind {
        PackKind::Data => (0..toc.slot_count).map(|slot| Fingerprint([slot as u8; 16])).collect(),
        PackKind::Map => Vec::new(),
    }
}

pub(super) fn index() -> impl Strategy<Value = IndexObject> {
    let pack = toc().prop_map(|(toc, key)| {
        let fingerprints = fingerprints(&toc);
        let mut section = encode_fingerprints(&fingerprints);
        if toc.kind == PackKind::Data {
            section.resize(section.len() + key.overhead_bytes() as usize, 0);
        }
        let frames_bytes: u64 = toc.frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
        let tail = PackTail::new(&toc, &key, section).expect("legal").encode([6; 32]);
        IndexedPack::from_tail(&tail, frames_bytes + tail.len() as u64, fingerprints).expect("a pack's end")
    });
    vec(pack, 0..3).prop_map(|packs| IndexObject { packs })
}
