//! Key slots.
#![no_main]

use cairn::format::vault::KeySlot;
use cairn_fuzz::{only_its_own_bytes, without_features};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = KeySlot::decode(bytes);
    if let Some(whole) = without_features(bytes) {
        only_its_own_bytes(&whole, KeySlot::decode(&whole).map(|slot| slot.encode()));
    }
});
