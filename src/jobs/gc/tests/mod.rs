//! Collections of small vaults, checked against plain copies of their disks after each.

mod crash;
mod damage;
mod kit;
mod life;
mod races;
mod repack;
