//! Damaged packs: reading gives what was stored or an error, never anything else.

use super::*;
use crate::backend::Created;
use crate::format::names::ObjectName;

/// A copy of the kit's vault whose only pack has other bytes.
fn with_pack(kit: &Kit, bytes: &[u8]) -> Arc<Vault> {
    let copy = copy_of(kit.backend().as_ref());
    let name = ObjectName::Pack(kit.packs()[0]).to_string();
    copy.delete(&name).unwrap();
    assert_eq!(copy.create(&name, bytes).unwrap(), Created::New);
    kit.behind(copy)
}

fn pack_bytes(kit: &Kit) -> Vec<u8> {
    kit.backend().get(&ObjectName::Pack(kit.packs()[0]).to_string()).unwrap()
}

#[test]
fn a_flipped_bit_is_noticed_where_it_matters() {
    for place in [Place::Memory, Place::LocalEncrypted] {
        let kit = Kit::new(place);
        let stored = kit.store(&[chunk(0..40)]).remove(0);
        let whole = pack_bytes(&kit);
        let frames_end = 40 * BLOCK_BYTES;
        let (mut errors, mut positions) = (0, 0);
        for at in (0..frames_end).step_by(1009).chain(frames_end..whole.len()) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            let vault = with_pack(&kit, &damaged);
            positions += 1;
            match read(&reader(&vault), &stored) {
                Ok(bytes) => assert!(bytes == stored.bytes, "byte {at} flipped"),
                Err(error) => {
                    assert!(error.to_string().contains(&kit.packs()[0].to_string()), "{error}");
                    errors += 1;
                }
            }
        }
        // What may pass are the fingerprints, which reading does not need: 16 bytes a slot.
        let unread = 40 * 16 + 16;
        assert!(errors >= positions - unread, "{errors} of {positions} flips were noticed");
    }
}

#[test]
fn flipped_fingerprints_are_not_matched() {
    for place in [Place::Memory, Place::LocalEncrypted] {
        let kit = Kit::new(place);
        kit.store(&[chunk(0..40)]);
        let whole = pack_bytes(&kit);
        let frames_end = whole.len() - kit.reader().info(kit.packs()[0]).unwrap().toc.frames.len() * 13 - 700;
        for at in (frames_end..whole.len()).step_by(11) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let vault = with_pack(&kit, &damaged);
            let (_lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
            let mut account = DiskAccount::default();
            let again = put(&vault, &mut session, &chunk(0..40), &mut account).unwrap();
            session.flush().unwrap();
            assert_eq!(account.new_bytes, 40 * BLOCK_BYTES as u64, "byte {at} flipped, but its pack was referred to");
            assert_eq!(session.known().unreadable(), kit.packs());
            assert_reads(&reader(&vault), &[again]);
        }
    }
}

#[test]
fn a_truncated_pack_is_named() {
    let kit = Kit::new(Place::LocalEncrypted);
    let stored = kit.store(&[chunk(0..64)]).remove(0);
    let whole = pack_bytes(&kit);
    for length in [0, 1, 27, 28, 107, 108, 1000, whole.len() / 2, whole.len() - 1] {
        let vault = with_pack(&kit, &whole[..length]);
        let error = read(&reader(&vault), &stored).unwrap_err();
        assert!(error.to_string().contains(&kit.packs()[0].to_string()), "{error}");
    }
    let longer = [whole.as_slice(), b"x"].concat();
    assert!(read(&reader(&with_pack(&kit, &longer)), &stored).is_err());
}

#[test]
fn swapped_packs_are_noticed() {
    for place in [Place::Memory, Place::LocalEncrypted] {
        let kit = Kit::new(place);
        let stored = kit.store(&[chunk(0..64)]).remove(0);
        let [pack] = kit.packs().try_into().unwrap();
        let twin = Kit::new(place);
        twin.store(&[chunk(0..64)]);
        let error = read(&reader(&with_pack(&kit, &pack_bytes(&twin))), &stored).unwrap_err();
        assert!(error.to_string().contains(&pack.to_string()), "another vault's pack: {error}");
        kit.store(&[chunk(64..128)]);
        let other = kit.packs().into_iter().find(|id| *id != pack).unwrap();
        let copy = copy_of(kit.backend().as_ref());
        let (name, other) = (ObjectName::Pack(pack).to_string(), ObjectName::Pack(other).to_string());
        copy.delete(&name).unwrap();
        assert_eq!(copy.create(&name, &copy.get(&other).unwrap()).unwrap(), Created::New);
        let error = read(&reader(&kit.behind(copy)), &stored).unwrap_err();
        assert!(error.to_string().contains(&pack.to_string()), "another pack of this vault: {error}");
    }
}
