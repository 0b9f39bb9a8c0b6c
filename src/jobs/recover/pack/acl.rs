//! Access control lists as text, which archives of GNU tar, star and libarchive have besides the attribute: with `--acls` a program takes them
//! from there alone, and from the mode where they are not there.
//!
//! Layout of the attribute: `struct posix_acl_xattr_header` and its entries in the kernel's posix_acl_xattr.h; text: acl(5).

/// The attributes, and the records that tell the same.
const RECORDS: [(&[u8], &[u8]); 2] =
    [(b"system.posix_acl_access", b"SCHILY.acl.access"), (b"system.posix_acl_default", b"SCHILY.acl.default")];
const VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY_BYTES: usize = 8;

/// The record that tells an attribute as text; `None` for one that is no list, or none that can be understood.
pub(super) fn record(name: &[u8], value: &[u8]) -> Option<(&'static [u8], String)> {
    let (_, key) = RECORDS.iter().find(|(attribute, _)| *attribute == name)?;
    let entries = value.strip_prefix(&VERSION)?;
    let (entries, []) = entries.as_chunks::<ENTRY_BYTES>() else { return None };
    let lines: Option<Vec<String>> = entries.iter().map(line).collect();
    Some((key, lines?.join("\n")))
}

fn line(entry: &[u8; ENTRY_BYTES]) -> Option<String> {
    let [tag, tag_high, rights, rights_high, id @ ..] = *entry;
    if tag_high != 0 || rights_high != 0 || rights > 7 {
        return None;
    }
    let id = u32::from_le_bytes(id);
    let whom = match tag {
        0x01 => "user:".to_owned(),
        0x02 => format!("user:{id}"),
        0x04 => "group:".to_owned(),
        0x08 => format!("group:{id}"),
        0x10 => "mask:".to_owned(),
        0x20 => "other:".to_owned(),
        _ => return None,
    };
    let right = |bit: u8, letter: char| if rights & bit != 0 { letter } else { '-' };
    Some(format!("{whom}:{}{}{}", right(4, 'r'), right(2, 'w'), right(1, 'x')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_as_tools_write_them() {
        let value = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xd2\x04\0\0\x04\0\x04\0\xff\xff\xff\xff\x08\0\x07\0\x10\x27\0\0\
            \x10\0\x07\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
        let text = "user::rw-\nuser:1234:r--\ngroup::r--\ngroup:10000:rwx\nmask::rwx\nother::---";
        assert_eq!(record(b"system.posix_acl_access", value), Some((&b"SCHILY.acl.access"[..], text.to_owned())));
        assert_eq!(record(b"system.posix_acl_default", &value[..12]), Some((&b"SCHILY.acl.default"[..], "user::rw-".to_owned())));
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        for value in
            [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01\0\x06", b"\x02\0\0\0\x03\0\x06\0\0\0\0\0", b"\x02\0\0\0\x01\0\x08\0\0\0\0\0"]
        {
            assert_eq!(record(b"system.posix_acl_access", value), None, "{value:?}");
        }
        assert_eq!(record(b"user.note", b"\x02\0\0\0"), None);
    }
}
