//! qcow2 images, told in pieces.
#![no_main]

use std::cell::RefCell;

use cairn::source::Format;
use cairn_fuzz::image::{Workshop, assemble};
use libfuzzer_sys::fuzz_target;

thread_local!(static WORKSHOP: RefCell<Workshop> = RefCell::default());

fuzz_target!(|input: &[u8]| {
    WORKSHOP.with_borrow_mut(|workshop| workshop.check(&assemble(input), Format::Qcow2));
});
