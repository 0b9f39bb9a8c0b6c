//! What all parts of the reader share: the device, the superblock, and the files of the filesystem's own.

use std::sync::{Arc, OnceLock};

use super::inode::{IN_METABOX, Inode};
use super::superblock::Superblock;
use super::{chunks, compressed, index};
use crate::guestfs::mapped::{FileExtent, MappedFile};
use crate::guestfs::pages::Pages;
use crate::guestfs::recent::Recent;
use crate::guestfs::{Device, FileData, GuestError, GuestResult, Node, OpenOptions};
use crate::io::ReadAt;

/// A place of metadata, in bytes: of the volume, or of the file with compressed metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) metabox: bool,
    pub(super) at: u64,
}

impl Place {
    fn named(self) -> String {
        format!("the {}metadata at byte {}", if self.metabox { "compressed " } else { "" }, self.at)
    }

    /// The place so many bytes behind.
    pub(super) fn behind(self, bytes: u64) -> Self {
        Self { at: self.at.saturating_add(bytes), ..self }
    }
}

/// What files need that are open.
pub(super) struct Image {
    pub(super) device: Device,
    pub(super) superblock: Superblock,
    /// Decompressed extents by file and place in it.
    pub(super) extents: Recent<(u64, u64), Vec<u8>>,
}

/// All of it.
pub(super) struct Core {
    pub(super) image: Arc<Image>,
    /// The device through a cache: inodes, directories, indexes.
    pages: Device,
    metabox: Option<Arc<dyn FileData>>,
    packed: OnceLock<Arc<dyn FileData>>,
}

/// The cache as a device.
struct Paged(Pages);

impl ReadAt for Paged {
    fn size_bytes(&self) -> u64 {
        self.0.device().size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset_bytes, buffer)
    }
}

/// What the contents are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A file's contents, which are read in large pieces.
    File,
    /// A directory or a link, which are read in small pieces.
    Metadata,
    /// A file that others are read through, which cannot itself be read through others.
    Own,
}

impl Core {
    /// Opens what is common.
    ///
    /// # Errors
    /// Damage, features that are not known, the device's.
    pub(super) fn open(device: &Device, options: &OpenOptions) -> GuestResult<Self> {
        let superblock = Superblock::read(device.as_ref())?;
        let half = options.cache_bytes / 2;
        let pages: Device = Arc::new(Paged(Pages::new(Arc::clone(device), half)));
        let image = Arc::new(Image { device: Arc::clone(device), superblock, extents: Recent::new(half, 1) });
        let mut core = Self { image, pages, metabox: None, packed: OnceLock::new() };
        if let Some(node) = core.image.superblock.metabox {
            core.metabox = Some(core.own_file("the compressed metadata", node)?);
        }
        Ok(core)
    }

    fn own_file(&self, object: &str, node: u64) -> GuestResult<Arc<dyn FileData>> {
        if node & IN_METABOX != 0 && self.metabox.is_none() {
            return Err(GuestError::damaged(object, "it lies within itself"));
        }
        self.data(&Inode::read(self, Node(node))?, Use::Own)
    }

    /// The file that holds the ends of others.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn packed(&self) -> GuestResult<Arc<dyn FileData>> {
        if let Some(packed) = self.packed.get() {
            return Ok(Arc::clone(packed));
        }
        let packed = self.own_file("the file of fragments", self.image.superblock.packed)?;
        Ok(Arc::clone(self.packed.get_or_init(|| packed)))
    }

    /// Fills `buffer` from a place of metadata.
    ///
    /// # Errors
    /// The device's; damage.
    pub(super) fn read(&self, place: Place, buffer: &mut [u8]) -> GuestResult<()> {
        match (&self.metabox, place.metabox) {
            (_, false) => self.pages.read_at(place.at, buffer).map_err(|error| GuestError::of_read(error, || place.named()))?,
            (Some(metabox), true) => metabox.read_at(place.at, buffer).map_err(|error| GuestError::of_read(error, || place.named()))?,
            (None, true) => {
                return Err(GuestError::damaged("a reference to metadata", "it is to compressed metadata, of which there is none"));
            }
        }
        Ok(())
    }

    /// The contents of an inode.
    ///
    /// # Errors
    /// Damage, layouts that are not known.
    pub(super) fn data(&self, inode: &Inode, used: Use) -> GuestResult<Arc<dyn FileData>> {
        let device = if used == Use::Metadata { &self.pages } else { &self.image.device };
        Ok(match inode.layout {
            super::Layout::Plain | super::Layout::Inline => self.flat(inode, device)?,
            super::Layout::Chunks => {
                let extents = chunks::extents(self, inode)?;
                Arc::new(MappedFile::new(&format!("inode {}", inode.node.0), Arc::clone(device), inode.size_bytes, extents)?)
            }
            super::Layout::CompressedFull | super::Layout::CompressedCompact => {
                let index = index::read(self, inode)?;
                let fragment = match index.fragment {
                    Some(_) if used == Use::Own => return Err(inode.problem("it is a file of fragments and has its end in one".to_owned())),
                    Some(at) => Some((self.packed()?, at)),
                    None => None,
                };
                Arc::new(compressed::Compressed::new(&self.image, inode, index, fragment))
            }
        })
    }

    fn flat(&self, inode: &Inode, device: &Device) -> GuestResult<Arc<dyn FileData>> {
        let superblock = &self.image.superblock;
        let size = inode.size_bytes;
        let inline =
            if inode.layout == super::Layout::Inline { (size % superblock.block_bytes(), inode.body(1)) } else { (0, inode.body(1)) };
        let (tail_bytes, tail) = inline;
        let start = size.saturating_sub(tail_bytes);
        let mut extents = Vec::new();
        if let Some(block) = inode.first_block().filter(|_| start > 0) {
            extents.push(FileExtent { start_bytes: 0, length_bytes: start, device_bytes: superblock.block_at(block) });
        }
        let object = format!("inode {}", inode.node.0);
        if tail_bytes > 0 && tail.metabox {
            let mut bytes = vec![0; usize::try_from(tail_bytes).unwrap_or(0)];
            self.read(tail, &mut bytes)?;
            let blocks = MappedFile::new(&object, Arc::clone(device), start, extents)?;
            return Ok(Arc::new(chunks::Tailed { blocks, tail: bytes }));
        }
        if tail_bytes > 0 {
            let within = tail.at % superblock.block_bytes();
            if within.saturating_add(tail_bytes) > superblock.block_bytes() {
                return Err(inode.problem(format!("its end of {tail_bytes} bytes lies over the end of a block")));
            }
            extents.push(FileExtent { start_bytes: start, length_bytes: tail_bytes, device_bytes: tail.at });
        }
        Ok(Arc::new(MappedFile::new(&object, Arc::clone(device), size, extents)?))
    }
}
