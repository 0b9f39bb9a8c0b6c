//! Opens an image and the images that it rests on, from the top to the bottom of the chain.
//!
//! A chain is at most [`MAX_DEPTH`] images deep, names no file twice, and leads only to local files.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fields::Flaw;
use super::host::HostFile;
use super::mapped::MappedImage;
use super::raw::RawSource;
use super::spec::{Trust, named, recognise};
use super::{Format, Source, SourceError, qcow2, vhd, vhdx, vmdk};

/// Most images of a chain; longer ones are a mistake or malice.
const MAX_DEPTH: usize = 64;

/// The images above the one that is being opened.
#[derive(Debug, Clone)]
pub(super) struct Lineage {
    /// Device and inode of each.
    files: Vec<(u64, u64)>,
    /// How the format of the image became known.
    trust: Trust,
}

/// Opens the image at `path` with all that it rests on.
pub(super) fn open_chain(path: &Path, format: Format) -> Result<Box<dyn Source>, SourceError> {
    open_under(path, format, &[])
}

/// Opens an image that those in `above` rest on.
fn open_under(path: &Path, format: Format, above: &[(u64, u64)]) -> Result<Box<dyn Source>, SourceError> {
    let host = HostFile::open(path)?;
    let (format, trust) = identify(&host, format)?;
    let identity = identity(&host)?;
    let damaged = |what: String| SourceError::Damaged { path: host.path().to_owned(), format: format.name(), what };
    if above.contains(&identity) {
        return Err(damaged("it rests on itself through its chain of backing files".to_owned()));
    }
    if above.len() >= MAX_DEPTH {
        return Err(damaged(format!("its chain of backing files is longer than {MAX_DEPTH}")));
    }
    let mut files = above.to_vec();
    files.push(identity);
    let lineage = Lineage { files, trust };
    match format {
        Format::Auto | Format::Raw => Ok(Box::new(RawSource::new(host)?)),
        Format::Qcow2 => Ok(Box::new(MappedImage::new(qcow2::open(host, &lineage)?))),
        Format::Vhd => Ok(Box::new(MappedImage::new(vhd::open(host, &lineage)?))),
        Format::Vhdx => Ok(Box::new(MappedImage::new(vhdx::open(host, &lineage)?))),
        Format::Vmdk => Ok(Box::new(MappedImage::new(vmdk::open(host, &lineage)?))),
    }
}

/// The format to open a file in. Block devices are raw unless somebody says otherwise: what a guest wrote to its own disk says
/// nothing about the device.
fn identify(host: &HostFile, format: Format) -> Result<(Format, Trust), SourceError> {
    if format != Format::Auto {
        return Ok((format, Trust::Named));
    }
    if host.is_block_device() {
        return Ok((Format::Raw, Trust::Named));
    }
    let mut start = vec![0_u8; usize::try_from(host.size_bytes().min(64)).unwrap_or(0)];
    host.read(0, &mut start)?;
    let recognised = match recognise(&start) {
        Format::Raw if vhd::ends_as_fixed(host)? => Format::Vhd,
        recognised => recognised,
    };
    let trust = if named(host.path()) == Some(recognised) { Trust::Named } else { Trust::Guessed };
    Ok((recognised, trust))
}

/// What tells one file from another, whatever their names.
fn identity(host: &HostFile) -> Result<(u64, u64), SourceError> {
    let metadata = host.file().metadata().map_err(|source| SourceError::opening(host.path(), source))?;
    Ok(if host.is_block_device() { (u64::MAX, metadata.rdev()) } else { (metadata.dev(), metadata.ino()) })
}

impl Lineage {
    /// Opens the image that `above`, of `format`, names as the one that it rests on, in `below_format`.
    pub(super) fn open_below(
        &self,
        above: &HostFile,
        format: Format,
        below: &Path,
        below_format: Format,
    ) -> Result<Box<dyn Source>, SourceError> {
        self.check_may_name(above, format, below)?;
        let opened = open_under(below, below_format, &self.files);
        opened.map_err(|source| SourceError::Chain { path: above.path().to_owned(), source: Box::new(source) })
    }

    /// Opens another file that belongs to the image `above`.
    pub(super) fn open_part(&self, above: &HostFile, format: Format, part: &Path) -> Result<HostFile, SourceError> {
        self.check_may_name(above, format, part)?;
        HostFile::open(part).map_err(|source| SourceError::Chain { path: above.path().to_owned(), source: Box::new(source) })
    }

    /// An image that was only recognised by its content opens no other files ([`Trust::Guessed`]).
    fn check_may_name(&self, above: &HostFile, format: Format, other: &Path) -> Result<(), SourceError> {
        if self.trust == Trust::Named {
            return Ok(());
        }
        Err(SourceError::Unsupported {
            path: above.path().to_owned(),
            format: format.name(),
            what: format!(
                "its content is that of an image that rests on {}, which a guest could have written there to be given that file",
                other.display()
            ),
            cure: format!("name it as {format}:PATH if it is one, or as raw:PATH if it is the raw disk of a guest"),
        })
    }
}

/// The path of a file that the image at `above` names: relative to the image's directory unless it is absolute.
pub(super) fn resolve(above: &Path, name: &[u8]) -> Result<PathBuf, Flaw> {
    let shown = || String::from_utf8_lossy(name).escape_debug().to_string();
    if name.is_empty() || name.contains(&0) {
        return Err(Flaw::Damaged(format!("the name of the file that it rests on is '{}'", shown())));
    }
    let path = name.strip_prefix(b"file:").unwrap_or(name);
    let scheme = path.split(|&byte| byte == b'/').next().is_some_and(|first| first.contains(&b':'));
    if scheme {
        return Err(Flaw::Unsupported {
            what: format!("it rests on '{}', which is not named as a local file", shown()),
            cure: "flatten it first: qemu-img convert -O qcow2".to_owned(),
        });
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    Ok(above.parent().unwrap_or(Path::new("/")).join(path))
}

/// The file that a path from Windows means for the image at `above`: the path itself where it is relative and leads to a file,
/// else a file of its last name beside the image. `None` where there is neither.
pub(super) fn beside(above: &Path, windows_path: &str) -> Option<PathBuf> {
    let directory = above.parent().unwrap_or(Path::new("/"));
    let path = windows_path.replace('\\', "/");
    let absolute = path.starts_with('/') || path.contains(':') || path.contains('\0');
    let name = path.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."))?;
    let given = (!absolute).then(|| directory.join(&path));
    let candidates = given.into_iter().chain([directory.join(name)]);
    candidates.into_iter().find(|candidate| candidate.is_file()).map(|found| found.components().collect())
}
