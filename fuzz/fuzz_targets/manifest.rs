//! Manifests: a byte that says how long the clear header is, clear header, body.
#![no_main]

use cairn::format::FormatError;
use cairn::format::point::Manifest;
use cairn_fuzz::only_its_own_bytes;
use libfuzzer_sys::fuzz_target;

fn recode(clear: &[u8], body: &[u8]) -> Result<Vec<u8>, FormatError> {
    let manifest = Manifest::decode(clear, body)?;
    let body = manifest.encode_body().expect("what was decoded can be stored");
    Ok([manifest.header().encode(), body].concat())
}

fuzz_target!(|bytes: &[u8]| {
    if let Some((&length, rest)) = bytes.split_first()
        && let Some((clear, body)) = rest.split_at_checked(usize::from(length))
    {
        only_its_own_bytes(rest, recode(clear, body));
    }
});
