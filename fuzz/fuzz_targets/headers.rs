//! What can be read without a key: vault headers, key slots, envelopes of every kind. All of them read the same bytes.
#![no_main]

use cairn::format::envelope::{Envelope, ObjectKind};
use cairn::format::vault::{KeySlot, VaultHeader};
use cairn_fuzz::{only_its_own_bytes, with_checksum, without_features};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = VaultHeader::decode(bytes);
    let _ = KeySlot::decode(bytes);
    if let Some(whole) = without_features(bytes) {
        only_its_own_bytes(&whole, VaultHeader::decode(&whole).map(|header| header.encode()));
        only_its_own_bytes(&whole, KeySlot::decode(&whole).map(|slot| slot.encode()));
    }
    let whole = with_checksum(bytes);
    for bytes in [Some(bytes), whole.as_deref()].into_iter().flatten() {
        for kind in ObjectKind::ALL {
            only_its_own_bytes(bytes, Envelope::decode(kind, bytes).map(|envelope| envelope.encode()));
        }
    }
});
