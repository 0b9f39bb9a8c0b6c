//! Tests of every format of hints, well-formed, malformed and random.

use proptest::prelude::*;

use super::*;
use crate::source::testing::{run, text};
use crate::units::Extent;

const DISK: u64 = 2 << 20;

fn set(ranges: &[(u64, u64)]) -> ExtentSet {
    ExtentSet::from_unsorted(ranges.iter().map(|&(start, end)| Extent::between(start, end)).collect())
}

fn good(hints: &str) -> Hints {
    parse_hints(hints.as_bytes(), DISK).unwrap_or_else(|error| panic!("{error}\n{hints}"))
}

/// The text of the error that `hints` give.
fn bad(hints: &str) -> String {
    match parse_hints(hints.as_bytes(), DISK) {
        Ok(parsed) => panic!("{hints} was taken as {parsed:?}"),
        Err(error) => error.to_string(),
    }
}

/// What `qemu-img map` prints for an overlay larger than its backing file.
const QEMU: &str = r#"[{ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 65536, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 131072, "length": 131072, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 262144, "length": 786432, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 1048576, "length": 1048576, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]
"#;

#[test]
fn an_overlays_own_clusters_are_the_change() {
    let hints = good(QEMU);
    assert_eq!(hints.origin, "qemu-img map");
    assert_eq!(hints.base, HintBase::Unknown);
    assert_eq!(hints.changed, set(&[(65536, 131_072)]));
    assert_eq!(hints.zeroed, set(&[(131_072, 262_144), (1 << 20, 2 << 20)]));
}

#[test]
fn qemu_img_itself_is_understood() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let (base, overlay) = (path("base.raw"), path("overlay.qcow2"));
    // An odd size: the map of a disk is in sectors.
    std::fs::write(&base, vec![7; 300_001]).expect("a file");
    let arguments = ["create", "-q", "-f", "qcow2", "-b", text(&base), "-F", "raw", text(&overlay)];
    let Some(_) = run("qemu-img", &arguments) else { return };
    run("qemu-io", &["-c", "write -P 9 70000 1", text(&overlay)]).expect("qemu-io comes with qemu-img");
    let map = run("qemu-img", &["map", "--output=json", text(&overlay)]).expect("qemu-img is there");
    let hints = parse_hints(&map, 300_001).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&map)));
    assert_eq!(hints.changed, set(&[(65536, 131_072)]));
    assert_eq!(hints.zeroed, set(&[]));
}

#[test]
fn a_dirty_bitmap_is_the_change_and_an_allocation_map_is_refused() {
    let dirty = r#"[
{ "offset": 0, "length": 65536, "type": 0, "description": "clean"},
{ "offset": 65536, "length": 65536, "type": 1, "description": "dirty"},
{ "offset": 131072, "length": 1966080, "type": 0, "description": "clean"}
]"#;
    let hints = good(dirty);
    assert_eq!((hints.origin.as_str(), hints.changed, hints.zeroed), ("nbdinfo --map", set(&[(65536, 131_072)]), set(&[])));
    let allocation = bad(r#"[{ "offset": 0, "length": 2097152, "type": 3, "description": "hole,zero"}]"#);
    assert!(allocation.contains("'hole,zero'") && allocation.contains("ask for a dirty bitmap"), "{allocation}");
}

#[test]
fn rbd_diff_is_read_with_words_and_truth_values() {
    let hints = good(r#"[{"offset":0,"length":4096,"exists":"true"},{"offset":8192,"length":4096,"exists":false}]"#);
    assert_eq!((hints.origin.as_str(), hints.changed, hints.zeroed), ("rbd diff", set(&[(0, 4096)]), set(&[(8192, 12288)])));
    let nothing = good("[]\n");
    assert_eq!((nothing.changed, nothing.zeroed), (set(&[]), set(&[])));
    let word = bad(r#"[{"offset":0,"length":4096,"exists":"maybe"}]"#);
    assert!(word.contains("entry 1: its exists is 'maybe'"), "{word}");
}

/// What `thin_delta` prints, plain and with `--verbose`.
const THIN: &str = r#"<superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="1000">
  <diff left="1" right="2">
    <same begin="0" length="5"/>
    <different begin="5" length="2"/>
    <same begin="7" length="3"/>
    <left_only begin="20" length="2"/>
    <right_only begin="31" length="1"/>
  </diff>
</superblock>
"#;
const THIN_VERBOSE: &str = r#"<superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="1000">
  <diff left="1" right="2">
    <different>
      <range begin="5" left_data_begin="5" right_data_begin="50" length="2"/>
    </different>
    <same>
      <range begin="7" data_begin="7" length="3"/>
    </same>
    <left_only>
      <range begin="20" data_begin="30" length="2"/>
    </left_only>
    <right_only>
      <range begin="31" data_begin="60" length="1"/>
    </right_only>
  </diff>
</superblock>
"#;

#[test]
fn thin_delta_is_read_in_blocks() {
    let expected_zeroed = set(&[(20 << 16, 22 << 16)]);
    for xml in [THIN, THIN_VERBOSE] {
        let hints = good(xml);
        assert_eq!(hints.changed, set(&[(5 << 16, 7 << 16), (31 << 16, 32 << 16)]));
        assert_eq!(hints.zeroed, expected_zeroed);
        // The last block of a volume may be larger than what is left of the volume.
        let odd = parse_hints(xml.as_bytes(), DISK - 512).expect("the last block is cut");
        assert_eq!(odd.changed, set(&[(5 << 16, 7 << 16), (31 << 16, DISK - 512)]));
    }
}

#[test]
fn wrong_thin_deltas_are_refused() {
    for (from, to, expected) in [
        ("begin=\"31\"", "begin=\"32\"", "entry 5: it is 65536 bytes from offset 2097152, past the end of the disk at 2097152"),
        ("begin=\"20\"", "begin=\"9\"", "entry 4: it starts at offset 589824, before the end of the entry before it"),
        ("begin=\"20\"", "begin=\"18446744073709551615\"", "past the end of the disk"),
        ("begin=\"20\"", "begin=\"-1\"", "line 6: begin is '-1', not a number"),
        ("begin=\"20\"", "", "line 6: <left_only> has no begin"),
        ("<left_only", "<wrong_only", "<wrong_only> is no element"),
        ("data_block_size=\"128\"", "data_block_size=\"0\"", "data_block_size is 0 sectors"),
        ("data_block_size=\"128\"", "", "<superblock> has no data_block_size"),
        ("</superblock>\n", "", "it ends inside of an element"),
        ("</diff>", "</dif>", "malformed at line 8"),
        ("</diff>", "</diff><diff/>", "2 elements <diff>"),
    ] {
        let xml = THIN.replacen(from, to, 1);
        assert_ne!(xml, THIN, "{from} is not there");
        let error = bad(&xml);
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
    assert!(bad("<html/>").contains("<html> is no element"));
}

const NEUTRAL: &str = r#"{"cairn_hints":1,"base":"web01@2026-11-22T20:30:00Z","size_bytes":2097152,
"changed":[{"offset":0,"length":4096,"kind":"data"},
{"offset":4096,"length":4096,"kind":"zero"},
{"offset":12288,"length":4096,"kind":"hole"}]}"#;

#[test]
fn neutral_hints_name_their_base() {
    let hints = good(NEUTRAL);
    assert_eq!(hints.base, HintBase::Point("web01@2026-11-22T20:30:00Z".to_owned()));
    assert_eq!(hints.origin, "Cairn hints");
    assert_eq!((hints.changed, hints.zeroed), (set(&[(0, 4096)]), set(&[(4096, 8192), (12288, 16384)])));
    let plain = good(r#"{"changed":[],"size_bytes":2097152,"cairn_hints":1,"origin":"array tool"}"#);
    assert_eq!((plain.base, plain.origin.as_str()), (HintBase::Unknown, "array tool"));
}

#[test]
fn wrong_neutral_hints_are_refused() {
    for (from, to, expected) in [
        ("\"cairn_hints\":1", "\"cairn_hints\":2", "cairn_hints is 2; this version of Cairn reads 1"),
        ("\"cairn_hints\":1,", "", "missing field `cairn_hints`"),
        ("\"size_bytes\":2097152,", "", "missing field `size_bytes`"),
        ("2097152", "2097153", "describe a disk of 2097153 bytes, but the disk has 2097152"),
        ("\"base\"", "\"bass\"", "line 1: unknown field `bass`"),
        ("\"base\"", "\"size_bytes\":1,\"base\"", "duplicate field `size_bytes`"),
        ("\"offset\":4096", "\"offset\":4095", "entry 2: it starts at offset 4095, before the end of the entry before it at 4096"),
        ("\"offset\":12288", "\"offset\":2097151", "entry 3: it is 4096 bytes from offset 2097151, past the end of the disk"),
        ("\"offset\":12288", "\"offset\":18446744073709551615", "past the end of the disk"),
        ("\"offset\":12288", "\"offset\":18446744073709551616", "line 4: invalid type"),
        ("\"offset\":12288", "\"offset\":-1", "line 4: invalid value"),
        ("\"offset\":12288", "\"offset\":1.5", "line 4: invalid type"),
        ("\"zero\"", "\"gone\"", "line 3: unknown variant `gone`"),
        ("\"length\":4096,\"kind\":\"hole\"", "\"kind\":\"hole\"", "line 4: missing field `length`"),
        ("}]}", "}]} x", "line 4: trailing characters"),
        ("}]}", "}]", "line 4: EOF"),
    ] {
        let json = NEUTRAL.replacen(from, to, 1);
        assert_ne!(json, NEUTRAL, "{from} is not there");
        let error = bad(&json);
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

#[test]
fn wrong_maps_are_refused() {
    for (from, to, expected) in [
        ("\"start\": 131072", "\"start\": 131073", "entry 3: it starts at offset 131073, but nothing is said of the bytes from 131072"),
        ("\"start\": 131072", "\"start\": 131071", "entry 3: it starts at offset 131071, before the end"),
        ("\"length\": 1048576", "\"length\": 1048577", "entry 5: it is 1048577 bytes from offset 1048576, past the end"),
        ("\"length\": 1048576", "\"length\": 1047552", "describe a disk of 2096128 bytes, but the disk has 2097152"),
        ("\"length\": 1048576, ", "", "entry 5: it has no field 'length'"),
        ("\"depth\": 0, \"present\": true, \"zero\": false", "\"depth\": 0", "entry 2: it has no field 'zero'"),
        ("\"start\": 0, ", "", "its entries are no ranges of a known kind"),
        ("\"depth\": 1,", "\"depth\": \"one\",", "no ranges of a known kind"),
        ("}]", "}", "malformed at line 6: EOF"),
        ("}]", "}] x", "malformed at line 5: trailing characters"),
    ] {
        let map = QEMU.replacen(from, to, 1);
        assert_ne!(map, QEMU, "{from} is not there");
        let error = bad(&map);
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

#[test]
fn what_is_no_hint_is_refused() {
    assert!(bad("").contains("they are empty"));
    assert!(bad(" \n").contains("they are empty"));
    assert!(bad("Offset Length\u{1b}[31m").contains(r"they start with 'Offset Length\u{1b}[31m'"));
    assert!(bad("[1,2]").contains("no ranges of a known kind"));
    assert!(bad(r#"[{"offset":1,"length":1}]"#).contains("no ranges of a known kind"));
    assert!(bad(&"[".repeat(100_000)).contains("no ranges of a known kind"));
    assert!(bad(&format!("[{{\"x\":{}", "[".repeat(100_000))).contains("malformed at line 1: EOF"));
    let large = HintError::TooLarge { bytes: MAX_HINT_BYTES + 1, limit_bytes: MAX_HINT_BYTES };
    let bytes = vec![b' '; usize::try_from(MAX_HINT_BYTES + 1).expect("a length")];
    assert_eq!(parse_hints(&bytes, DISK).expect_err("too large").to_string(), large.to_string());
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(good(&format!("\u{feff}{NEUTRAL}")), good(NEUTRAL));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is done to hints, they are refused or give sets inside the disk that do not overlap.
    #[test]
    fn mutated_hints_never_lie_outside_the_disk(which in 0_usize..4, at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..4), cut in 0_usize..8) {
        let mut text = [QEMU, THIN, THIN_VERBOSE, NEUTRAL][which].as_bytes().to_vec();
        let start = at.index(text.len());
        let end = (start + cut).min(text.len());
        text.splice(start..end, bytes);
        if let Ok(hints) = parse_hints(&text, DISK) {
            for extent in hints.changed.iter().chain(hints.zeroed.iter()) {
                prop_assert!(extent.end() <= DISK, "{extent:?}");
                prop_assert!(!(hints.changed.overlaps(extent) && hints.zeroed.overlaps(extent)), "{extent:?}");
            }
        }
    }

    /// Hints written by the rule of the document are read back as they were.
    #[test]
    fn neutral_hints_read_back(ranges in prop::collection::vec((0_u64..1000, 1_u64..1000, 0_usize..3), 0..50)) {
        let (mut offset, mut entries, mut changed, mut zeroed) = (0, Vec::new(), ExtentSet::new(), ExtentSet::new());
        for (gap, length, kind) in ranges {
            offset += gap;
            entries.push(format!(r#"{{"offset":{offset},"length":{length},"kind":"{}"}}"#, ["data", "zero", "hole"][kind]));
            let extent = Extent::between(offset, offset + length);
            if kind == 0 { changed.push(extent) } else { zeroed.push(extent) }
            offset += length;
        }
        let hints = good(&format!(r#"{{"cairn_hints":1,"size_bytes":{DISK},"changed":[{}]}}"#, entries.join(",")));
        prop_assert_eq!(hints.changed, changed);
        prop_assert_eq!(hints.zeroed, zeroed);
    }
}
