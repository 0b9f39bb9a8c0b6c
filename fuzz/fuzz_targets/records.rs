//! The bodies of all other small objects: a byte that is the object's kind, and the body.
#![no_main]

use cairn::format::FormatError;
use cairn::format::control::{Collection, Condemned, Damaged, Lease, Moved};
use cairn::format::index::IndexObject;
use cairn::format::point::{PointState, Verdict};
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
        _ => Ok(IndexObject::decode(body)?.encode()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Some((kind, body)) = bytes.split_first() {
        only_its_own_bytes(body, recode(*kind, body));
    }
});
