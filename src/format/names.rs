//! The names of a vault's objects, in and out: one place knows where what lies.

use std::fmt;

use crate::units::{KeySlotId, LeaseId, PackId, PointId, SegmentId};

/// Below it, key slots.
pub const KEYS: &str = "keys/";
/// Below it, packs.
pub const PACKS: &str = "packs/";
/// Below it, manifests.
pub const POINTS: &str = "points/";
/// Below it, verdicts.
pub const VERDICTS: &str = "verdicts/";
/// Below it, state records.
pub const STATES: &str = "states/";
/// Below it, leases.
pub const LEASES: &str = "leases/";
/// Below it, collections.
pub const COLLECTIONS: &str = "collections/";
/// Below it, lists of condemned packs.
pub const CONDEMNED: &str = "condemned/";
/// Below it, lists of moved ranges.
pub const MOVED: &str = "moved/";
/// Below it, lists of damaged slots.
pub const DAMAGED: &str = "damaged/";
/// Below it, settings.
pub const SETTINGS: &str = "settings/";
/// Below it, index objects.
pub const INDEX: &str = "index/";

/// What an object's name says. `to_string` gives the name; numbers have 16 hexadecimal digits, so that names sort as numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// `vault`: the header.
    Vault,
    /// `keys/<id>`.
    Key(KeySlotId),
    /// `packs/<first 2 hex>/<id>`.
    Pack(PackId),
    /// `points/<id>`: a manifest.
    Point(PointId),
    /// `verdicts/<id>`.
    Verdict(PointId),
    /// `states/<point>/<n>`.
    State(PointId, u64),
    /// `leases/<id>/<n>`.
    Lease(LeaseId, u64),
    /// `collections/<n>`.
    Collection(u64),
    /// `condemned/<n>`.
    Condemned(u64),
    /// `moved/<pack>/<n>`.
    Moved(PackId, u64),
    /// `damaged/<n>`.
    Damaged(u64),
    /// `settings/<n>`.
    Settings(u64),
    /// `index/<segment>`.
    Index(SegmentId),
}

impl ObjectName {
    /// What a name says; `None` for a name that no object of a vault has.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let (directory, first, second, more) = (parts.next()?, parts.next(), parts.next(), parts.next());
        let parsed = match (directory, first, second, more) {
            ("vault", None, None, None) => Self::Vault,
            ("keys", Some(id), None, None) => Self::Key(id.parse().ok()?),
            ("packs", Some(_), Some(id), None) => Self::Pack(id.parse().ok()?),
            ("points", Some(id), None, None) => Self::Point(id.parse().ok()?),
            ("verdicts", Some(id), None, None) => Self::Verdict(id.parse().ok()?),
            ("states", Some(id), Some(n), None) => Self::State(id.parse().ok()?, number(n)?),
            ("leases", Some(id), Some(n), None) => Self::Lease(id.parse().ok()?, number(n)?),
            ("collections", Some(n), None, None) => Self::Collection(number(n)?),
            ("condemned", Some(n), None, None) => Self::Condemned(number(n)?),
            ("moved", Some(id), Some(n), None) => Self::Moved(id.parse().ok()?, number(n)?),
            ("damaged", Some(n), None, None) => Self::Damaged(number(n)?),
            ("settings", Some(n), None, None) => Self::Settings(number(n)?),
            ("index", Some(id), None, None) => Self::Index(id.parse().ok()?),
            _ => return None,
        };
        // A pack in another pack's directory, or a sign before a number, is no name of ours.
        (parsed.to_string() == name).then_some(parsed)
    }
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault => f.write_str("vault"),
            Self::Key(id) => write!(f, "{KEYS}{id}"),
            Self::Pack(id) => {
                let [first, ..] = id.0;
                write!(f, "{PACKS}{first:02x}/{id}")
            }
            Self::Point(id) => write!(f, "{POINTS}{id}"),
            Self::Verdict(id) => write!(f, "{VERDICTS}{id}"),
            Self::State(id, n) => write!(f, "{STATES}{id}/{n:016x}"),
            Self::Lease(id, n) => write!(f, "{LEASES}{id}/{n:016x}"),
            Self::Collection(n) => write!(f, "{COLLECTIONS}{n:016x}"),
            Self::Condemned(n) => write!(f, "{CONDEMNED}{n:016x}"),
            Self::Moved(id, n) => write!(f, "{MOVED}{id}/{n:016x}"),
            Self::Damaged(n) => write!(f, "{DAMAGED}{n:016x}"),
            Self::Settings(n) => write!(f, "{SETTINGS}{n:016x}"),
            Self::Index(id) => write!(f, "{INDEX}{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_what_they_show() {
        let all = [
            (ObjectName::Vault, "vault"),
            (ObjectName::Key(KeySlotId([1; 8])), "keys/0101010101010101"),
            (ObjectName::Pack(PackId([0xab; 16])), "packs/ab/abababababababababababababababab"),
            (ObjectName::Point(PointId([2; 16])), "points/02020202020202020202020202020202"),
            (ObjectName::Verdict(PointId([2; 16])), "verdicts/02020202020202020202020202020202"),
            (ObjectName::State(PointId([2; 16]), 255), "states/02020202020202020202020202020202/00000000000000ff"),
            (ObjectName::Lease(LeaseId([3; 16]), 0), "leases/03030303030303030303030303030303/0000000000000000"),
            (ObjectName::Collection(1), "collections/0000000000000001"),
            (ObjectName::Condemned(u64::MAX), "condemned/ffffffffffffffff"),
            (ObjectName::Moved(PackId([4; 16]), 1), "moved/04040404040404040404040404040404/0000000000000001"),
            (ObjectName::Damaged(16), "damaged/0000000000000010"),
            (ObjectName::Settings(3), "settings/0000000000000003"),
            (ObjectName::Index(SegmentId([5; 16])), "index/05050505050505050505050505050505"),
        ];
        for (name, text) in all {
            assert_eq!(name.to_string(), text);
            assert_eq!(ObjectName::parse(text), Some(name));
        }
    }

    #[test]
    fn other_names_are_nobodys() {
        for text in [
            "",
            "vault/",
            "vaults",
            "packs/ab",
            "packs/aa/abababababababababababababababab",
            "packs/ab/abababababababababababababababab.tmp",
            "packs/ab/abababababababababababababababab/x",
            "collections/1",
            "collections/+000000000000001",
            "collections/00000000000000FF",
            "points/../vault",
        ] {
            assert_eq!(ObjectName::parse(text), None, "{text:?}");
        }
    }
}
