//! Map nodes, and what is computed from them.
#![no_main]

use cairn::format::map::Node;
use cairn_fuzz::only_its_own_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let recoded = Node::decode(bytes).map(|node| {
        let _ = (node.content(), node.packs());
        node.encode()
    });
    only_its_own_bytes(bytes, recoded);
});
