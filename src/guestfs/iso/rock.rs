//! Rock Ridge (IEEE P1282) on the System Use Sharing Protocol (P1281): fields behind the name of a record, and in areas elsewhere where
//! they did not fit, that give a file what Unix wants of it.

use super::super::fields::{array, byte, le32};
use super::descriptors::long_time;
use super::record::short_time;
use crate::guestfs::{DeviceNumber, GuestError, GuestResult, Timestamp};

/// Areas of fields that one record may have, and bytes of one.
const MOST_AREAS: usize = 128;
const MOST_AREA_BYTES: u32 = 64 << 10;

/// What PX says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Posix {
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// All that the fields of a record say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rock {
    /// The name.
    pub(super) name: Option<Vec<u8>>,
    /// Mode and owners.
    pub(super) posix: Option<Posix>,
    /// The target of a symbolic link.
    pub(super) target: Option<Vec<u8>>,
    /// The number of a device node.
    pub(super) device: Option<DeviceNumber>,
    /// Made, contents changed, last read, anything changed.
    pub(super) created: Option<Timestamp>,
    pub(super) modified: Option<Timestamp>,
    pub(super) accessed: Option<Timestamp>,
    pub(super) changed: Option<Timestamp>,
    /// The block in which the directory is that stands here and was moved, because it would lie too deep.
    pub(super) child: Option<u64>,
    /// Whether this is where such a directory was moved to.
    pub(super) is_relocated: bool,
    /// The size of a file that zisofs compressed, when it is not.
    pub(super) uncompressed_bytes: Option<u64>,
    /// Whether it is a sparse file, whose blocks are told by a table.
    pub(super) is_sparse: bool,
    /// Whether the volume says by SP that there are fields, and how many bytes to pass over in each record.
    skip: Option<u8>,
    /// Whether the volume says by ER or RR that the fields are those of Rock Ridge.
    is_named: bool,
    /// Whether the last component of the target, or the name, goes on in the next field.
    target_goes_on: bool,
    name_goes_on: bool,
}

impl Rock {
    /// From the bytes behind a record's name; `read` gives those of another area: block, offset in it, bytes.
    ///
    /// # Errors
    /// Those of `read`; a limit for areas that lead to each other without end.
    pub(super) fn read(area: &[u8], read: &dyn Fn(u64, u64, usize) -> GuestResult<Vec<u8>>) -> GuestResult<Self> {
        let mut rock = Self::default();
        let mut next = rock.area(area);
        let mut areas = 0;
        while let Some((block, offset, length)) = next {
            areas += 1;
            if areas > MOST_AREAS || length > MOST_AREA_BYTES {
                return Err(GuestError::limit("a record of Rock Ridge", format!("more than {MOST_AREAS} areas, or one of {length} bytes")));
            }
            let bytes = read(u64::from(block), u64::from(offset), usize::try_from(length).unwrap_or(0))?;
            next = rock.area(&bytes);
        }
        Ok(rock)
    }

    /// Takes the fields of an area; gives where they go on.
    fn area(&mut self, area: &[u8]) -> Option<(u32, u32, u32)> {
        let mut rest = area;
        let mut next = None;
        while let Some((field, after)) = split(rest) {
            match &array::<2>(field, 0) {
                b"CE" => next = Some((le32(field, 4), le32(field, 12), le32(field, 20))),
                b"ST" => break,
                _ => self.field(field),
            }
            rest = after;
        }
        next
    }

    fn field(&mut self, field: &[u8]) {
        match &array::<2>(field, 0) {
            b"SP" if array(field, 4) == [0xbe, 0xef] => self.skip = Some(byte(field, 6)),
            b"ER" => {
                let name = field.get(8..).unwrap_or_default();
                self.is_named |= [&b"RRIP"[..], b"IEEE_P1282", b"IEEE_1282"].iter().any(|known| name.starts_with(known));
            }
            b"RR" => self.is_named = true,
            b"PX" => {
                self.is_named = true;
                let links = le32(field, 12).max(1);
                self.posix = Some(Posix { mode: le32(field, 4), links, uid: le32(field, 20), gid: le32(field, 28) });
            }
            b"PN" => self.device = Some(device(le32(field, 4), le32(field, 12))),
            b"NM" => self.name_part(field),
            b"SL" => self.target_part(field.get(5..).unwrap_or_default()),
            b"TF" => self.times(field),
            b"CL" => self.child = Some(u64::from(le32(field, 4))),
            b"RE" => self.is_relocated = true,
            b"ZF" if matches!(&array(field, 4), b"pz" | b"PZ") => self.uncompressed_bytes = Some(u64::from(le32(field, 8))),
            b"SF" => self.is_sparse = true,
            _ => {}
        }
    }

    fn name_part(&mut self, field: &[u8]) {
        let flags = byte(field, 4);
        // Names of the directory itself and of the one above.
        if flags & 6 != 0 {
            return;
        }
        let name = self.name.get_or_insert_default();
        if !self.name_goes_on {
            name.clear();
        }
        name.extend_from_slice(field.get(5..).unwrap_or_default());
        self.name_goes_on = flags & 1 != 0;
    }

    /// Components of a target: flags, length, bytes. A slash stands between two, but after the root and within one that goes on.
    fn target_part(&mut self, components: &[u8]) {
        let mut rest = components;
        while let Some((&[flags, length], after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(length).min(after.len());
            let (bytes, after) = after.split_at(length);
            rest = after;
            let first = self.target.is_none();
            let target = self.target.get_or_insert_default();
            if !first && !self.target_goes_on {
                target.push(b'/');
            }
            match flags & 0x0e {
                2 => target.push(b'.'),
                4 => target.extend_from_slice(b".."),
                8 => target.push(b'/'),
                _ => target.extend_from_slice(bytes),
            }
            self.target_goes_on = flags & 1 != 0 || flags & 0x0e == 8;
        }
    }

    fn times(&mut self, field: &[u8]) {
        let flags = byte(field, 4);
        let mut rest = field.get(5..).unwrap_or_default();
        let places = [&mut self.created, &mut self.modified, &mut self.accessed, &mut self.changed];
        for (bit, place) in places.into_iter().enumerate() {
            if flags & (1 << bit) == 0 {
                continue;
            }
            let length = if flags & 0x80 != 0 { 17 } else { 7 };
            let Some((time, after)) = rest.split_at_checked(length) else { return };
            rest = after;
            *place = if length == 17 { long_time(time) } else { Some(short_time(time)) };
        }
    }

    /// How many bytes to pass over in each record, if this is the first record of a volume with Rock Ridge.
    pub(super) fn skip_if_rock_ridge(&self) -> Option<usize> {
        match (self.skip, self.is_named) {
            (Some(skip), true) => Some(usize::from(skip)),
            (None, true) => Some(0),
            _ => None,
        }
    }
}

/// The first field of an area and what follows it.
fn split(area: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(byte(area, 2));
    if length < 4 { None } else { area.split_at_checked(length) }
}

/// Most writers put the whole number into the lower half, as Linux writes it: twelve bits of the major number from the eighth on,
/// those of the minor one around them.
fn device(high: u32, low: u32) -> DeviceNumber {
    if high == 0 && low & !0xff != 0 {
        return DeviceNumber { major: (low >> 8) & 0xfff, minor: low & 0xff | (low >> 12) & 0xf_ff00 };
    }
    DeviceNumber { major: high, minor: low }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &[u8; 2], bytes: &[u8]) -> Vec<u8> {
        [&name[..], &[bytes.len() as u8 + 4, 1], bytes].concat()
    }

    fn alone(area: &[u8]) -> Rock {
        Rock::read(area, &|_, _, _| panic!("there is no other area")).expect("reads")
    }

    #[test]
    fn targets_are_put_together() {
        for (components, target) in [
            (&[&[0, 1, b'a', 0, 1, b'b'][..]][..], "a/b"),
            (&[&[8, 0, 0, 1, b'a']], "/a"),
            (&[&[4, 0, 4, 0, 0, 1, b'a', 2, 0]], "../../a/."),
            (&[&[1, 1, b'a'], &[1, 1, b'b', 0, 1, b'c'], &[0, 1, b'd']], "abc/d"),
            (&[&[0, 1, b'a'], &[0, 1, b'b', 0, 0, 0, 1, b'c']], "a/b//c"),
            (&[&[0, 1, b'a', 0, 0]], "a/"),
            (&[&[0, 200, b'a']], "a"),
        ] {
            let area: Vec<u8> = components.iter().flat_map(|part| field(b"SL", &[&[0], *part].concat())).collect();
            assert_eq!(alone(&area).target.as_deref(), Some(target.as_bytes()), "{components:?}");
        }
    }

    #[test]
    fn fields_go_on_elsewhere_and_do_not_go_round() {
        let mut place = vec![0; 24];
        place[..4].copy_from_slice(&7_u32.to_le_bytes());
        place[8..12].copy_from_slice(&30_u32.to_le_bytes());
        place[16..20].copy_from_slice(&100_u32.to_le_bytes());
        let first = [field(b"NM", b"\x01long "), field(b"CE", &place), field(b"NM", b"\x01name")].concat();
        let rock = Rock::read(&first, &|block, offset, length| {
            assert_eq!((block, offset, length), (7, 30, 100));
            Ok([field(b"NM", b"\0 here"), field(b"ST", b""), field(b"NM", b"\0not this")].concat())
        });
        assert_eq!(rock.expect("reads").name.as_deref(), Some(&b"long name here"[..]));
        let round = Rock::read(&first, &|_, _, _| Ok(field(b"CE", &place)));
        assert!(matches!(round, Err(GuestError::Limit { .. })));
    }

    #[test]
    fn devices_are_written_in_two_ways() {
        assert_eq!(device(8, 1), DeviceNumber { major: 8, minor: 1 });
        assert_eq!(device(0, 0x0801), DeviceNumber { major: 8, minor: 1 });
        assert_eq!(device(0, 0x1111_0370), DeviceNumber { major: 259, minor: 70_000 });
        assert_eq!(device(0, 5), DeviceNumber { major: 0, minor: 5 });
    }
}
