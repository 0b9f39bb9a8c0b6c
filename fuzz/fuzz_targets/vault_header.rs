//! Vault headers.
#![no_main]

use cairn::format::vault::VaultHeader;
use cairn_fuzz::{only_its_own_bytes, without_features};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = VaultHeader::decode(bytes);
    if let Some(whole) = without_features(bytes) {
        only_its_own_bytes(&whole, VaultHeader::decode(&whole).map(|header| header.encode()));
    }
});
