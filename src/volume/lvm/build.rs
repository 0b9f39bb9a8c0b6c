//! Makes layers of a group's logical volumes. Volumes lie on volumes, so each is made once, whether that succeeds or not, and a volume
//! that leads back to itself is refused.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::group::{Area, GroupText, Leg, Segment, SegmentKind, SnapshotText};
use super::raid;
use super::snapshot::Snapshot;
use super::thin::{Pool, Thin};
use crate::units::Extent;
use crate::volume::md::{self, Level, Shape};
use crate::volume::{AnyLayer, MadeOf, Pieces, VolumeError, VolumeResult};

/// The most volumes that lie on each other; a snapshot of a thin volume in a pool on raid1 legs is five.
const MOST_DEPTH: usize = 16;

/// A volume that was made, and what a person should know of it.
#[derive(Clone)]
pub(super) struct Built {
    /// Its bytes.
    pub(super) layer: AnyLayer,
    /// Each a sentence without a full stop.
    pub(super) notes: Vec<String>,
}

/// Makes the volumes of one group.
pub(super) struct Builder<'a> {
    group: &'a GroupText,
    /// The physical volumes that are there, by the names of the text.
    physical: BTreeMap<&'a str, AnyLayer>,
    built: HashMap<String, Result<Built, Arc<VolumeError>>>,
    pools: HashMap<String, Result<Arc<Pool>, Arc<VolumeError>>>,
    /// What is being made now, the outermost first.
    open: Vec<String>,
}

impl<'a> Builder<'a> {
    /// Nothing is read yet.
    pub(super) fn new(group: &'a GroupText, physical: BTreeMap<&'a str, AnyLayer>) -> Self {
        Self { group, physical, built: HashMap::new(), pools: HashMap::new(), open: Vec::new() }
    }

    /// What a person sees under the name of a volume; `None` where it holds nothing for people (a pool).
    pub(super) fn view(&mut self, name: &str) -> Option<VolumeResult<Built>> {
        let mut segments = self.group.logical.get(name)?.segments.iter();
        if segments.any(|segment| matches!(&segment.kind, SegmentKind::ThinPool { .. }) || is_inner(&segment.kind)) {
            return None;
        }
        let group = self.group;
        if let Some(snapshot) = group.snapshots.get(name) {
            return Some(self.snapshot(name, snapshot));
        }
        Some(self.volume(name))
    }

    fn snapshot(&mut self, name: &str, snapshot: &SnapshotText) -> VolumeResult<Built> {
        let (mut below, store) = (self.volume(&snapshot.origin)?, self.volume(&snapshot.store)?);
        let (layer, problem) = Snapshot::open(&self.title(name), &below.layer, &store.layer)?;
        below.notes.extend(store.notes);
        below.notes.extend(problem);
        if snapshot.merging {
            below.notes.push("a snapshot is being merged into it; it is shown as it will be".to_owned());
        }
        Ok(Built { layer, notes: below.notes })
    }

    fn title(&self, name: &str) -> String {
        format!("LVM {}/{name}", self.group.name)
    }

    /// The bytes of a volume by themselves, of a snapshot those of its store.
    fn volume(&mut self, name: &str) -> VolumeResult<Built> {
        if let Some(built) = self.built.get(name) {
            return built.clone().map_err(|error| again(&error));
        }
        if self.open.len() >= MOST_DEPTH || self.open.iter().any(|open| open == name) {
            return Err(VolumeError::damaged(self.title(name), "it lies on itself or on too many others"));
        }
        self.open.push(name.to_owned());
        let built = self.make(name).map_err(Arc::new);
        self.open.pop();
        self.built.insert(name.to_owned(), built.clone());
        built.map_err(|error| again(&error))
    }

    fn make(&mut self, name: &str) -> VolumeResult<Built> {
        let group = self.group;
        let Some(logical) = group.logical.get(name) else {
            return Err(VolumeError::damaged(self.title(name), "it is used by another volume, but the group does not have it"));
        };
        let mut made = Making { title: self.title(name), pieces: Pieces::new(), notes: Vec::new() };
        let mut total = 0_u64;
        for segment in &logical.segments {
            let length_bytes = segment.extents.checked_mul(group.extent_bytes);
            let end = length_bytes.and_then(|length| total.checked_add(length)).filter(|end| i64::try_from(*end).is_ok());
            let (Some(length_bytes), Some(end)) = (length_bytes, end) else {
                return Err(VolumeError::damaged(made.title, "it is larger than numbers go"));
            };
            total = end;
            self.segment(segment, length_bytes, &mut made)?;
        }
        Ok(Built { layer: made.pieces.layer(), notes: made.notes })
    }

    fn segment(&mut self, segment: &Segment, length_bytes: u64, made: &mut Making) -> VolumeResult<()> {
        match &segment.kind {
            SegmentKind::Striped { areas, stripe_bytes } => self.striped(areas, *stripe_bytes, length_bytes, made),
            SegmentKind::Mirror { areas } => self.mirror(areas, length_bytes, made),
            SegmentKind::Raid { level, legs, stripe_bytes, copies } => {
                self.raid(level, legs, Stripe { bytes: *stripe_bytes, copies: *copies }, length_bytes, made)
            }
            SegmentKind::Thin { pool, device, external } => self.thin(pool, *device, external.as_deref(), length_bytes, made),
            SegmentKind::Zero => {
                made.pieces.push_zeros(length_bytes);
                Ok(())
            }
            SegmentKind::ThinPool { .. } | SegmentKind::Snapshot { .. } => {
                Err(VolumeError::damaged(made.title.clone(), "it has data where only a pool or a snapshot is described"))
            }
            SegmentKind::Other(kind) => Err(VolumeError::unsupported(format!("{} of LVM type '{kind}'", made.title))),
        }
    }

    /// An area's layer, and the byte at which it begins there.
    fn area(&mut self, area: &Area, made: &mut Making) -> VolumeResult<(AnyLayer, u64)> {
        let too_far = || VolumeError::damaged(made.title.clone(), "it begins past the end of numbers");
        let within = area.extent.checked_mul(self.group.extent_bytes).ok_or_else(too_far)?;
        if let Some(text) = self.group.physical.get(&area.name) {
            let Some(layer) = self.physical.get(area.name.as_str()) else {
                let seen = text.device.as_ref().map_or_else(String::new, |device| format!(", last seen as {device}"));
                let missing = format!("the physical volume '{}' (UUID {}{seen}) is", area.name, text.uuid);
                return Err(VolumeError::Incomplete { object: made.title.clone(), missing });
            };
            return Ok((Arc::clone(layer), text.start_bytes.checked_add(within).ok_or_else(too_far)?));
        }
        let built = self.volume(&area.name)?;
        made.notes.extend(built.notes);
        Ok((built.layer, within))
    }

    fn striped(&mut self, areas: &[Area], stripe_bytes: u64, length_bytes: u64, made: &mut Making) -> VolumeResult<()> {
        if let [area] = areas {
            let (layer, offset_bytes) = self.area(area, made)?;
            made.push(&layer, offset_bytes, length_bytes);
            return Ok(());
        }
        let leg_bytes = length_bytes.checked_div(areas.len() as u64).unwrap_or(0);
        let mut legs = Vec::new();
        for area in areas {
            let (layer, offset_bytes) = self.area(area, made)?;
            let layer = Pieces::slice(&layer, Extent::between(offset_bytes, offset_bytes.saturating_add(leg_bytes)));
            made.say_if_short(&layer, leg_bytes);
            legs.push(Some(md::Leg { layer, trusted_bytes: u64::MAX }));
        }
        let shape = Shape { level: Level::Raid0, layout: 0, chunk_bytes: stripe_bytes, leg_bytes };
        made.push(&md::of_legs(&made.title, shape, legs)?, 0, length_bytes);
        Ok(())
    }

    /// The first leg that is there: all others were made as copies of an earlier one.
    fn mirror(&mut self, areas: &[Area], length_bytes: u64, made: &mut Making) -> VolumeResult<()> {
        let mut problem = None;
        for area in areas {
            match self.area(area, made) {
                Ok((layer, offset_bytes)) => {
                    made.push(&layer, offset_bytes, length_bytes);
                    if problem.is_some() {
                        made.notes.push("not all legs of its mirror are there".to_owned());
                    }
                    return Ok(());
                }
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.unwrap_or_else(|| VolumeError::damaged(made.title.clone(), "its mirror has no legs")))
    }

    /// The legs of an array: none where a leg is missing or stale; and the first problem.
    fn legs(&mut self, legs: &[Leg], made: &mut Making) -> (Vec<Option<md::Leg>>, Option<VolumeError>) {
        let mut problem = None;
        let states: Vec<_> = legs.iter().map(|leg| raid::state(self.volume(leg.metadata.as_ref()?).ok()?.layer.as_ref())).collect();
        let mut layers = Vec::new();
        let mut whole = 0_usize;
        for (leg, trusted_bytes) in legs.iter().zip(raid::current(&states)) {
            layers.push(match self.volume(&leg.data) {
                Ok(built) if trusted_bytes > 0 => {
                    made.notes.extend(built.notes);
                    whole = whole.saturating_add(usize::from(trusted_bytes >= built.layer.size_bytes()));
                    Some(md::Leg { layer: built.layer, trusted_bytes })
                }
                Ok(_) => None,
                Err(error) => {
                    problem = problem.or(Some(error));
                    None
                }
            });
        }
        if whole < legs.len() {
            made.notes.push(format!("it is degraded: {whole} of its {} devices are there and current", legs.len()));
            if raid::is_resyncing(&states) {
                made.notes.push("its copies and parity were not all made yet, so what comes from them may be wrong".to_owned());
            }
        }
        (layers, problem)
    }

    fn raid(&mut self, level: &str, legs: &[Leg], stripe: Stripe, length_bytes: u64, made: &mut Making) -> VolumeResult<()> {
        let Some(shape) = shape(level, legs.len() as u64, &stripe, length_bytes) else {
            return Err(VolumeError::unsupported(format!("{} of LVM type '{level}'", made.title)));
        };
        let (layers, problem) = self.legs(legs, made);
        match md::of_legs(&made.title, shape, layers) {
            Ok(layer) => made.push(&layer, 0, length_bytes),
            // Which disk is missing says more than which leg.
            Err(VolumeError::Incomplete { object, missing }) => {
                return Err(problem.unwrap_or(VolumeError::Incomplete { object, missing }));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn thin(&mut self, pool: &str, device: u64, external: Option<&str>, length_bytes: u64, made: &mut Making) -> VolumeResult<()> {
        let pool = self.pool(pool)?;
        made.notes.extend(pool.notes.iter().cloned());
        let below = external.map(|name| self.volume(name)).transpose()?;
        let thin = Thin::open(&made.title, &pool, device, length_bytes, below.map(|built| built.layer))?;
        made.push_layer(&(Arc::new(MadeOf(thin)) as AnyLayer));
        Ok(())
    }

    fn pool(&mut self, name: &str) -> VolumeResult<Arc<Pool>> {
        if let Some(pool) = self.pools.get(name) {
            return pool.clone().map_err(|error| again(&error));
        }
        let pool = self.make_pool(name).map(Arc::new).map_err(Arc::new);
        self.pools.insert(name.to_owned(), pool.clone());
        pool.map_err(|error| again(&error))
    }

    fn make_pool(&mut self, name: &str) -> VolumeResult<Pool> {
        let group = self.group;
        let segments = group.logical.get(name).map(|logical| logical.segments.as_slice());
        let Some([Segment { kind: SegmentKind::ThinPool { metadata, data }, .. }]) = segments else {
            return Err(VolumeError::damaged(self.title(name), "it is used as a thin pool and is none"));
        };
        let (metadata, data) = (self.volume(metadata)?, self.volume(data)?);
        let mut pool = Pool::open(&self.title(name), metadata.layer, data.layer)?;
        pool.notes.extend(metadata.notes.into_iter().chain(data.notes));
        Ok(pool)
    }
}

/// The width of a stripe in bytes, and how many copies of each there are.
struct Stripe {
    bytes: u64,
    copies: u64,
}

/// A volume that is being put together.
struct Making {
    title: String,
    pieces: Pieces,
    notes: Vec<String>,
}

impl Making {
    fn push(&mut self, layer: &AnyLayer, offset_bytes: u64, length_bytes: u64) {
        self.say_if_short(layer, offset_bytes.saturating_add(length_bytes));
        self.pieces.push(layer, offset_bytes, length_bytes);
    }

    fn say_if_short(&mut self, layer: &AnyLayer, needed_bytes: u64) {
        if needed_bytes > layer.size_bytes() {
            self.notes.push("a part of it lies past the end of the disk".to_owned());
        }
    }

    fn push_layer(&mut self, layer: &AnyLayer) {
        self.pieces.push(layer, 0, layer.size_bytes());
    }
}

/// An array's shape by the name of its kind; `None` where that is not known. Parity of raid4 is first here, not last as in md itself.
fn shape(kind: &str, legs: u64, stripe: &Stripe, length_bytes: u64) -> Option<Shape> {
    let (level, layout, data_legs) = match kind {
        "raid0" | "raid0_meta" => (Level::Raid0, 0, legs),
        "raid1" => (Level::Raid1, 0, 1),
        "raid10" | "raid10_near" => (Level::Raid10, 0x100 | u32::from(u8::try_from(stripe.copies).ok()?), legs),
        "raid4" => (Level::Raid5, 4, legs.checked_sub(1)?),
        "raid5_n" => (Level::Raid5, 5, legs.checked_sub(1)?),
        "raid5_la" => (Level::Raid5, 0, legs.checked_sub(1)?),
        "raid5_ra" => (Level::Raid5, 1, legs.checked_sub(1)?),
        "raid5" | "raid5_ls" => (Level::Raid5, 2, legs.checked_sub(1)?),
        "raid5_rs" => (Level::Raid5, 3, legs.checked_sub(1)?),
        "raid6" | "raid6_zr" => (Level::Raid6, 8, legs.checked_sub(2)?),
        "raid6_nr" => (Level::Raid6, 9, legs.checked_sub(2)?),
        "raid6_nc" => (Level::Raid6, 10, legs.checked_sub(2)?),
        "raid6_n_6" => (Level::Raid6, 5, legs.checked_sub(2)?),
        "raid6_la_6" => (Level::Raid6, 16, legs.checked_sub(2)?),
        "raid6_ra_6" => (Level::Raid6, 17, legs.checked_sub(2)?),
        "raid6_ls_6" => (Level::Raid6, 18, legs.checked_sub(2)?),
        "raid6_rs_6" => (Level::Raid6, 19, legs.checked_sub(2)?),
        _ => return None,
    };
    let copies = if level == Level::Raid10 { stripe.copies } else { 1 };
    let leg_bytes = length_bytes.checked_mul(copies)?.checked_div(data_legs)?;
    Some(Shape { level, layout, chunk_bytes: stripe.bytes, leg_bytes })
}

/// Kinds that only appear below volumes that people see.
fn is_inner(kind: &SegmentKind) -> bool {
    match kind {
        SegmentKind::Snapshot { .. } => true,
        SegmentKind::Other(kind) => matches!(kind.as_str(), "cache-pool" | "vdo-pool"),
        _ => false,
    }
}

/// An error once more, since one volume can keep many others from opening.
fn again(error: &VolumeError) -> VolumeError {
    match error {
        VolumeError::Disk(error) => VolumeError::Disk(io::Error::new(error.kind(), error.to_string())),
        VolumeError::Damaged { object, problem } => VolumeError::damaged(object, problem),
        VolumeError::Unsupported { feature } => VolumeError::unsupported(feature),
        VolumeError::Incomplete { object, missing } => VolumeError::Incomplete { object: object.clone(), missing: missing.clone() },
        VolumeError::Locked { object } => VolumeError::Locked { object: object.clone() },
        VolumeError::WrongKey { object } => VolumeError::WrongKey { object: object.clone() },
        VolumeError::Empty { object } => VolumeError::Empty { object: object.clone() },
    }
}
