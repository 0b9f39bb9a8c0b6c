//! Tests of LVM over images that its own tools made.

mod damage;
mod groups;
mod old_snapshots;
mod thin;
mod volumes;
