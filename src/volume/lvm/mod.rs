//! LVM2: physical volumes put together to groups, and the logical volumes in them.
//!
//! Nothing is known beyond what is given to [`assemble`], so two machines with equal names and UUIDs never mix. Disks of one machine that
//! are copies of each other make a group each, as far as all of its parts are copied.

mod build;
mod config;
mod group;
mod label;
mod raid;
mod snapshot;
#[cfg(test)]
mod tests;
mod thin;

pub use label::{PhysicalVolume, identify};

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use self::build::Builder;
use self::group::GroupText;
use super::{AnyLayer, VolumeError, VolumeResult};

/// A physical volume that was found.
pub struct Member {
    /// What its label says.
    pub volume: PhysicalVolume,
    /// Its bytes.
    pub layer: AnyLayer,
    /// Where it was found, for people: "vda, partition 2".
    pub place: String,
}

/// A volume group.
pub struct Group {
    /// Its name as the guest has it.
    pub name: String,
    /// Its name, with its UUID or a disk where another group has the same name.
    pub title: String,
    /// Its UUID.
    pub uuid: String,
    /// The places of its physical volumes that are there.
    pub places: Vec<String>,
    /// What a person should know of it, each a sentence without a full stop.
    pub notes: Vec<String>,
    /// Its volumes for people, by name. Those that cannot be opened say why.
    pub volumes: Vec<LogicalVolume>,
}

/// A logical volume.
pub struct LogicalVolume {
    /// Its name in the group.
    pub name: String,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its bytes, or why there are none.
    pub opened: VolumeResult<AnyLayer>,
    /// What a person should know of it, each a sentence without a full stop.
    pub notes: Vec<String>,
}

/// What came of some physical volumes.
#[derive(Default)]
pub struct Assembled {
    /// The groups, in the order in which their first physical volumes were found.
    pub groups: Vec<Group>,
    /// Physical volumes that are in no group, each with its place.
    pub left: Vec<(String, VolumeError)>,
}

/// One instance of a group: of copied disks there may be several.
struct Instance {
    text: Arc<GroupText>,
    members: Vec<Member>,
    /// Whether there are others of the same UUID.
    copied: bool,
}

/// Puts all physical volumes of one machine together.
pub fn assemble(members: Vec<Member>) -> Assembled {
    let mut assembled = Assembled::default();
    let mut instances = Vec::new();
    for (text, members) in by_group(members, &mut assembled.left) {
        instances.extend(instances_of(&text, members, &mut assembled.left));
    }
    let names: Vec<String> = instances.iter().map(|instance| instance.text.name.clone()).collect();
    for instance in instances {
        let same_name = names.iter().filter(|name| **name == instance.text.name).count() > 1;
        assembled.groups.push(open(&instance, same_name));
    }
    assembled
}

/// The members of each group, with its newest text, in the order in which they were found.
fn by_group(members: Vec<Member>, left: &mut Vec<(String, VolumeError)>) -> Vec<(Arc<GroupText>, Vec<Member>)> {
    let mut groups: Vec<(Arc<GroupText>, Vec<Member>)> = Vec::new();
    for text in members.iter().filter_map(|member| member.volume.group.as_ref()) {
        match groups.iter_mut().find(|(known, _)| known.uuid == text.uuid) {
            Some((known, _)) if known.seqno < text.seqno => *known = Arc::clone(text),
            Some(_) => {}
            None => groups.push((Arc::clone(text), Vec::new())),
        }
    }
    for member in members {
        let own = member.volume.group.as_ref().map(|text| text.uuid.as_str());
        let lists = |text: &GroupText| text.physical.values().any(|physical| physical.uuid == member.volume.uuid);
        let group = groups.iter_mut().find(|(text, _)| own.is_none_or(|own| own == text.uuid) && lists(text));
        match group {
            Some((_, members)) => members.push(member),
            None => left.push((member.place.clone(), unwanted(&member))),
        }
    }
    groups.retain(|(_, members)| !members.is_empty());
    groups
}

/// Why a physical volume is in no group.
fn unwanted(member: &Member) -> VolumeError {
    let object = format!("the LVM physical volume {}", member.volume.uuid);
    match (&member.volume.group, member.volume.notes.first()) {
        (Some(group), _) => VolumeError::Empty { object: format!("{object}, which was taken out of the group '{}',", group.name) },
        (None, Some(problem)) => VolumeError::damaged(object, problem),
        (None, None) => VolumeError::Empty { object },
    }
}

/// The texts of a machine's groups: each is kept once, and not too many of them.
#[derive(Default)]
pub struct Texts {
    known: Vec<Arc<GroupText>>,
    total_bytes: usize,
}

impl Texts {
    /// The most bytes of different texts in one machine; what is kept of them takes some times as much.
    const MOST_BYTES: usize = 24 << 20;

    /// Lets a physical volume have its text together with all others that have the same.
    ///
    /// # Errors
    /// Unsupported where there are too many different ones.
    pub fn share(&mut self, volume: &mut PhysicalVolume) -> VolumeResult<()> {
        let Some(own) = &mut volume.group else { return Ok(()) };
        if let Some(known) = self.known.iter().find(|known| known.seqno == own.seqno && *known == own) {
            *own = Arc::clone(known);
            return Ok(());
        }
        self.total_bytes = self.total_bytes.saturating_add(own.text_bytes);
        if self.total_bytes > Self::MOST_BYTES {
            return Err(VolumeError::unsupported("more LVM metadata than any machine has"));
        }
        self.known.push(Arc::clone(own));
        Ok(())
    }
}

/// Which of these physical volumes are of groups that have all of theirs among them.
pub fn complete(volumes: &[&PhysicalVolume]) -> Vec<bool> {
    let mut newest: Vec<&Arc<GroupText>> = Vec::new();
    for text in volumes.iter().filter_map(|volume| volume.group.as_ref()) {
        match newest.iter_mut().find(|known| known.uuid == text.uuid) {
            Some(known) if known.seqno < text.seqno => *known = text,
            Some(_) => {}
            None => newest.push(text),
        }
    }
    let is_there = |uuid: &str| volumes.iter().any(|volume| volume.uuid == uuid);
    newest.retain(|text| text.physical.values().all(|physical| is_there(&physical.uuid)));
    let is_of = |volume: &PhysicalVolume, text: &GroupText| match &volume.group {
        Some(own) => own.uuid == text.uuid,
        None => text.physical.values().any(|physical| physical.uuid == volume.uuid),
    };
    volumes.iter().map(|volume| newest.iter().any(|text| is_of(volume, text))).collect()
}

/// Divides the members of one group among its instances: each has at most one of each physical volume. Where several are of one UUID,
/// those with the newest metadata come together first.
fn instances_of(text: &Arc<GroupText>, members: Vec<Member>, left: &mut Vec<(String, VolumeError)>) -> Vec<Instance> {
    let mut copies: BTreeMap<String, Vec<(usize, Member)>> = BTreeMap::new();
    for (order, member) in members.into_iter().enumerate() {
        copies.entry(member.volume.uuid.clone()).or_default().push((order, member));
    }
    for same in copies.values_mut() {
        same.sort_by_key(|(_, member)| Reverse(member.volume.group.as_ref().map(|group| group.seqno)));
    }
    let whole = copies.values().map(Vec::len).min().unwrap_or(0);
    let mut instances: Vec<Vec<(usize, Member)>> = std::iter::repeat_with(Vec::new).take(whole).collect();
    for same in copies.into_values() {
        let mut same = same.into_iter();
        for (instance, member) in instances.iter_mut().zip(same.by_ref()) {
            instance.push(member);
        }
        for (_, member) in same {
            let object = format!("another copy of the LVM group '{}' on {}", text.name, member.place);
            let missing = "the same copy of its other physical volumes is".to_owned();
            left.push((member.place, VolumeError::Incomplete { object, missing }));
        }
    }
    let instance = |mut members: Vec<(usize, Member)>| {
        members.sort_by_key(|(order, _)| *order);
        let members: Vec<Member> = members.into_iter().map(|(_, member)| member).collect();
        let newest = members.iter().filter_map(|member| member.volume.group.as_ref()).max_by_key(|group| group.seqno);
        Instance { text: Arc::clone(newest.unwrap_or(text)), members, copied: whole > 1 }
    };
    instances.into_iter().map(instance).collect()
}

fn open(instance: &Instance, same_name: bool) -> Group {
    let text = &instance.text;
    let places: Vec<String> = instance.members.iter().map(|member| member.place.clone()).collect();
    let mut notes: Vec<String> = instance.members.iter().flat_map(said).collect();
    let mut physical = BTreeMap::new();
    for (name, wanted) in &text.physical {
        match instance.members.iter().find(|member| member.volume.uuid == wanted.uuid) {
            Some(member) => {
                physical.insert(name.as_str(), Arc::clone(&member.layer));
            }
            None => notes.push(format!("its physical volume '{name}' (UUID {}) is missing", wanted.uuid)),
        }
    }
    let title = match (instance.copied, same_name) {
        (true, _) => {
            notes.push("its disks have copies among the disks of the machine, which are a group of their own".to_owned());
            format!("{} (copy on {})", text.name, places.join(", "))
        }
        (false, true) => format!("{} (UUID {})", text.name, text.uuid),
        (false, false) => text.name.clone(),
    };
    let mut builder = Builder::new(text, physical);
    let volumes = text.shown().filter_map(|(name, logical)| {
        let view = builder.view(name)?;
        let (opened, notes) = match view {
            Ok(built) => (Ok(built.layer), built.notes),
            Err(error) => (Err(error), Vec::new()),
        };
        Some(LogicalVolume { name: name.to_owned(), uuid: logical.uuid.clone(), opened, notes })
    });
    let volumes = volumes.collect();
    Group { name: text.name.clone(), title, uuid: text.uuid.clone(), places, notes, volumes }
}

/// The notes of a physical volume, with its place.
fn said(member: &Member) -> Vec<String> {
    member.volume.notes.iter().map(|note| format!("{}: {note}", member.place)).collect()
}
