//! What decides a file's contents: the vault's addresses of the blocks that it lies on. Two files with equal addresses are equal, and
//! nothing has to be read to know it.

use std::io;

use super::Tree;
use super::point::{PointTree, Spot};
use super::volumes::numbered;
use crate::guestfs::{GuestResult, Place};
use crate::units::Extent;
use crate::volume::Origin;

/// Runs of a file that are looked at; one with more of them is compared by its contents.
const MOST_RUNS: usize = 1 << 20;

impl PointTree {
    /// A hash that is equal for two versions of a file only if their contents are; `None` where only reading can tell.
    ///
    /// # Errors
    /// The tree's.
    pub fn content_key(&self, spot: &Spot) -> GuestResult<Option<[u8; 32]>> {
        let Some((volume, ..)) = self.guest(spot)? else { return Ok(None) };
        let volume = numbered(self.all_volumes(), volume)?;
        let file = self.open(spot)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&file.size_bytes().to_le_bytes());
        let mut at = 0;
        for _ in 0..MOST_RUNS {
            if at >= file.size_bytes() {
                return Ok(Some(*hasher.finalize().as_bytes()));
            }
            let run = file.run_at(at)?;
            hasher.update(&run.length_bytes.to_le_bytes());
            match run.place {
                Place::Hole => {
                    hasher.update(b"h");
                }
                Place::Device { device, offset_bytes } => {
                    let Some(layer) = volume.layers.get(device as usize) else { return Ok(None) };
                    let Some(range) = Extent::new(offset_bytes, run.length_bytes) else { return Ok(None) };
                    let mut origins = Vec::new();
                    layer.origins(range, &mut |origin| origins.push(origin))?;
                    for origin in origins {
                        self.add_origin(origin, &mut hasher)?;
                    }
                }
                Place::Computed => return Ok(None),
            }
            at = at.saturating_add(run.length_bytes.max(1));
        }
        Ok(None)
    }

    /// Adds the addresses of a range of a disk.
    fn add_origin(&self, origin: Origin, hasher: &mut blake3::Hasher) -> GuestResult<()> {
        let Some(disk) = self.disks().get(origin.disk as usize) else { return Ok(()) };
        Ok(disk.image.add_identity(origin.range, hasher).map_err(io::Error::from)?)
    }
}
