//! A volume group as its text tells it, taken out of names and values into types.

use std::collections::BTreeMap;

use super::config::{Section, Value};
use crate::volume::bytes::printable;

const SECTOR: u64 = 512;
/// The largest extent that is believed: 1 TiB.
const MOST_EXTENT_SECTORS: u64 = 1 << 31;

/// A volume group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupText {
    /// Its name.
    pub(super) name: String,
    /// Its UUID.
    pub(super) uuid: String,
    /// Bytes of the text, which decide how much memory all of this takes.
    pub(super) text_bytes: usize,
    /// How often it was changed: the higher of two texts is the newer.
    pub(super) seqno: u64,
    /// Bytes of an extent.
    pub(super) extent_bytes: u64,
    /// Its physical volumes by the names that the text gives them.
    pub(super) physical: BTreeMap<String, PhysicalText>,
    /// Its logical volumes by name, hidden ones too.
    pub(super) logical: BTreeMap<String, LogicalText>,
    /// Its snapshots by the name that people see: of the store, or of the origin while that is merged with it.
    pub(super) snapshots: BTreeMap<String, SnapshotText>,
}

/// A physical volume of a group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PhysicalText {
    /// Its UUID.
    pub(super) uuid: String,
    /// Where it was last seen; a hint for people.
    pub(super) device: Option<String>,
    /// Where its first extent begins, in bytes.
    pub(super) start_bytes: u64,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogicalText {
    /// Its UUID.
    pub(super) uuid: Option<String>,
    /// Whether a person sees it.
    pub(super) visible: bool,
    /// Its segments in their order, without gaps.
    pub(super) segments: Vec<Segment>,
}

/// A range of a logical volume of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    /// How many extents.
    pub(super) extents: u64,
    /// What it is.
    pub(super) kind: SegmentKind,
}

/// What a segment is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SegmentKind {
    /// On one area, or striped over several.
    Striped { areas: Vec<Area>, stripe_bytes: u64 },
    /// The same on each area; the old mirror, whose first leg is the one that the others are copied from.
    Mirror { areas: Vec<Area> },
    /// An array of hidden volumes.
    Raid { level: String, legs: Vec<Leg>, stripe_bytes: u64, copies: u64 },
    /// What thin volumes are made of.
    ThinPool { metadata: String, data: String },
    /// A volume of a pool.
    Thin { pool: String, device: u64, external: Option<String> },
    /// The old snapshot: the hidden volume that names its parts. Merging: the origin itself is on its way back to the snapshot.
    Snapshot { origin: String, store: String, merging: bool },
    /// Zeros.
    Zero,
    /// A kind that is not read, by its name.
    Other(String),
}

/// Where extents lie: in a physical or a logical volume, from an extent on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Area {
    /// Of which volume.
    pub(super) name: String,
    /// From which extent on.
    pub(super) extent: u64,
}

/// A leg of an array: hidden volumes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leg {
    /// What holds its state, where the level has such.
    pub(super) metadata: Option<String>,
    /// What holds its data.
    pub(super) data: String,
}

impl GroupText {
    /// The group in a whole text.
    ///
    /// # Errors
    /// In words: what is missing or makes no sense.
    pub(super) fn new(whole: &Section, text_bytes: usize) -> Result<Self, String> {
        let group = whole.sections().find(|(_, section)| section.section("physical_volumes").is_some());
        let (name, section) = group.ok_or("its text has no volume group")?;
        let extent_sectors = section.number("extent_size").filter(|size| (1..=MOST_EXTENT_SECTORS).contains(size));
        let mut group = Self {
            name: printable(name),
            uuid: section.text("id").ok_or("its group has no id")?.to_owned(),
            text_bytes,
            seqno: section.number("seqno").ok_or("its group has no seqno")?,
            extent_bytes: extent_sectors.ok_or("its group has no extent size that makes sense")?.saturating_mul(SECTOR),
            physical: BTreeMap::new(),
            logical: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        };
        for (name, physical) in section.section("physical_volumes").into_iter().flat_map(Section::sections) {
            group.physical.insert(name.to_owned(), PhysicalText::new(name, physical)?);
        }
        for (name, logical) in section.section("logical_volumes").into_iter().flat_map(Section::sections) {
            group.logical.insert(printable(name), LogicalText::new(name, logical)?);
        }
        group.snapshots = group.find_snapshots();
        Ok(group)
    }
}

/// A snapshot of the old kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotText {
    /// The volume that it is of.
    pub(super) origin: String,
    /// The volume that keeps the chunks, under whose name people know the snapshot.
    pub(super) store: String,
    /// Whether the origin is on its way back to it.
    pub(super) merging: bool,
}

impl GroupText {
    /// By the names that stand for a snapshot: of its store, and while it is merged, of its origin.
    fn find_snapshots(&self) -> BTreeMap<String, SnapshotText> {
        let mut snapshots = BTreeMap::new();
        for segment in self.logical.values().flat_map(|logical| &logical.segments) {
            let SegmentKind::Snapshot { origin, store, merging } = &segment.kind else { continue };
            let snapshot = SnapshotText { origin: origin.clone(), store: store.clone(), merging: *merging };
            if *merging {
                snapshots.insert(origin.clone(), snapshot.clone());
            }
            snapshots.insert(store.clone(), snapshot);
        }
        snapshots
    }

    /// The volumes that people see. A snapshot is seen where its origin is, whatever its store says.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&str, &LogicalText)> {
        let is_shown = |name: &str, logical: &LogicalText| match self.snapshots.get(name) {
            Some(snapshot) if snapshot.store == name => {
                !snapshot.merging && self.logical.get(&snapshot.origin).is_some_and(|origin| origin.visible)
            }
            _ => logical.visible,
        };
        self.logical.iter().filter(move |(name, logical)| is_shown(name, logical)).map(|(name, logical)| (name.as_str(), logical))
    }
}

impl PhysicalText {
    fn new(name: &str, section: &Section) -> Result<Self, String> {
        let start = section.number("pe_start").and_then(|start| start.checked_mul(SECTOR));
        Ok(Self {
            uuid: section.text("id").ok_or_else(|| format!("its physical volume '{name}' has no id"))?.to_owned(),
            device: section.text("device").map(str::to_owned),
            start_bytes: start.ok_or_else(|| format!("its physical volume '{name}' has no start"))?,
        })
    }
}

impl LogicalText {
    fn new(name: &str, section: &Section) -> Result<Self, String> {
        let wrong = |problem: &str| format!("its logical volume '{name}' {problem}");
        let mut parts = Vec::new();
        for (_, part) in section.sections().filter(|(name, _)| name.starts_with("segment")) {
            let start = part.number("start_extent").ok_or_else(|| wrong("has a segment without a start"))?;
            let extents = part.number("extent_count").ok_or_else(|| wrong("has a segment without a length"))?;
            let kind = SegmentKind::new(part).ok_or_else(|| wrong("has a segment that lacks one of its fields"))?;
            parts.push((start, Segment { extents, kind }));
        }
        parts.sort_by_key(|(start, _)| *start);
        let mut next = 0_u64;
        for (start, segment) in &parts {
            if *start != next {
                return Err(wrong("has segments with gaps between them or that overlap"));
            }
            next = next.checked_add(segment.extents).ok_or_else(|| wrong("is larger than numbers go"))?;
        }
        let flags = section.list("status").unwrap_or_default();
        Ok(Self {
            uuid: section.text("id").map(str::to_owned),
            visible: flags.iter().any(|flag| *flag == Value::Text("VISIBLE".to_owned())),
            segments: parts.into_iter().map(|(_, segment)| segment).collect(),
        })
    }
}

impl SegmentKind {
    /// `None` where a field is missing.
    fn new(part: &Section) -> Option<Self> {
        let text = |name: &str| part.text(name).map(printable);
        let bytes = |name: &str| part.number(name).unwrap_or(0).saturating_mul(SECTOR);
        // Flags may stand behind the name of the kind.
        let kind = part.text("type")?.split('+').next()?;
        Some(match kind {
            "striped" | "linear" => Self::Striped { areas: areas(part.list("stripes")?)?, stripe_bytes: bytes("stripe_size") },
            "mirror" => Self::Mirror { areas: areas(part.list("mirrors")?)? },
            // Legs that were or are being reshaped begin elsewhere.
            _ if kind.starts_with("raid") && ["data_offset", "reshape_count"].iter().any(|name| part.number(name).unwrap_or(0) > 0) => {
                Self::Other(format!("{} with room for reshaping", printable(kind)))
            }
            _ if kind.starts_with("raid") => Self::Raid {
                level: kind.to_owned(),
                legs: legs(part)?,
                stripe_bytes: bytes("stripe_size"),
                copies: part.number("data_copies").unwrap_or(2),
            },
            "thin-pool" => Self::ThinPool { metadata: text("metadata")?, data: text("pool")? },
            "thin" => Self::Thin { pool: text("thin_pool")?, device: part.number("device_id")?, external: text("external_origin") },
            "snapshot" => {
                let merging = text("merging_store");
                let store = merging.clone().or_else(|| text("cow_store"))?;
                Self::Snapshot { origin: text("origin")?, store, merging: merging.is_some() }
            }
            "zero" => Self::Zero,
            other => Self::Other(printable(other)),
        })
    }
}

/// Pairs of a name and an extent.
fn areas(list: &[Value]) -> Option<Vec<Area>> {
    let pairs = list.chunks(2).map(|pair| match pair {
        [Value::Text(name), Value::Number(extent)] => Some(Area { name: name.clone(), extent: u64::try_from(*extent).ok()? }),
        _ => None,
    });
    pairs.collect::<Option<Vec<_>>>().filter(|areas| !areas.is_empty())
}

fn legs(part: &Section) -> Option<Vec<Leg>> {
    let names = |list: &[Value]| -> Option<Vec<String>> {
        let texts = list.iter().map(|value| if let Value::Text(text) = value { Some(printable(text)) } else { None });
        texts.collect()
    };
    if let Some(list) = part.list("raid0_lvs") {
        return Some(names(list)?.into_iter().map(|data| Leg { metadata: None, data }).collect());
    }
    let names = names(part.list("raids")?)?;
    let pairs = names.chunks(2).map(|pair| match pair {
        [metadata, data] => Some(Leg { metadata: Some(metadata.clone()), data: data.clone() }),
        _ => None,
    });
    pairs.collect::<Option<Vec<_>>>().filter(|legs| !legs.is_empty())
}
