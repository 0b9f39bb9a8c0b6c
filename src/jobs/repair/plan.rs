//! What is to be put, and why.

use crate::format::names::ObjectName;

/// Why an object is to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Missing,
    /// It is there, but not as it was written; what is wrong with it.
    Damaged(String),
}

/// An object that comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The object.
    pub name: ObjectName,
    /// Its bytes, as the mirror has it.
    pub size_bytes: u64,
    /// Why it must.
    pub why: Why,
}

/// What a repair will do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) repairs: Vec<Repair>,
    pub(super) lost: Vec<(String, String)>,
}

impl Plan {
    pub(super) fn put(&mut self, name: ObjectName, size_bytes: u64, why: Why) {
        if !self.repairs.iter().any(|repair| repair.name == name) {
            self.repairs.push(Repair { name, size_bytes, why });
        }
    }

    pub(super) fn lose(&mut self, name: ObjectName, reason: String) {
        self.lost.push((name.to_string(), reason));
    }

    /// Brings the repairs into the order of writes: what refers to something comes after it.
    pub(super) fn sort(&mut self) {
        self.repairs.sort_by_key(|repair| (rank(&repair.name), repair.name));
        self.lost.sort();
        self.lost.dedup();
    }
}

fn rank(name: &ObjectName) -> u8 {
    match name {
        ObjectName::Key(_) => 0,
        ObjectName::Vault => 1,
        ObjectName::Pack(_) => 2,
        ObjectName::Moved(..) => 3,
        ObjectName::Point(_) => 4,
        ObjectName::State(..) => 5,
        _ => 6,
    }
}
