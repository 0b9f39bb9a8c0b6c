//! Sealed things open where they belong and nowhere else.

use jiff::Timestamp;
use proptest::prelude::*;

use super::slot::{PassphraseCost, Unlock, create_slot, open_slot};
use super::*;
use crate::format::envelope::ObjectKind;
use crate::format::pack::{BirthRange, Codec, FrameEntry, PackKind, TRAILER_BYTES, Toc, Trailer};
use crate::format::vault::{Cipher, DedupScope, KeySlot, SlotKind, VaultHeader, Writers};
use crate::units::{Address, Fingerprint, MachineName, PackId, VaultId};

const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 8, passes: 1, lanes: 1 };
const CIPHERS: [Cipher; 2] = [Cipher::None, Cipher::Aes256Gcm];

fn keys_of(vault: u8, cipher: Cipher) -> VaultKeys {
    VaultKeys::new(VaultId([vault; 16]), cipher, &MasterKey::from_bytes([7; 32]))
}

fn header(cipher: Cipher) -> VaultHeader {
    VaultHeader {
        vault: VaultId([1; 16]),
        created: Timestamp::UNIX_EPOCH,
        cipher,
        compression_level: 3,
        frame_blocks: 256,
        dedup_scope: DedupScope::Vault,
        writers: Writers::Many,
    }
}

#[test]
fn an_object_opens_under_its_own_name_and_kind_in_its_own_vault_only() {
    for cipher in CIPHERS {
        let keys = keys_of(1, cipher);
        let sealed = keys.seal_object(ObjectKind::Manifest, "points/aa", b"clear", b"secret body").expect("sealed");
        let opened = keys.open_object(ObjectKind::Manifest, "points/aa", &sealed);
        assert_eq!(opened, Ok(OpenObject { clear: b"clear".to_vec(), body: b"secret body".to_vec() }));
        let refused = CryptError::NotAuthentic { object: "points/ab".into() };
        assert_eq!(keys.open_object(ObjectKind::Manifest, "points/ab", &sealed), Err(refused.clone()));
        assert_eq!(keys_of(2, cipher).open_object(ObjectKind::Manifest, "points/ab", &sealed), Err(refused.clone()));
        assert!(matches!(keys.open_object(ObjectKind::Verdict, "points/aa", &sealed), Err(CryptError::Format { .. })));
        let mut other_master = keys_of(1, cipher);
        other_master.objects = keys_of(2, cipher).objects;
        assert!(other_master.open_object(ObjectKind::Manifest, "points/aa", &sealed).is_err());
        let shown = sealed.windows(11).any(|window| window == b"secret body");
        assert_eq!(shown, cipher == Cipher::None, "{cipher:?}");
    }
}

/// Every byte is authenticated, also where whoever changes it makes the checksum right again.
#[test]
fn an_object_with_any_byte_changed_is_refused() {
    for cipher in CIPHERS {
        let keys = keys_of(1, cipher);
        let sealed = keys.seal_object(ObjectKind::Lease, "leases/x", b"cl", b"body").expect("sealed");
        for at in 0..sealed.len() - 4 {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open_object(ObjectKind::Lease, "leases/x", &changed).is_err(), "{cipher:?}, byte {at}, with an old checksum");
            let (covered, checksum) = changed.split_last_chunk_mut::<4>().expect("long enough");
            *checksum = crc32fast::hash(covered).to_le_bytes();
            assert!(keys.open_object(ObjectKind::Lease, "leases/x", &changed).is_err(), "{cipher:?}, byte {at}");
        }
    }
}

#[test]
fn an_object_of_an_encrypted_vault_does_not_pass_in_one_without_encryption() {
    let plain = keys_of(1, Cipher::None).seal_object(ObjectKind::Lease, "leases/x", b"", b"body").expect("sealed");
    assert!(keys_of(1, Cipher::Aes256Gcm).open_object(ObjectKind::Lease, "leases/x", &plain).is_err());
}

/// A pack of these frames: its bytes, and its table.
fn write_pack(keys: &VaultKeys, pack: PackId, kind: PackKind, raw_frames: &[Vec<u8>]) -> (Vec<u8>, Toc) {
    let sealer = keys.new_pack(pack, kind).expect("a pack");
    let mut bytes = Vec::new();
    let mut toc = Toc { pack, kind, frames: Vec::new(), slot_count: 0, births: Vec::new() };
    for raw in raw_frames {
        let mut stored = raw.clone();
        sealer.next_frame().expect("a frame").seal(&mut stored).expect("sealed");
        toc.frames.push(FrameEntry {
            offset_bytes: bytes.len() as u64,
            stored_bytes: stored.len() as u32,
            raw_bytes: raw.len() as u32,
            codec: Codec::Stored,
            crc32: crc32fast::hash(&stored),
            first_slot: toc.slot_count,
        });
        toc.slot_count += kind.slots_of(raw.len() as u32).expect("a legal length");
        bytes.extend_from_slice(&stored);
    }
    toc.births.push(BirthRange { slot: 0, birth: Address { pack: PackId([99; 16]), slot: 5 }, count: 1 });
    let fingerprints: Vec<_> = match kind {
        PackKind::Data => (0..toc.slot_count).map(|slot| Fingerprint([slot as u8; 16])).collect(),
        PackKind::Map => Vec::new(),
    };
    bytes.extend(sealer.finish(&toc, &fingerprints).expect("finished"));
    (bytes, toc)
}

fn range(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    &bytes[range.start as usize..range.end as usize]
}

fn open_pack(keys: &VaultKeys, pack: PackId, bytes: &[u8]) -> Result<(Trailer, Toc, PackOpener), CryptError> {
    let damaged = |source| CryptError::Format { object: "pack".into(), source };
    let trailer = Trailer::decode(bytes, bytes.len() as u64).map_err(damaged)?;
    let (toc, opener) = keys.open_pack(pack, &trailer, range(bytes, trailer.toc_range()))?;
    Ok((trailer, toc, opener))
}

#[test]
fn a_pack_gives_back_its_frames_and_fingerprints() {
    for cipher in CIPHERS {
        let keys = keys_of(1, cipher);
        let frames = [vec![1; 4096], vec![2; 8192]];
        let (bytes, toc) = write_pack(&keys, PackId([3; 16]), PackKind::Data, &frames);
        let (trailer, read, opener) = open_pack(&keys, PackId([3; 16]), &bytes).expect("opened");
        assert_eq!(read, toc);
        for (number, (frame, raw)) in toc.frames.iter().zip(&frames).enumerate() {
            let mut stored = range(&bytes, frame.offset_bytes..frame.offset_bytes + u64::from(frame.stored_bytes)).to_vec();
            opener.open_frame(number as u32, &mut stored).expect("opened");
            assert_eq!(&stored, raw);
        }
        let fingerprints = opener.open_fingerprints(&trailer, range(&bytes, trailer.fingerprints_range()).to_vec());
        assert_eq!(fingerprints, Ok(vec![Fingerprint([0; 16]), Fingerprint([1; 16]), Fingerprint([2; 16])]));
        let (bytes, toc) = write_pack(&keys, PackId([4; 16]), PackKind::Map, &[vec![1; 10], vec![2; 1]]);
        let (trailer, read, opener) = open_pack(&keys, PackId([4; 16]), &bytes).expect("opened");
        assert_eq!(read, toc);
        assert_eq!(opener.open_fingerprints(&trailer, Vec::new()), Ok(Vec::new()));
    }
}

#[test]
fn frames_cannot_change_places() {
    let keys = keys_of(1, Cipher::Aes256Gcm);
    let (bytes, toc) = write_pack(&keys, PackId([3; 16]), PackKind::Data, &[vec![1; 4096], vec![1; 4096]]);
    let (trailer, _, opener) = open_pack(&keys, PackId([3; 16]), &bytes).expect("opened");
    let second = range(&bytes, toc.frames[1].offset_bytes..toc.frames[1].offset_bytes + 4112).to_vec();
    assert!(opener.open_frame(1, &mut second.clone()).is_ok());
    let refused = CryptError::NotAuthentic { object: "frame 0 of pack 03030303030303030303030303030303".into() };
    assert_eq!(opener.open_frame(0, &mut second.clone()), Err(refused));
    assert!(opener.open_frame(1, &mut second[..4111].to_vec()).is_err());
    let (other_bytes, _) = write_pack(&keys, PackId([4; 16]), PackKind::Data, &[vec![1; 4096], vec![1; 4096]]);
    let (_, _, other) = open_pack(&keys, PackId([4; 16]), &other_bytes).expect("opened");
    assert!(other.open_frame(1, &mut second.clone()).is_err());
    let fingerprints = range(&bytes, trailer.fingerprints_range()).to_vec();
    assert!(opener.open_fingerprints(&trailer, fingerprints.clone()).is_ok());
    assert!(opener.open_frame(0, &mut fingerprints.clone()).is_err());
}

/// The table and the trailer are authenticated as a whole, in both kinds of vault, whatever checksums say.
#[test]
fn a_pack_whose_end_was_changed_is_refused() {
    for cipher in CIPHERS {
        let keys = keys_of(1, cipher);
        let pack = PackId([3; 16]);
        let (bytes, toc) = write_pack(&keys, pack, PackKind::Data, &[vec![1; 4096], vec![2; 4096]]);
        assert!(open_pack(&keys, PackId([4; 16]), &bytes).is_err(), "under another name");
        assert!(open_pack(&keys_of(2, cipher), pack, &bytes).is_err(), "in another vault");
        let (trailer, ..) = open_pack(&keys, pack, &bytes).expect("opened");
        let toc_range = trailer.toc_range();
        for at in toc_range.start as usize..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(open_pack(&keys, pack, &changed).is_err(), "{cipher:?}, byte {at}, with old checksums");
            let trailer_start = toc_range.end as usize;
            let toc_crc = crc32fast::hash(range(&changed, toc_range.clone()));
            if at < trailer_start {
                changed[trailer_start + 44..trailer_start + 48].copy_from_slice(&toc_crc.to_le_bytes());
            }
            let covered_end = bytes.len() - 12;
            let crc = crc32fast::hash(&changed[trailer_start..covered_end]);
            changed[covered_end..covered_end + 4].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(open_pack(&keys, pack, &changed).is_ok(), changed == bytes, "{cipher:?}, byte {at}");
        }
        assert_eq!(u64::from(TRAILER_BYTES), bytes.len() as u64 - toc_range.end);
        assert_eq!(toc.frames.len(), 2);
    }
}

#[test]
fn a_pack_is_finished_only_with_the_frames_that_were_sealed() {
    let keys = keys_of(1, Cipher::None);
    let sealer = keys.new_pack(PackId([3; 16]), PackKind::Data).expect("a pack");
    let numbers: Vec<_> = (0..3).map(|_| sealer.next_frame().expect("a frame").number()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let toc = Toc { pack: PackId([3; 16]), kind: PackKind::Data, frames: Vec::new(), slot_count: 0, births: Vec::new() };
    let error = sealer.finish(&toc, &[]).expect_err("refused");
    insta::assert_snapshot!(error, @"pack 03030303030303030303030303030303 cannot be finished: this pack cannot be stored: its table has 0 frames of pack 03030303030303030303030303030303, but 3 were sealed");
}

#[test]
fn slots_open_with_their_secret_only() {
    let header = header(Cipher::Aes256Gcm);
    let master = MasterKey::from_bytes([9; 32]);
    let passphrase = |text: &str| Unlock::Passphrase(SecretBytes::new(text.into()));
    let file = |byte| Unlock::KeyFile(SecretBytes::new(vec![byte; 32]));
    let make = |unlock: &Unlock| create_slot(&header, &master, unlock, CHEAP, "office", Timestamp::UNIX_EPOCH).expect("a slot");
    for (unlock, wrong) in [(passphrase("right"), passphrase("wrong")), (file(1), file(2)), (passphrase("x"), file(b'x'))] {
        let slot = make(&unlock);
        assert_eq!(KeySlot::decode(&slot.encode()), Ok(slot.clone()));
        assert_eq!(open_slot(&header, &slot, &unlock).expect("opened").bytes(), master.bytes());
        let refused = CryptError::WrongKey { slot: slot.id };
        assert_eq!(open_slot(&header, &slot, &wrong).err(), Some(refused.clone()));
        assert_eq!(open_slot(&header, &slot, &Unlock::Nothing).err(), Some(refused.clone()));
        let weakened = VaultHeader { cipher: Cipher::None, ..header.clone() };
        assert_eq!(open_slot(&weakened, &slot, &unlock).err(), Some(refused.clone()), "a header that turns encryption off");
        let renamed = KeySlot { id: crate::units::KeySlotId([0; 8]), ..slot.clone() };
        assert!(open_slot(&header, &renamed, &unlock).is_err());
        let moved = VaultHeader { vault: VaultId([2; 16]), ..header.clone() };
        let refused = CryptError::WrongVault { slot: slot.id, expected: moved.vault, found: slot.vault };
        assert_eq!(open_slot(&moved, &slot, &unlock).err(), Some(refused));
    }
}

#[test]
fn a_plain_slot_opens_no_encrypted_vault() {
    let master = MasterKey::from_bytes([9; 32]);
    let open = header(Cipher::None);
    let slot = create_slot(&open, &master, &Unlock::Nothing, CHEAP, "", Timestamp::UNIX_EPOCH).expect("a slot");
    assert_eq!(open_slot(&open, &slot, &Unlock::Nothing).expect("opened").bytes(), master.bytes());
    assert_eq!(open_slot(&header(Cipher::Aes256Gcm), &slot, &Unlock::Nothing).err(), Some(CryptError::WrongKey { slot: slot.id }));
}

#[test]
fn passphrases_cost_what_the_slot_says() {
    let header = header(Cipher::Aes256Gcm);
    let unlock = Unlock::Passphrase(SecretBytes::new(b"correct horse".to_vec()));
    let master = MasterKey::from_bytes([9; 32]);
    let slot = create_slot(&header, &master, &unlock, CHEAP, "", Timestamp::UNIX_EPOCH).expect("a slot");
    let SlotKind::Passphrase { salt, memory_kib, passes, lanes } = slot.kind else { panic!("{:?}", slot.kind) };
    assert_eq!((memory_kib, passes, lanes), (8, 1, 1));
    let dearer = KeySlot { kind: SlotKind::Passphrase { salt, memory_kib, passes: 2, lanes }, ..slot.clone() };
    assert_eq!(open_slot(&header, &dearer, &unlock).err(), Some(CryptError::WrongKey { slot: slot.id }));
    let impossible = KeySlot { kind: SlotKind::Passphrase { salt, memory_kib: 1, passes, lanes }, ..slot };
    assert!(matches!(open_slot(&header, &impossible, &unlock).err(), Some(CryptError::Derivation { memory_kib: 1, .. })));
}

#[test]
fn secrets_that_are_too_short_make_no_slot() {
    let make = |unlock| create_slot(&header(Cipher::Aes256Gcm), &MasterKey::from_bytes([9; 32]), &unlock, CHEAP, "", Timestamp::UNIX_EPOCH);
    let empty = make(Unlock::Passphrase(SecretBytes::new(Vec::new()))).expect_err("refused");
    insta::assert_snapshot!(empty, @"the passphrase has 0 bytes, but at least 1 are needed");
    let short = make(Unlock::KeyFile(SecretBytes::new(vec![0; 31]))).expect_err("refused");
    insta::assert_snapshot!(short, @"the key file has 31 bytes, but at least 32 are needed; make one with 'head -c 32 /dev/urandom > FILE' and keep it safe");
}

#[test]
fn error_texts() {
    let slot = crate::units::KeySlotId([5; 8]);
    insta::assert_snapshot!(CryptError::WrongKey { slot }, @"this passphrase or key file does not open key slot 0505050505050505");
    insta::assert_snapshot!(CryptError::WrongVault { slot, expected: VaultId([1; 16]), found: VaultId([2; 16]) }, @"key slot 0505050505050505 belongs to vault 02020202020202020202020202020202, but this is vault 01010101010101010101010101010101; put the vault's own keys/ back");
    insta::assert_snapshot!(CryptError::NotAuthentic { object: "points/ab".into() }, @"'points/ab' is not what was sealed under that name: it was changed, took another object's place, or is of another vault");
    insta::assert_snapshot!(CryptError::Derivation { slot, memory_kib: 65536, reason: "out of memory".into() }, @"deriving a key for slot 0505050505050505 with 65536 KiB of memory failed: out of memory");
    insta::assert_snapshot!(CryptError::Cipher { doing: "sealing" }, @"the system's cryptography failed while sealing");
    let damaged = keys_of(1, Cipher::None).open_object(ObjectKind::Lease, "leases/x", b"short").expect_err("refused");
    insta::assert_snapshot!(damaged, @"'leases/x': the lease is damaged at byte 0: expected 8 more bytes, found 5 before the end");
}

#[test]
fn fingerprints_and_node_ids_depend_on_vault_and_machine() {
    let (one, two) = (keys_of(1, Cipher::None), keys_of(2, Cipher::None));
    let name = |text: &str| text.parse::<MachineName>().expect("a name");
    let block = [1; 4096];
    let prints = [
        one.fingerprinter(None).fingerprint(&block),
        two.fingerprinter(None).fingerprint(&block),
        one.fingerprinter(Some(&name("web01"))).fingerprint(&block),
        one.fingerprinter(Some(&name("web02"))).fingerprint(&block),
    ];
    for (index, print) in prints.iter().enumerate() {
        assert!(!prints[..index].contains(print), "fingerprint {index} is one of another key");
    }
    assert_eq!(one.fingerprinter(None).clone().fingerprint(&block), prints[0]);
    assert_ne!(one.node_id(&block), two.node_id(&block));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn objects_open_to_what_was_sealed(clear: Vec<u8>, body: Vec<u8>, name in "[a-z/0-9]{0,40}", encrypted: bool) {
        let keys = keys_of(1, if encrypted { Cipher::Aes256Gcm } else { Cipher::None });
        let sealed = keys.seal_object(ObjectKind::Index, &name, &clear, &body).expect("sealed");
        prop_assert_eq!(keys.open_object(ObjectKind::Index, &name, &sealed), Ok(OpenObject { clear, body }));
    }
}
