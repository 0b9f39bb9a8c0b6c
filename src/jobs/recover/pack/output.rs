//! What an archive is written to: a stream that may be compressed, and a file that is seen only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;

use super::super::super::JobError;
use crate::io::DurableFile;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// The level of zstd: fast enough for a network, and what most tools take.
const ZSTD_LEVEL: i32 = 3;

/// How an archive is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all. (ZIP compresses each file by itself.)
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// The stream.
pub(super) enum Compressed<W: Write> {
    None(BufWriter<W>),
    Gzip(GzEncoder<BufWriter<W>>),
    Zstd(zstd::Encoder<'static, BufWriter<W>>),
}

impl<W: Write> Compressed<W> {
    pub(super) fn new(output: W, compression: Compression) -> io::Result<Self> {
        let output = BufWriter::with_capacity(BUFFER_BYTES, output);
        Ok(match compression {
            Compression::None => Self::None(output),
            Compression::Gzip => Self::Gzip(GzEncoder::new(output, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(output, ZSTD_LEVEL)?),
        })
    }

    /// Ends the stream.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::None(output) => output,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .flush()
    }
}

impl<W: Write> Write for Compressed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(output) => output.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// An archive in a file. Nobody sees it before it is whole; dropped without [`ArchiveFile::finish`] it leaves nothing.
#[derive(Debug)]
pub struct ArchiveFile {
    file: DurableFile,
    path: PathBuf,
    overwrite: bool,
}

impl ArchiveFile {
    /// Starts a file that will be called `path`.
    ///
    /// # Errors
    /// [`JobError::File`] where it is there and may not be replaced, or its directory cannot take it.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, JobError> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(failed(path, "cannot be made", taken()));
        }
        let place = if path.parent().is_some_and(|parent| parent.as_os_str().is_empty()) { Path::new(".").join(path) } else { path.into() };
        let file = DurableFile::create(&place).map_err(|error| failed(path, "cannot be made", error))?;
        Ok(Self { file, path: path.to_owned(), overwrite })
    }

    /// The file, to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.file()
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// [`JobError::File`].
    pub fn finish(self) -> Result<(), JobError> {
        let fail = |error| failed(&self.path, "cannot be written", error);
        if self.overwrite {
            return self.file.replace().map_err(fail);
        }
        match self.file.finish() {
            Ok(true) => Ok(()),
            Ok(false) => Err(fail(taken())),
            Err(error) => Err(fail(error)),
        }
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it exists already; --overwrite replaces it")
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> JobError {
    JobError::File { what: "the archive", path: path.to_owned(), doing, source }
}
