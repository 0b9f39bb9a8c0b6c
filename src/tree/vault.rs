//! The tree of many points: `<machine>/<point>/...`, and the links `latest` and by day beside the points.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::point::{PointTree, Spot};
use super::small;
use super::{Tree, TreeEntry};
use crate::guestfs::{Attributes, FileData, FileKind, GuestError, GuestResult, Timestamp};

/// Where the points come from. Asked anew whenever a directory of points is listed, so that a long mount shows new points.
pub trait Points: Send + Sync {
    /// The machines that have points, by name.
    ///
    /// # Errors
    /// What the vault says.
    fn machines(&self) -> GuestResult<Vec<String>>;

    /// The points of a machine, the oldest first.
    ///
    /// # Errors
    /// What the vault says.
    fn points(&self, machine: &str) -> GuestResult<Vec<PointName>>;

    /// A point's tree.
    ///
    /// # Errors
    /// What the vault says.
    fn open(&self, key: u128) -> GuestResult<PointTree>;
}

/// A point as a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointName {
    /// Which.
    pub key: u128,
    /// The directory's name: its time, `2026-11-22T20:30:00Z`.
    pub name: String,
    /// Its day, `2026-11-22`.
    pub day: String,
    /// Its time.
    pub time: Timestamp,
}

/// An object in the tree of many points.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VaultSpot {
    /// The top.
    Top,
    /// A machine's directory.
    Machine(Arc<str>),
    /// A link to a point of a machine.
    Link(Arc<str>, Arc<str>),
    /// An object of a point.
    Point(u128, Spot),
}

/// Points of machines as one tree.
pub struct VaultTree<P> {
    source: P,
    /// Points looked into lately, the last one last.
    opened: Mutex<Vec<(u128, Arc<PointTree>)>>,
    time: Timestamp,
}

/// Points kept open: each may hold some megabytes of its filesystems' metadata. One that was let go is opened again with the same spots.
const MOST_OPENED: usize = 16;

impl<P: Points> VaultTree<P> {
    /// The tree of these points; `time` is what directories above them bear.
    pub fn new(source: P, time: Timestamp) -> Self {
        Self { source, opened: Mutex::default(), time }
    }

    fn point(&self, key: u128) -> GuestResult<Arc<PointTree>> {
        let opened = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let take = |opened: &mut Vec<(u128, Arc<PointTree>)>| {
            let found = opened.iter().position(|(other, _)| *other == key)?;
            let entry = opened.remove(found);
            let tree = Arc::clone(&entry.1);
            opened.push(entry);
            Some(tree)
        };
        if let Some(tree) = take(&mut opened()) {
            return Ok(tree);
        }
        // Opened outside of the lock: a slow vault holds nobody up who reads another point.
        let tree = Arc::new(self.source.open(key)?);
        let mut opened = opened();
        if let Some(other) = take(&mut opened) {
            return Ok(other);
        }
        if opened.len() >= MOST_OPENED {
            opened.remove(0);
        }
        opened.push((key, Arc::clone(&tree)));
        Ok(tree)
    }

    /// The entries of a machine's directory: points, and the links that lead to them.
    fn machine(&self, machine: &Arc<str>) -> GuestResult<Vec<(String, VaultSpot, FileKind)>> {
        let points = self.source.points(machine)?;
        let mut entries: Vec<_> =
            points.iter().map(|point| (point.name.clone(), VaultSpot::Point(point.key, Spot::Top), FileKind::Directory)).collect();
        let link = |name: &str| (name.to_owned(), VaultSpot::Link(Arc::clone(machine), name.into()), FileKind::Link);
        // The points are in the order of time, so the last of a day is followed by one of another day.
        for (point, next) in points.iter().zip(points.iter().skip(1).map(Some).chain([None])) {
            if next.is_none_or(|next| next.day != point.day) {
                entries.push(link(&point.day));
            }
        }
        if !points.is_empty() {
            entries.push(link("latest"));
        }
        Ok(entries)
    }

    fn link(&self, machine: &str, name: &str) -> GuestResult<String> {
        let points = self.source.points(machine)?;
        let found = points.iter().rev().find(|point| name == "latest" || point.day == name);
        found.map(|point| point.name.clone()).ok_or_else(|| GuestError::NotFound { object: format!("a point for {name}") })
    }

    fn own_entries(&self, directory: &VaultSpot) -> GuestResult<Vec<(String, VaultSpot, FileKind)>> {
        match directory {
            VaultSpot::Top => {
                let machines = self.source.machines()?.into_iter();
                Ok(machines.map(|name| (name.clone(), VaultSpot::Machine(name.into()), FileKind::Directory)).collect())
            }
            VaultSpot::Machine(machine) => self.machine(machine),
            VaultSpot::Link(_, name) => Err(GuestError::WrongKind { object: name.to_string(), expected: "directory" }),
            VaultSpot::Point(..) => Ok(Vec::new()),
        }
    }
}

impl<P: Points> Tree for VaultTree<P> {
    type Spot = VaultSpot;

    fn top(&self) -> VaultSpot {
        VaultSpot::Top
    }

    fn attributes(&self, spot: &VaultSpot) -> GuestResult<Attributes> {
        match spot {
            VaultSpot::Point(key, spot) => self.point(*key)?.attributes(spot),
            VaultSpot::Link(machine, name) => Ok(small::link(self.link(machine, name)?.as_bytes(), self.time)),
            VaultSpot::Top | VaultSpot::Machine(_) => Ok(small::directory(self.time)),
        }
    }

    fn lookup(&self, directory: &VaultSpot, name: &[u8]) -> GuestResult<Option<VaultSpot>> {
        if let VaultSpot::Point(key, spot) = directory {
            return Ok(self.point(*key)?.lookup(spot, name)?.map(|spot| VaultSpot::Point(*key, spot)));
        }
        let entries = self.own_entries(directory)?;
        Ok(entries.into_iter().find(|(found, ..)| found.as_bytes() == name).map(|(_, spot, _)| spot))
    }

    fn entries(&self, directory: &VaultSpot, visit: &mut dyn FnMut(TreeEntry<VaultSpot>) -> ControlFlow<()>) -> GuestResult<()> {
        if let VaultSpot::Point(key, spot) = directory {
            return self.point(*key)?.entries(spot, &mut |entry| {
                visit(TreeEntry { name: entry.name, spot: VaultSpot::Point(*key, entry.spot), kind: entry.kind })
            });
        }
        for (name, spot, kind) in self.own_entries(directory)? {
            if visit(TreeEntry { name: name.into_bytes(), spot, kind: Some(kind) }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn link_target(&self, spot: &VaultSpot) -> GuestResult<Vec<u8>> {
        match spot {
            VaultSpot::Point(key, spot) => self.point(*key)?.link_target(spot),
            VaultSpot::Link(machine, name) => self.link(machine, name).map(String::into_bytes),
            VaultSpot::Top | VaultSpot::Machine(_) => {
                Err(GuestError::WrongKind { object: "this directory".to_owned(), expected: "symbolic link" })
            }
        }
    }

    fn extended_attributes(&self, spot: &VaultSpot) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        match spot {
            VaultSpot::Point(key, spot) => self.point(*key)?.extended_attributes(spot),
            _ => Ok(Vec::new()),
        }
    }

    fn open(&self, spot: &VaultSpot) -> GuestResult<Arc<dyn FileData>> {
        match spot {
            VaultSpot::Point(key, spot) => self.point(*key)?.open(spot),
            _ => Err(GuestError::WrongKind { object: "this".to_owned(), expected: "regular file" }),
        }
    }

    fn is_settled(&self, spot: &VaultSpot) -> bool {
        matches!(spot, VaultSpot::Point(..))
    }

    fn base_of(&self, spot: &VaultSpot) -> VaultSpot {
        match spot {
            VaultSpot::Point(key, inner) => match self.point(*key) {
                Ok(tree) => VaultSpot::Point(*key, tree.base_of(inner)),
                Err(_) => VaultSpot::Top,
            },
            _ => VaultSpot::Top,
        }
    }
}
