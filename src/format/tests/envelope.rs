//! The envelope: damage, other kinds, later versions and features.

use proptest::prelude::*;

use crate::format::FormatError;
use crate::format::envelope::{Envelope, ObjectKind};

fn example() -> Envelope {
    Envelope::new(ObjectKind::Lease, [4; 12], b"clear".to_vec(), b"the body".to_vec())
}

/// The example with some bytes replaced and the checksum made right again.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut object = example().encode();
    object[at..at + bytes.len()].copy_from_slice(bytes);
    with_checksum(object)
}

fn with_checksum(mut object: Vec<u8>) -> Vec<u8> {
    let covered = object.len() - 4;
    let checksum = crc32fast::hash(&object[..covered]);
    object[covered..].copy_from_slice(&checksum.to_le_bytes());
    object
}

#[test]
fn every_flip_and_every_truncation_is_refused() {
    let object = example().encode();
    assert_eq!(Envelope::decode(ObjectKind::Lease, &object), Ok(example()));
    for at in 0..object.len() {
        for bit in 0..8 {
            let mut changed = object.clone();
            changed[at] ^= 1 << bit;
            let error = Envelope::decode(ObjectKind::Lease, &changed).expect_err("refused");
            assert!(matches!(error, FormatError::Corrupt { .. }), "byte {at}, bit {bit}: {error}");
        }
        assert!(Envelope::decode(ObjectKind::Lease, &object[..at]).is_err(), "cut to {at}");
        assert!(Envelope::decode(ObjectKind::Lease, &with_checksum(object[..at.max(4)].to_vec())).is_err(), "cut to {at}, checksum right");
    }
    assert!(Envelope::decode(ObjectKind::Lease, &with_checksum([object.as_slice(), &[0; 4]].concat())).is_err());
}

#[test]
fn later_versions_and_unknown_features_are_told_apart_from_damage() {
    let decode = |object: Vec<u8>| Envelope::decode(ObjectKind::Lease, &object);
    insta::assert_snapshot!(decode(patched(10, &[2, 0])).expect_err("refused"), @"the lease has version 2, which this cairn does not know; use a newer cairn");
    insta::assert_snapshot!(decode(patched(12, &[0, 0x20, 0, 0])).expect_err("refused"), @"the lease has feature bit 13, which this cairn does not know; use a newer cairn");
    insta::assert_snapshot!(decode(patched(8, &[5, 0])).expect_err("refused"), @"expected a lease, found a state record");
    insta::assert_snapshot!(decode(patched(8, &[99, 0])).expect_err("refused"), @"the lease has kind 99, which this cairn does not know; use a newer cairn");
    insta::assert_snapshot!(decode(patched(10, &[0, 0])).expect_err("refused"), @"the lease is damaged at byte 10: expected a version from 1, found 0");
    insta::assert_snapshot!(decode(patched(0, b"\x7fELF")).expect_err("refused"), @r#"the lease is damaged at byte 0: expected the magic of a cairn object, found \x7fELFRN\r\n"#);
    insta::assert_snapshot!(decode(patched(32, &[255; 8])).expect_err("refused"), @"the lease is damaged at byte 56: expected 18446744073709551615 more bytes, found 13 before the end");
    let mut damaged = example().encode();
    damaged[60] ^= 1;
    insta::assert_snapshot!(decode(damaged).expect_err("refused"), @"the lease is damaged at byte 69: expected checksum 6ee57a8b, found 799e6ec8");
}

#[test]
fn unknown_compatible_features_pass_with_what_they_added() {
    let later = Envelope { compatible: 0x8000_0001, extension: b"more".to_vec(), ..example() };
    assert_eq!(Envelope::decode(ObjectKind::Lease, &later.encode()), Ok(later));
    let stray = Envelope { extension: b"more".to_vec(), ..example() };
    assert!(Envelope::decode(ObjectKind::Lease, &stray.encode()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn envelopes_come_back(index in 0..ObjectKind::ALL.len(), nonce: [u8; 12], clear: Vec<u8>, body: Vec<u8>) {
        let kind = ObjectKind::ALL[index];
        let envelope = Envelope::new(kind, nonce, clear, body);
        prop_assert_eq!(Envelope::decode(kind, &envelope.encode()), Ok(envelope));
    }
}
