//! Envelopes of every kind.
#![no_main]

use cairn::format::envelope::{Envelope, ObjectKind};
use cairn_fuzz::{only_its_own_bytes, with_checksum};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = with_checksum(bytes);
    for bytes in [Some(bytes), whole.as_deref()].into_iter().flatten() {
        for kind in ObjectKind::ALL {
            only_its_own_bytes(bytes, Envelope::decode(kind, bytes).map(|envelope| envelope.encode()));
        }
    }
});
