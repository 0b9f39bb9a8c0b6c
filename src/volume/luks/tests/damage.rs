//! Headers that are damaged, hostile, or ask for what Cairn lacks.

use aws_lc_rs::digest;

use super::super::identify;
use super::kit::{PLAIN_BYTES, disk, encrypted, head, opened, plain};
use crate::volume::VolumeError;

/// Where the two headers of a volume by cryptsetup's defaults are.
const HEADERS: [usize; 2] = [0, 0x4000];

fn volume() -> Option<Vec<u8>> {
    encrypted(&["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"])
}

/// Puts the checksum into the header at `at`.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at + 448..at + 512].fill(0);
    let checksum = digest::digest(&digest::SHA256, &bytes[at..at + 0x4000]);
    bytes[at + 448..at + 480].copy_from_slice(checksum.as_ref());
}

/// Replaces text in the JSON of both headers; NULs fill up what becomes free.
fn replaced(bytes: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in HEADERS {
        let json = &mut bytes[at + 4096..at + 0x4000];
        let length = json.iter().position(|&byte| byte == 0).expect("an end");
        let text = String::from_utf8(json[..length].to_vec()).expect("text");
        assert!(text.contains(old), "{old} in {text}");
        let text = text.replacen(old, new, 1);
        json.fill(0);
        json[..text.len()].copy_from_slice(text.as_bytes());
        seal(&mut bytes, at);
    }
    bytes
}

#[test]
fn the_second_header_is_taken_where_the_first_is_damaged() {
    let Some(good) = volume() else { return };
    for at in [0, 1, 8, 100, 300, 448, 4096 + 20] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let disk = disk(bytes);
        let header = identify(disk.as_ref()).expect("the second is whole").expect("a header");
        assert_eq!(header.notes, ["its first header is damaged; the second is used"], "byte {at}");
        assert!(head(&opened(&disk, &["secret"]).expect("opened"), PLAIN_BYTES) == plain());
    }
    let mut bytes = good.clone();
    bytes[..4096].fill(0);
    assert!(identify(disk(bytes).as_ref()).expect("readable").is_some(), "found by the second alone");
    let mut bytes = good;
    bytes[4096] ^= 1;
    bytes[0x4000 + 4096] ^= 1;
    let error = identify(disk(bytes).as_ref()).expect_err("no header is whole");
    assert_eq!(error.to_string(), "the LUKS2 header at byte 0 is damaged: its checksum is not that of its contents");
}

#[test]
fn the_newer_header_counts() {
    let Some(mut bytes) = volume() else { return };
    bytes[0x4000 + 24..][..5].copy_from_slice(b"newer");
    seal(&mut bytes, 0x4000);
    let label = |bytes: &[u8]| identify(disk(bytes.to_vec()).as_ref()).expect("sound").expect("a header").label;
    assert_eq!(label(&bytes), "");
    bytes[0x4000 + 22] += 1;
    seal(&mut bytes, 0x4000);
    assert_eq!(label(&bytes), "newer");
}

#[test]
fn what_cannot_be_read_is_named() {
    let Some(good) = volume() else { return };
    for (old, new, feature) in [
        (
            r#""encryption":"aes-xts-plain64","sector_size""#,
            r#""encryption":"serpent-xts-plain64","sector_size""#,
            "cipher 'serpent-xts-plain64'",
        ),
        (r#""sector_size":512"#, r#""sector_size":512,"integrity":{"type":"hmac(sha256)"}"#, "integrity (hmac(sha256))"),
        (r#""config":{"#, r#""config":{"requirements":{"mandatory":["online-reencrypt-v2"]},"#, "in the middle of a re-encryption"),
        (r#""config":{"#, r#""config":{"requirements":{"mandatory":["opal"]},"#, "requirement 'opal'"),
        (r#""type":"crypt""#, r#""type":"hw-opal""#, "segment of type 'hw-opal'"),
        (r#""offset":"2097152""#, r#""offset":"0""#, "header on another device"),
        (r#""type":"luks2""#, r#""type":"other""#, "key slot of type 'other'"),
        (r#""iterations":1000"#, r#""iterations":4000000000"#, "4000000000 rounds"),
    ] {
        let disk = disk(replaced(&good, old, new));
        assert!(identify(disk.as_ref()).expect("can be shown").is_some());
        match opened(&disk, &["secret"]) {
            Err(VolumeError::Unsupported { feature: found }) => assert!(found.contains(feature), "{found}"),
            Err(other) => panic!("{new}: {other}"),
            Ok(_) => panic!("{new} was opened"),
        }
    }
    let mut bytes = good;
    bytes[7] = 3;
    let error = identify(disk(bytes).as_ref()).expect_err("unknown").to_string();
    assert_eq!(error, "LUKS version 3 cannot be read by Cairn");
}

#[test]
fn a_volume_in_the_middle_of_its_encryption_is_named() {
    let Some(bytes) = encrypted(&["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--init-only"]) else { return };
    let error = opened(&disk(bytes), &["secret"]).map(|_| ()).expect_err("half of it is plain");
    assert_eq!(error.to_string(), "LUKS2 in the middle of a re-encryption cannot be read by Cairn");
}

#[test]
fn a_key_slot_that_asks_for_too_much_memory_is_refused() {
    let costs = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "64", "--pbkdf-parallel", "1"];
    let Some(good) = encrypted(&costs) else { return };
    for (old, new) in
        [(r#""memory":64"#, r#""memory":4294967295"#), (r#""time":4"#, r#""time":4294967295"#), (r#""cpus":1"#, r#""cpus":0"#)]
    {
        let error = opened(&disk(replaced(&good, old, new)), &["secret"]).map(|_| ()).expect_err("too much");
        assert!(error.to_string().contains("argon2id over "), "{error}");
    }
}

#[test]
fn text_that_contradicts_itself_is_damage() {
    let Some(good) = volume() else { return };
    for (old, new) in [
        (r#""keyslots":"#, r#""keyslots":["#),
        (r#""sector_size":512"#, r#""sector_size":513"#),
        (r#""offset":"2097152""#, r#""offset":"many""#),
        (r#""segments":["0"]"#, r#""segments":["7"]"#),
        (r#""offset":"2097152""#, r#""offset":"2097153""#),
    ] {
        let error = identify(disk(replaced(&good, old, new)).as_ref()).expect_err("contradicts itself");
        assert!(error.to_string().starts_with("the LUKS2 header is damaged: "), "{error}");
    }
    let past = opened(&disk(replaced(&good, r#""offset":"2097152""#, r#""offset":"9223372036854775808""#)), &["secret"]);
    assert!(matches!(past.map(|_| ()), Err(VolumeError::Damaged { .. })), "data past the end of the device");
}

#[test]
fn a_damaged_key_slot_is_a_wrong_key() {
    let Some(mut bytes) = volume() else { return };
    bytes[32_768 + 1000] ^= 1;
    assert!(matches!(opened(&disk(bytes), &["secret"]).map(|_| ()), Err(VolumeError::WrongKey { .. })));
}

#[test]
fn random_damage_ends_in_an_error_or_a_volume_that_can_be_read() {
    let Some(good) = volume() else { return };
    // Without the data, so that a round copies little.
    let good = good[..(2 << 20) + 65_536].to_vec();
    let rounds = if std::env::var_os("CAIRN_LONG_TESTS").is_some() { 10_000 } else { 300 };
    let mut state = 11u64;
    let mut number = |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) as usize) % below
    };
    let json = good[4096..0x4000].iter().position(|&byte| byte == 0).expect("an end");
    let mut read = 0;
    for round in 0..rounds {
        let mut bytes = good.clone();
        for _ in 0..=number(3) {
            let at = if number(4) == 0 { number(512) } else { 4096 + number(json) };
            // Digits for digits half of the time, so that the text stays text.
            let old = bytes[at];
            let new = if old.is_ascii_digit() && number(2) == 0 { b'0' + number(10) as u8 } else { number(256) as u8 };
            for header in HEADERS {
                bytes[header + at] = new;
            }
        }
        for header in HEADERS {
            bytes[header..header + 6].copy_from_slice(&good[header..header + 6]);
            bytes[header + 256..header + 264].copy_from_slice(&good[header + 256..header + 264]);
            if round % 10 > 0 {
                seal(&mut bytes, header);
            }
        }
        let disk = disk(bytes);
        let Ok(Some(header)) = identify(disk.as_ref()) else { continue };
        if let Ok(layer) = super::super::unlock(&disk, &header, &[super::kit::secret("secret")]) {
            read += 1;
            // It may lead anywhere, even past the end of the disk.
            let _ = layer.read_at(layer.size_bytes().saturating_sub(5000), &mut [0; 5000]);
        }
    }
    assert!(read > rounds / 20, "most damage must not be found at once: {read} of {rounds} could be read");
}

#[test]
fn luks1_of_any_contents_ends() {
    let mut state = 5u64;
    for round in 0..2000 {
        let mut bytes = vec![0u8; 8192];
        bytes[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
        for (at, text) in [(8, "aes"), (40, "xts-plain64"), (72, "sha256")] {
            bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        bytes[104..112].copy_from_slice(&[0, 0, 0, 8, 0, 0, 0, 64]);
        bytes[167] = 1;
        for slot in 0..8 {
            bytes[208 + 48 * slot..][..8].copy_from_slice(&if slot == 0 {
                [0, 0xac, 0x71, 0xf3, 0, 0, 0, 1]
            } else {
                [0, 0, 0xde, 0xad, 0, 0, 0, 1]
            });
            bytes[208 + 48 * slot + 40..][..8].copy_from_slice(&[0, 0, 0, 2, 0, 0, 0, 20]);
        }
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        if round > 0 {
            // Not in the rounds of the derivation, which would take long as they should.
            let at = 8 + (state >> 33) as usize % 580;
            let rounds = (164..168).contains(&at) || at >= 208 && (4..8).contains(&((at - 208) % 48));
            bytes[at] = if rounds { bytes[at] } else { (state >> 20) as u8 };
        }
        match opened(&disk(bytes.clone()), &["secret"]) {
            Ok(_) => panic!("no key can fit"),
            Err(VolumeError::Damaged { .. } | VolumeError::Unsupported { .. } | VolumeError::WrongKey { .. } | VolumeError::Disk(_)) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(round > 0 || matches!(opened(&disk(bytes), &["secret"]).map(|_| ()), Err(VolumeError::WrongKey { .. })), "sound by itself");
    }
}
