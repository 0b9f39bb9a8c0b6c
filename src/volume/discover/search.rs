//! The search: a list of layers that nobody has been asked about, and parts that wait for others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Closed, Discovery, Disk, Volume, names};
use crate::units::Extent;
use crate::volume::luks::{self, Secret};
use crate::volume::table::{self, Partition, Table};
use crate::volume::{AnyLayer, DiskLayer, Pieces, VolumeError, VolumeResult, lvm, md};

/// The most layers that lie on each other; a partition, an array, encryption, LVM and a table in a volume of it are five.
const MOST_DEPTH: usize = 12;
/// The most layers that are looked at in one machine.
const MOST_LAYERS: usize = 20_000;

/// Finds everything.
pub(super) fn run(disks: Vec<Disk>, secrets: &[Secret]) -> Discovery {
    let mut search = Search {
        secrets,
        queue: VecDeque::new(),
        layers: 0,
        members: Vec::new(),
        physical: Vec::new(),
        texts: lvm::Texts::default(),
        discovery: Discovery::default(),
    };
    for (number, disk) in (0_u32..).zip(disks) {
        let layer: AnyLayer = Arc::new(DiskLayer { disk: number, device: disk.device });
        let device_names = vec![format!("/dev/{}", disk.name)];
        let volume = Volume { disk: Some(disk.name.clone()), device_names, ..bare(layer, disk.name.clone(), disk.name) };
        search.push(Node { volume, depth: 0 });
    }
    search.run();
    search.discovery.volumes.sort_by(|one, other| names::order(&one.name, &other.name));
    search.discovery
}

fn bare(layer: AnyLayer, name: String, found: String) -> Volume {
    Volume {
        layer,
        name,
        disk: None,
        partition: None,
        partition_type: None,
        partition_name: None,
        partition_uuid: None,
        device_names: Vec::new(),
        found,
        notes: Vec::new(),
    }
}

/// A layer, and how many it lies on.
struct Node {
    volume: Volume,
    depth: usize,
}

/// What a layer is for what lies on it.
enum Kind {
    Container(luks::Header),
    Member(md::Member),
    Physical(lvm::PhysicalVolume),
    Parted(Table),
    Leaf,
}

/// A part that waits for the other parts of the same whole.
struct Part<T> {
    what: T,
    on: Node,
}

struct Search<'a> {
    secrets: &'a [Secret],
    /// Layers that have not been asked yet.
    queue: VecDeque<Node>,
    /// All that there ever were.
    layers: usize,
    members: Vec<Part<md::Member>>,
    physical: Vec<Part<lvm::PhysicalVolume>>,
    texts: lvm::Texts,
    discovery: Discovery,
}

impl Search<'_> {
    fn push(&mut self, node: Node) {
        self.layers = self.layers.saturating_add(1);
        if self.layers > MOST_LAYERS || node.depth > MOST_DEPTH {
            self.close(node.volume.found, VolumeError::unsupported("what lies deeper, in more layers than any machine has,"));
        } else {
            self.queue.push_back(node);
        }
    }

    fn close(&mut self, found: String, error: VolumeError) {
        self.discovery.closed.push(Closed { found, error });
    }

    /// Wholes are put together when all their parts are there; when nothing else is left to look at, also those that lack some.
    fn run(&mut self) {
        loop {
            while let Some(node) = self.queue.pop_front() {
                match kind(&node.volume.layer) {
                    Ok(Kind::Container(header)) => self.container(node, &header),
                    Ok(Kind::Member(what)) => self.members.push(Part { what, on: node }),
                    Ok(Kind::Physical(mut what)) => match self.texts.share(&mut what) {
                        Ok(()) => self.physical.push(Part { what, on: node }),
                        Err(error) => self.close(node.volume.found, error),
                    },
                    Ok(Kind::Parted(table)) => self.parted(&node, table),
                    Ok(Kind::Leaf) => self.discovery.volumes.push(node.volume),
                    Err(error) => self.close(node.volume.found, error),
                }
            }
            let arrays = take_ready(&mut self.members, complete);
            let groups = take_ready(&mut self.physical, lvm::complete);
            if !arrays.is_empty() || !groups.is_empty() {
                self.arrays(arrays);
                self.groups(groups);
            } else if !self.members.is_empty() {
                let members = std::mem::take(&mut self.members);
                self.arrays(members);
            } else if !self.physical.is_empty() {
                let physical = std::mem::take(&mut self.physical);
                self.groups(physical);
            } else {
                return;
            }
        }
    }

    fn container(&mut self, on: Node, header: &luks::Header) {
        let found = step(&on.volume.found, &format!("LUKS{}", header.version));
        match luks::unlock(&on.volume.layer, header, self.secrets) {
            Ok(layer) => {
                // What the installers of Fedora and of Debian call it.
                let device_names = vec![format!("/dev/mapper/luks-{}", header.uuid), format!("/dev/mapper/{}_crypt", on.volume.name)];
                let name = format!("{}-luks", on.volume.name);
                let volume = Volume {
                    disk: on.volume.disk,
                    device_names,
                    notes: on.volume.notes.into_iter().chain(header.notes.iter().cloned()).collect(),
                    ..bare(layer, name, found)
                };
                self.push(Node { volume, depth: on.depth.saturating_add(1) });
            }
            Err(error) => self.close(found, error),
        }
    }

    fn parted(&mut self, on: &Node, table: Table) {
        for partition in table.partitions {
            let found = step(&on.volume.found, &title(&partition, table.scheme));
            if partition.range.is_empty() {
                let object = format!("partition {} of {}", partition.number, on.volume.name);
                let missing = "its bytes, which the disk does not have, are".to_owned();
                self.close(found, VolumeError::Incomplete { object, missing });
                continue;
            }
            let layer = Pieces::slice(&on.volume.layer, partition.range);
            let name = names::partition(&on.volume.name, partition.number);
            let notes = on.volume.notes.iter().chain(&table.notes).chain(&partition.notes).cloned().collect();
            // Below other layers it is no partition of a disk, and has no device of such a name.
            let of_disk = on.depth == 0;
            let volume = Volume {
                disk: on.volume.disk.clone(),
                partition: of_disk.then_some(partition.number),
                partition_type: Some(partition.kind),
                partition_name: partition.name,
                partition_uuid: partition.uuid,
                device_names: if of_disk { vec![format!("/dev/{name}")] } else { Vec::new() },
                notes,
                ..bare(layer, name, found)
            };
            self.push(Node { volume, depth: on.depth.saturating_add(1) });
        }
    }

    fn arrays(&mut self, mut parts: Vec<Part<md::Member>>) {
        parts.sort_by(|one, other| names::order(&one.on.volume.found, &other.on.volume.found));
        while let Some(array) = parts.first().map(|part| part.what.array) {
            let (own, others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.what.array == array);
            parts = others;
            let whole = Whole::of(&own.iter().map(|part| &part.on).collect::<Vec<_>>());
            let title = own.first().map_or_else(String::new, |part| format!("md {} '{}'", part.what.level.name(), part.what.name));
            let found = step(&whole.found, &title);
            match md::assemble(own.into_iter().map(|part| (part.what, part.on.volume.layer)).collect()) {
                Ok(made) => {
                    let short = names::array(&made.name);
                    let volume = Volume {
                        disk: whole.disk,
                        device_names: vec![format!("/dev/md/{short}"), format!("/dev/{short}")],
                        notes: whole.notes.into_iter().chain(made.notes).collect(),
                        ..bare(made.layer, names::plain(&format!("md-{short}")), found)
                    };
                    self.push(Node { volume, depth: whole.depth });
                }
                Err(error) => self.close(found, error),
            }
        }
    }

    fn groups(&mut self, mut parts: Vec<Part<lvm::PhysicalVolume>>) {
        parts.sort_by(|one, other| names::order(&one.on.volume.found, &other.on.volume.found));
        let mut members = Vec::new();
        let mut nodes = Vec::new();
        for Part { what, on } in parts {
            members.push(lvm::Member { volume: what, layer: Arc::clone(&on.volume.layer), place: on.volume.found.clone() });
            nodes.push(on);
        }
        let assembled = lvm::assemble(members);
        for (place, error) in assembled.left {
            self.close(place, error);
        }
        for group in assembled.groups {
            let on: Vec<&Node> = nodes.iter().filter(|node| group.places.contains(&node.volume.found)).collect();
            let whole = Whole::of(&on);
            let said = group.notes.iter().map(|note| format!("LVM group {}: {note}", group.title));
            let notes: Vec<String> = whole.notes.into_iter().chain(said).collect();
            for logical in group.volumes {
                let found = step(&whole.found, &format!("LVM {}/{}", group.title, logical.name));
                match logical.opened {
                    Ok(layer) => {
                        let volume = Volume {
                            disk: whole.disk.clone(),
                            device_names: names::logical(&group.name, &logical.name),
                            notes: notes.iter().cloned().chain(logical.notes).collect(),
                            ..bare(layer, names::plain(&format!("{}-{}", group.name, logical.name)), found)
                        };
                        self.push(Node { volume, depth: whole.depth });
                    }
                    Err(error) => self.close(found, error),
                }
            }
        }
    }
}

/// Takes out the parts whose wholes have all of theirs.
fn take_ready<T>(parts: &mut Vec<Part<T>>, complete: impl FnOnce(&[&T]) -> Vec<bool>) -> Vec<Part<T>> {
    let mut ready = complete(&parts.iter().map(|part| &part.what).collect::<Vec<_>>()).into_iter();
    let (taken, left) = std::mem::take(parts).into_iter().partition(|_| ready.next().unwrap_or(false));
    *parts = left;
    taken
}

/// Which members are of arrays that have all of theirs among them.
fn complete(members: &[&md::Member]) -> Vec<bool> {
    let mut roles: BTreeMap<[u8; 16], BTreeSet<u16>> = BTreeMap::new();
    for member in members {
        if let md::Role::Active(role) = member.role {
            roles.entry(member.array).or_default().insert(role);
        }
    }
    let is_complete = |member: &md::Member| roles.get(&member.array).is_some_and(|roles| roles.len() >= usize::from(member.devices));
    members.iter().map(|member| is_complete(member)).collect()
}

/// What the parts of a whole have together.
struct Whole {
    found: String,
    disk: Option<String>,
    notes: Vec<String>,
    /// Of what lies on them.
    depth: usize,
}

impl Whole {
    fn of(parts: &[&Node]) -> Self {
        let found: Vec<&str> = parts.iter().map(|part| part.volume.found.as_str()).collect();
        let disk = parts.first().and_then(|first| first.volume.disk.clone());
        Self {
            found: found.join(" + "),
            disk: disk.filter(|disk| parts.iter().all(|part| part.volume.disk.as_ref() == Some(disk))),
            notes: parts.iter().flat_map(|part| part.volume.notes.iter().cloned()).collect(),
            depth: parts.iter().map(|part| part.depth).max().unwrap_or(0).saturating_add(1),
        }
    }
}

fn step(found: &str, next: &str) -> String {
    format!("{found}, {next}")
}

fn title(partition: &Partition, scheme: table::Scheme) -> String {
    let name = partition.name.as_ref().map_or_else(String::new, |name| format!(" '{name}'"));
    format!("partition {} ({}{name}, {})", partition.number, scheme.name(), partition.kind)
}

/// What a layer is.
fn kind(layer: &AnyLayer) -> VolumeResult<Kind> {
    let table = table::identify(layer.as_ref());
    let parted = table.as_ref().ok().and_then(Option::as_ref);
    if let Some(member) = md::identify(layer.as_ref())?
        && !parted.is_some_and(|table| is_of_partition(layer, table, &member))
    {
        return Ok(Kind::Member(member));
    }
    // What is left of a second header somewhere on a disk with partitions is nothing either.
    if parted.is_none()
        && let Some(header) = luks::identify(layer.as_ref())?
    {
        return Ok(Kind::Container(header));
    }
    // LVM itself does not take a disk with partitions, so a label on one is left over.
    if parted.is_none()
        && let Some(volume) = lvm::identify(layer.as_ref())?
    {
        return Ok(Kind::Physical(volume));
    }
    Ok(table?.map_or(Kind::Leaf, Kind::Parted))
}

/// Whether the superblock at the end of a disk is that of its last partition, which ends where the disk ends.
fn is_of_partition(disk: &AnyLayer, table: &Table, member: &md::Member) -> bool {
    let is_it = |range: Extent| {
        let found = md::identify(Pieces::slice(disk, range).as_ref()).ok().flatten();
        let place = found.and_then(|found| found.superblock.offset().checked_add(range.offset()));
        place == Some(member.superblock.offset())
    };
    let ranges = table.partitions.iter().map(|partition| partition.range);
    ranges.filter(|range| range.offset() > 0 && range.intersection(&member.superblock) == Some(member.superblock)).any(is_it)
}
