//! Arrays without superblocks of their own: somebody else (LVM) knows their shape, and which legs are good.

use std::sync::Arc;

use super::Level;
use super::array::{ArrayLayer, Slot};
use super::assemble::{named, refused};
use super::geometry::{Geometry, Plan};
use crate::units::ExtentSet;
use crate::volume::{AnyLayer, VolumeError, VolumeResult};

/// How an array spreads data over its legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The level.
    pub level: Level,
    /// The level's own number for the order of chunks, as md has it.
    pub layout: u32,
    /// Bytes of a chunk; 0 where the level has none.
    pub chunk_bytes: u64,
    /// Bytes of each leg that the array uses.
    pub leg_bytes: u64,
}

/// A leg.
pub struct Leg {
    /// Its bytes.
    pub layer: AnyLayer,
    /// How many of them, from the beginning, are up to date.
    pub trusted_bytes: u64,
}

/// Puts an array together from its legs in their order; none where one is missing. `object` names it in errors.
///
/// # Errors
/// Incomplete where the level cannot do without those that are missing; numbers that contradict each other; unknown layouts.
pub fn of_legs(object: &str, shape: Shape, legs: Vec<Option<Leg>>) -> VolumeResult<AnyLayer> {
    let member_bytes = vec![shape.leg_bytes; legs.len()];
    let plan = Plan {
        level: shape.level,
        layout: shape.layout,
        chunk_bytes: shape.chunk_bytes,
        devices: legs.len(),
        used_bytes: shape.leg_bytes,
        member_bytes: &member_bytes,
        raid0_layout: false,
    };
    let geometry = Geometry::new(&plan).map_err(|refusal| refused(object, refusal))?;
    let present: Vec<bool> = legs.iter().map(Option::is_some).collect();
    if !geometry.is_enough(&present) {
        let missing: Vec<usize> = (0..).zip(&present).filter(|(_, there)| !**there).map(|(role, _)| role).collect();
        return Err(VolumeError::Incomplete { object: object.to_owned(), missing: named(&missing) });
    }
    let slot = |leg: Leg| {
        let trusted_bytes = leg.trusted_bytes.min(leg.layer.size_bytes());
        Slot { layer: leg.layer, data_offset_bytes: 0, trusted_bytes, bad: ExtentSet::new() }
    };
    let slots = legs.into_iter().map(|leg| leg.map(slot)).collect();
    Ok(Arc::new(ArrayLayer { geometry, slots }))
}
