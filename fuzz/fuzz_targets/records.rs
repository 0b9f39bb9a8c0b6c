//! What else there is to decode: a byte that tells what, and its bytes. The bodies of all other small objects, index segments, names.
#![no_main]

use cairn::catalogue::name::PointName;
use cairn::format::FormatError;
use cairn::format::control::{Collection, Condemned, Damaged, Lease, Moved};
use cairn::format::index::IndexObject;
use cairn::format::known::KnownPoint;
use cairn::format::marked::MarkedNodes;
use cairn::format::names::ObjectName;
use cairn::format::point::{PointState, Verdict};
use cairn::format::segment::{HEADER_BYTES, SegmentView};
use cairn::format::settings::Settings;
use cairn::units::MachineName;
use cairn_fuzz::only_its_own_bytes;
use libfuzzer_sys::fuzz_target;

fn recode(kind: u8, body: &[u8]) -> Result<Vec<u8>, FormatError> {
    match kind {
        4 => Ok(Verdict::decode(body)?.encode()),
        5 => Ok(PointState::decode(body)?.encode()),
        6 => Ok(Lease::decode(body)?.encode()),
        7 => Ok(Collection::decode(body)?.encode()),
        8 => Ok(Condemned::decode(body)?.encode().expect("what was decoded can be stored")),
        9 => Ok(Moved::decode(body)?.encode().expect("what was decoded can be stored")),
        10 => Ok(Damaged::decode(body)?.encode().expect("what was decoded can be stored")),
        13 => MarkedNodes::decode(body)?.encode(),
        14 => Ok(Settings::decode(body)?.encode().expect("what was decoded can be stored")),
        12 => KnownPoint::decode_all(body)?.iter().map(KnownPoint::encode).collect::<Result<Vec<_>, _>>().map(|points| points.concat()),
        _ => Ok(IndexObject::decode(body)?.encode()),
    }
}

/// A segment may be damaged in any way behind its header: then a look-up gives a wrong answer or none, and ends.
fn search_segment(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some(header) = bytes.get_mut(..HEADER_BYTES) {
        let checksum = crc32fast::hash(&header[..HEADER_BYTES - 4]);
        header[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    }
    let Ok(segment) = SegmentView::parse(&bytes) else { return };
    assert!(SegmentView::with_layout(&bytes, segment.layout()).is_ok());
    for entry in (0..segment.len().min(64)).filter_map(|index| segment.entry(index)) {
        if let Some(found) = segment.find(&entry.fingerprint) {
            assert_eq!(found.fingerprint, entry.fingerprint);
        }
    }
    let _ = segment.packs().count();
}

/// What reads as a name is written as that name.
fn read_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(name) = ObjectName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(machine) = text.parse::<MachineName>() {
        assert_eq!(machine.as_str(), text);
    }
    let _ = text.parse::<PointName>();
}

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((2, segment)) => search_segment(segment),
        Some((3, name)) => read_name(name),
        Some((kind, body)) => only_its_own_bytes(body, recode(*kind, body)),
        None => {}
    }
});
