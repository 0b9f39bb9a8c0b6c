//! The blocks' side of collection: where live slots lie, which packs are worth emptying, how slots move, and the objects by which
//! collectors and writers see each other. Which slots are live, and the order of all steps, is the job's
//! (`docs/decisions/0010-collection.md`).

mod choose;
mod leases;
mod lists;
mod moving;
mod places;
mod sweep;
mod tables;

pub use choose::{Candidate, Choice, Rule, choose};
pub use leases::{HeldLease, held_leases, take_lease_away};
pub use lists::{
    claim_collection, condemn, condemned_lists, moved_lists, newest_collection, pending_condemned, put_moved, read_moved, remove_object,
};
pub use moving::{Moved, Mover};
pub use places::{Place, Places};
pub use sweep::{drop_from_index, remove_superseded};
pub use tables::{packs_present, read_table};
