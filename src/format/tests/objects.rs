//! Vault header, key slots and the bodies of all small objects.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::strategies;
use crate::format::FormatError;
use crate::format::control::*;
use crate::format::envelope::{Envelope, ObjectKind};
use crate::format::index::IndexObject;
use crate::format::known::KnownPoint;
use crate::format::marked::MarkedNodes;
use crate::format::point::*;
use crate::format::settings::{ImmutabilityState, Settings};
use crate::format::vault::*;
use crate::units::*;

/// Decodes and encodes again.
type Recode = fn(&[u8]) -> Result<Vec<u8>, FormatError>;

/// Clear header and body of a manifest in one, behind the clear header's length.
fn manifest_bytes(manifest: &Manifest) -> Result<Vec<u8>, FormatError> {
    let clear = manifest.header().encode();
    Ok([vec![clear.len() as u8], clear, manifest.encode_body()?].concat())
}

fn recode_manifest(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let clear_end = bytes.first().map_or(0, |length| 1 + usize::from(*length)).min(bytes.len());
    let (start, body) = bytes.split_at(clear_end);
    let manifest = Manifest::decode(start.get(1..).unwrap_or_default(), body)?;
    manifest_bytes(&manifest)
}

fn recode_known(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let points = KnownPoint::decode_all(bytes)?;
    // No bytes at all are a list without points.
    if points.is_empty() {
        return Err(FormatError::invalid(ObjectKind::KnownPoints.words(), "empty"));
    }
    Ok(points.iter().map(KnownPoint::encode).collect::<Result<Vec<_>, _>>()?.concat())
}

/// One arbitrary value of every kind as bytes, and what reads it.
fn sample(runner: &mut TestRunner) -> Vec<(ObjectKind, Vec<u8>, Recode)> {
    fn draw<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(runner).expect("a value").current()
    }
    vec![
        (ObjectKind::Vault, draw(runner, strategies::header()).encode(), |bytes| Ok(VaultHeader::decode(bytes)?.encode())),
        (ObjectKind::KeySlot, draw(runner, strategies::key_slot()).encode(), |bytes| Ok(KeySlot::decode(bytes)?.encode())),
        (ObjectKind::Manifest, manifest_bytes(&draw(runner, strategies::manifest())).expect("legal"), recode_manifest),
        (ObjectKind::Verdict, draw(runner, strategies::verdict()).encode(), |bytes| Ok(Verdict::decode(bytes)?.encode())),
        (ObjectKind::State, draw(runner, strategies::state()).encode(), |bytes| Ok(PointState::decode(bytes)?.encode())),
        (ObjectKind::Lease, draw(runner, strategies::lease()).encode(), |bytes| Ok(Lease::decode(bytes)?.encode())),
        (ObjectKind::Collection, draw(runner, strategies::collection()).encode(), |bytes| Ok(Collection::decode(bytes)?.encode())),
        (ObjectKind::Condemned, draw(runner, strategies::condemned()).encode().expect("legal"), |bytes| Condemned::decode(bytes)?.encode()),
        (ObjectKind::Moved, draw(runner, strategies::moved()).encode().expect("legal"), |bytes| Moved::decode(bytes)?.encode()),
        (ObjectKind::KnownPoints, draw(runner, strategies::known()).encode().expect("legal"), recode_known),
        (ObjectKind::MarkedNodes, draw(runner, strategies::marked()).encode().expect("legal"), |bytes| {
            MarkedNodes::decode(bytes)?.encode()
        }),
        (ObjectKind::Settings, draw(runner, strategies::settings()).encode().expect("legal"), |bytes| Settings::decode(bytes)?.encode()),
        (ObjectKind::Damaged, draw(runner, strategies::damaged()).encode().expect("legal"), |bytes| Damaged::decode(bytes)?.encode()),
    ]
}

/// Whatever bytes decode, they are the only ones that give this value; what is cut short or longer never decodes.
#[test]
fn only_whole_and_canonical_bytes_decode() {
    let mut runner = TestRunner::deterministic();
    for round in 0..20 {
        for (kind, bytes, recode) in sample(&mut runner) {
            assert_eq!(recode(&bytes).as_ref(), Ok(&bytes), "{kind:?}, round {round}");
            for length in 0..bytes.len() {
                assert!(recode(&bytes[..length]).is_err(), "{kind:?} of {} bytes cut to {length}", bytes.len());
            }
            assert!(recode(&[bytes.as_slice(), &[0]].concat()).is_err(), "{kind:?} with a byte more");
            for at in 0..bytes.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= flip;
                    if let Ok(again) = recode(&changed) {
                        assert_eq!(again, changed, "{kind:?}, byte {at} ^ {flip:02x}");
                        assert!(!matches!(kind, ObjectKind::Vault | ObjectKind::KeySlot), "{kind:?}, byte {at}: has a checksum");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn vault_headers_come_back(header in strategies::header()) {
        prop_assert_eq!(VaultHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn key_slots_come_back(slot in strategies::key_slot()) {
        prop_assert_eq!(KeySlot::decode(&slot.encode()), Ok(slot));
    }

    #[test]
    fn manifests_come_back(manifest in strategies::manifest()) {
        let clear = manifest.header().encode();
        prop_assert_eq!(ManifestHeader::decode(&clear), Ok(manifest.header()));
        prop_assert_eq!(Manifest::decode(&clear, &manifest.encode_body().expect("legal")), Ok(manifest));
    }

    #[test]
    fn verdicts_come_back(verdict in strategies::verdict()) {
        prop_assert_eq!(Verdict::decode(&verdict.encode()), Ok(verdict));
    }

    #[test]
    fn known_points_come_back_ascending_and_no_other_way(one in strategies::known(), other in strategies::known()) {
        let (first, second) = if one.point < other.point { (one, other) } else { (other, one) };
        let encode = |points: [&KnownPoint; 2]| points.map(|point| point.encode().expect("legal")).concat();
        prop_assert!(KnownPoint::decode_all(&encode([&second, &first])).is_err());
        prop_assert_eq!(KnownPoint::decode_all(&encode([&first, &second])), Ok(vec![first, second]));
        prop_assert_eq!(KnownPoint::decode_all(&[]), Ok(Vec::new()));
    }

    #[test]
    fn marked_nodes_come_back(marked in strategies::marked()) {
        prop_assert_eq!(MarkedNodes::decode(&marked.encode().expect("legal")), Ok(marked));
    }

    #[test]
    fn states_come_back(state in strategies::state()) {
        prop_assert_eq!(PointState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn settings_come_back_and_illegal_ones_are_not_written(settings in strategies::settings()) {
        prop_assert_eq!(Settings::decode(&settings.encode().expect("legal")), Ok(settings.clone()));
        let stray = "nobody-has-this-name".parse().expect("legal");
        let nobodys = Settings { default_policy: stray, ..settings.clone() };
        let twice = Settings { policies: [settings.policies.clone(), settings.policies.clone()].concat(), ..settings.clone() };
        prop_assert!(nobodys.encode().is_err() && twice.encode().is_err());
        let mut without_days = settings;
        without_days.immutability.days = u16::from(without_days.immutability.state == ImmutabilityState::Disabled);
        prop_assert!(without_days.encode().is_err());
    }

    #[test]
    fn leases_come_back(lease in strategies::lease()) {
        prop_assert_eq!(Lease::decode(&lease.encode()), Ok(lease));
    }

    #[test]
    fn collections_come_back(collection in strategies::collection()) {
        prop_assert_eq!(Collection::decode(&collection.encode()), Ok(collection));
    }

    #[test]
    fn condemned_lists_come_back(condemned in strategies::condemned()) {
        prop_assert_eq!(Condemned::decode(&condemned.encode().expect("legal")), Ok(condemned));
    }

    #[test]
    fn moved_lists_come_back(moved in strategies::moved()) {
        prop_assert_eq!(Moved::decode(&moved.encode().expect("legal")), Ok(moved));
    }

    #[test]
    fn index_objects_come_back(index in strategies::index()) {
        prop_assert_eq!(IndexObject::decode(&index.encode()), Ok(index));
    }

    #[test]
    fn damaged_lists_come_back(damaged in strategies::damaged()) {
        prop_assert_eq!(Damaged::decode(&damaged.encode().expect("legal")), Ok(damaged));
    }
}

/// Index objects are long; their own test flips and cuts fewer of them.
#[test]
fn only_whole_and_canonical_index_objects_decode() {
    let mut runner = TestRunner::deterministic();
    let index = strategies::index().prop_filter("some packs", |index| (1..5000).contains(&index.encode().len()) && index.packs.len() > 1);
    let bytes = index.new_tree(&mut runner).expect("a value").current().encode();
    for at in 0..bytes.len() {
        assert!(IndexObject::decode(&bytes[..at]).is_err(), "cut to {at} of {}", bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 0x11;
        if let Ok(again) = IndexObject::decode(&changed) {
            assert_eq!(again.encode(), changed, "byte {at}");
        }
    }
}

/// A manifest with one smallest disk for each letter.
fn small_manifest() -> Manifest {
    let disk = |name: char| DiskRecord {
        name: name.to_string().parse().expect("a name"),
        grid: Grid::new(0, 0).expect("a grid"),
        root: crate::format::map::Child::Hole,
        content_id: ContentId([0; 32]),
        source: String::new(),
        changes: ChangeSource::First,
        statistics: DiskStatistics::default(),
    };
    Manifest {
        point: PointId([1; 16]),
        machine: "m".parse().expect("a name"),
        sequence: 1,
        predecessor: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        retain_until: None,
        consistency: Consistency::Crash,
        base: None,
        disks: ('a'..='z').map(disk).collect(),
        tags: vec![String::new(); 9],
        configs: vec![ConfigFile { name: "x".into(), bytes: Vec::new() }],
        tool_version: String::new(),
        host: String::new(),
    }
}

/// Counts are compared with the bytes that are left; the smallest items must pass that.
#[test]
fn a_manifest_of_many_smallest_disks_comes_back() {
    let manifest = small_manifest();
    let body = manifest.encode_body().expect("legal");
    assert_eq!(Manifest::decode(&manifest.header().encode(), &body), Ok(manifest));
}

#[test]
fn manifests_that_nobody_could_use_are_refused_in_both_directions() {
    let config = |name: &str, bytes| ConfigFile { name: name.into(), bytes: vec![0; bytes] };
    type Break = fn(&mut Manifest);
    let breaks: [Break; 5] = [
        |manifest| manifest.sequence = 0,
        |manifest| manifest.disks[1].name = manifest.disks[0].name.clone(),
        |manifest| manifest.configs.push(manifest.configs[0].clone()),
        |manifest| manifest.configs[0].name = "../etc/passwd".into(),
        |manifest| manifest.configs[0].bytes = vec![0; MAX_CONFIG_BYTES + 1],
    ];
    for (number, make_bad) in breaks.into_iter().enumerate() {
        let mut manifest = small_manifest();
        make_bad(&mut manifest);
        assert!(matches!(manifest.encode_body(), Err(FormatError::Invalid { .. })), "break {number}");
    }
    for name in ["", ".", "..", "a/b", "a\\b", "a\0", "a\nb", &"x".repeat(256)] {
        let manifest = Manifest { configs: vec![config(name, 0)], ..small_manifest() };
        assert!(matches!(manifest.encode_body(), Err(FormatError::Invalid { .. })), "{name:?}");
    }
    let mut good = small_manifest();
    good.configs = vec![config("a:b", 0)];
    let mut body = good.encode_body().expect("legal");
    let at = body.windows(3).position(|window| window == b"a:b").expect("the name");
    body[at + 1] = b'/';
    let error = Manifest::decode(&good.header().encode(), &body).expect_err("refused");
    insta::assert_snapshot!(error, @"the manifest is damaged at byte 2621: expected a legal manifest, found a configuration file's name has a directory in it or is no name");
}

#[test]
fn lists_out_of_order_are_refused_in_both_directions() {
    let condemned = Condemned { collection: 1, packs: vec![PackId([2; 16]), PackId([2; 16])] };
    assert!(condemned.encode().is_err());
    let range = |birth_slot, count| MovedRange { birth_slot, count, pack: PackId([1; 16]), slot: 0 };
    for ranges in [vec![range(0, 0)], vec![range(0, 2), range(1, 1)], vec![range(5, 1), range(0, 1)], vec![range(u32::MAX, 1)]] {
        let moved = Moved { pack: PackId([2; 16]), number: 1, ranges };
        assert!(moved.encode().is_err(), "{moved:?}");
    }
    let slot = |pack, slot| (Address { pack: PackId([pack; 16]), slot }, 1);
    let time = jiff::Timestamp::UNIX_EPOCH;
    assert!(Damaged { number: 1, slots: vec![slot(2, 0), slot(1, 5)], time }.encode().is_err());
    let mut bytes = Damaged { number: 1, slots: vec![slot(1, 9), slot(2, 0)], time }.encode().expect("legal");
    bytes[16] = 3;
    let error = Damaged::decode(&bytes).expect_err("refused");
    insta::assert_snapshot!(error, @"the list of damaged slots is damaged at byte 64: expected ranges in ascending order, found others");
}

/// A slot is read before there is a key: it must not make whoever opens it spend more than it may.
#[test]
fn slots_that_ask_for_too_much_are_refused() {
    let slot = |memory_kib, passes, lanes| KeySlot {
        id: KeySlotId([1; 8]),
        vault: VaultId([2; 16]),
        kind: SlotKind::Passphrase { salt: [3; 16], memory_kib, passes, lanes },
        created: jiff::Timestamp::UNIX_EPOCH,
        label: String::new(),
        wrapped_key: vec![0; 60],
    };
    let most = slot(MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES);
    assert_eq!(KeySlot::decode(&most.encode()), Ok(most));
    for (memory_kib, passes, lanes) in [(MAX_MEMORY_KIB + 1, 1, 1), (64, 0, 1), (64, 65, 1), (64, 1, 0), (64, 1, 9), (7, 1, 1)] {
        let decoded = KeySlot::decode(&slot(memory_kib, passes, lanes).encode());
        assert!(matches!(decoded, Err(FormatError::Corrupt { .. })), "{memory_kib} KiB, {passes} passes, {lanes} lanes");
    }
    let error = KeySlot::decode(&slot(u32::MAX, 1, 1).encode()).expect_err("refused");
    insta::assert_snapshot!(error, @"the key slot is damaged at byte 41: expected 8 KiB to 4 GiB of memory, found 4294967295");
    let long = KeySlot { label: "x".repeat(256), ..slot(64, 1, 1) };
    assert!(KeySlot::decode(&long.encode()).is_err());
}

#[test]
fn a_vault_header_with_a_body_is_refused() {
    let mut runner = TestRunner::deterministic();
    let header = strategies::header().new_tree(&mut runner).expect("a value").current().encode();
    let envelope = Envelope::decode(ObjectKind::Vault, &header).expect("decoded");
    assert!(VaultHeader::decode(&Envelope { body: vec![0], ..envelope.clone() }.encode()).is_err());
    assert!(VaultHeader::decode(&Envelope { nonce: [1; 12], ..envelope }.encode()).is_err());
}
