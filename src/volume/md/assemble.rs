//! Members to array.

use std::fmt::Write;
use std::sync::Arc;

use super::array::ArrayLayer;
use super::choose::{Chosen, choose};
use super::geometry::{Geometry, Plan, Refusal};
use super::{Level, Member};
use crate::volume::{AnyLayer, VolumeError, VolumeResult};

/// Most zones and pieces depend on this: roles of an array.
const MOST_DEVICES: u16 = 1920;

/// An array whose bytes can be read.
pub struct Array {
    /// Its bytes.
    pub layer: AnyLayer,
    /// Its name.
    pub name: String,
    /// The level as mdadm names it, as "raid5".
    pub level: String,
    /// What a person should know: missing and stale members, what was not stopped cleanly. Each a sentence without its full stop.
    pub notes: Vec<String>,
}

/// Puts an array together from members of one array UUID, in any order. Stale members, spares and those that were put out are left out,
/// and so are those being rebuilt past where they are.
///
/// # Errors
/// Incomplete where the level cannot do without those that are missing; unsupported layouts and arrays in the middle of a reshape; damage
/// where the superblocks' numbers contradict each other.
pub fn assemble(members: Vec<(Member, AnyLayer)>) -> VolumeResult<Array> {
    let Chosen { reference, slots, whole, mut notes } = choose(members)?;
    let object = format!("the RAID array '{}'", reference.name);
    if reference.state.reshaping {
        return Err(VolumeError::Unsupported { feature: format!("{object}, which is in the middle of a reshape,") });
    }
    if reference.devices > MOST_DEVICES {
        return Err(VolumeError::Damaged { object, problem: format!("it has {} devices", reference.devices) });
    }
    let missing: Vec<usize> = whole.iter().enumerate().filter(|(_, there)| there.is_none()).map(|(role, _)| role).collect();
    let incomplete = || VolumeError::Incomplete { object: object.clone(), missing: named(&missing) };
    if matches!(reference.level, Level::Linear | Level::Raid0) && !missing.is_empty() {
        return Err(incomplete());
    }
    let member_bytes: Vec<u64> = whole.iter().map(|bytes| bytes.unwrap_or(0)).collect();
    let plan = Plan {
        level: reference.level,
        layout: reference.layout,
        chunk_bytes: reference.chunk_bytes,
        devices: usize::from(reference.devices),
        used_bytes: reference.used_bytes,
        member_bytes: &member_bytes,
        raid0_layout: reference.state.raid0_layout,
    };
    let geometry = Geometry::new(&plan).map_err(|refusal| refused(&object, refusal))?;
    let present: Vec<bool> = whole.iter().map(Option::is_some).collect();
    if !geometry.is_enough(&present) {
        return Err(incomplete());
    }
    if !missing.is_empty() {
        notes.push(format!("degraded: {} missing", named(&missing)));
    }
    notes.extend(state_notes(&reference, !missing.is_empty()));
    let level = reference.level.name().to_owned();
    Ok(Array { layer: Arc::new(ArrayLayer { geometry, slots }), name: reference.name, level, notes })
}

/// Why an array has no geometry.
pub(super) fn refused(object: &str, refusal: Refusal) -> VolumeError {
    match refusal {
        Refusal::Damaged(problem) => VolumeError::Damaged { object: object.to_owned(), problem },
        Refusal::Unsupported(feature) => VolumeError::Unsupported { feature },
    }
}

/// Roles with their verb: "the device of role 1 is", "the devices of roles 0 and 2 are".
pub(super) fn named(roles: &[usize]) -> String {
    let mut text = String::new();
    for (at, role) in roles.iter().enumerate() {
        let before = match at {
            0 => "",
            _ if at + 1 == roles.len() => " and ",
            _ => ", ",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}{role}");
    }
    if roles.len() == 1 { format!("the device of role {text} is") } else { format!("the devices of roles {text} are") }
}

fn state_notes(reference: &Member, degraded: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let has_parity = matches!(reference.level, Level::Raid4 | Level::Raid5 | Level::Raid6);
    let unsynced = reference.state.unsynced_from_bytes.is_some_and(|from| from < reference.used_bytes);
    match reference.level {
        Level::Raid1 | Level::Raid10 if unsynced => notes.push("it was not stopped cleanly: its copies may differ, one is read".to_owned()),
        _ if has_parity && unsynced && degraded => {
            notes.push("it was not stopped cleanly: what is computed for the missing device may be wrong".to_owned());
            if reference.state.parity_log {
                notes.push("its partial parity log is not applied".to_owned());
            }
        }
        _ if has_parity && unsynced => notes.push("it was not stopped cleanly: its parity may not match, and is not read".to_owned()),
        _ => {}
    }
    if reference.state.journal {
        notes.push("it has a journal device, which is not replayed: the last writes may be missing".to_owned());
    }
    notes
}
