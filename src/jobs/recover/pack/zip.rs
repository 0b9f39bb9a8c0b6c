//! ZIP, for who has no tar: contents, names, modes, times and symbolic links. It has no owners, attributes, hard links, holes and nodes.
//!
//! The list of all names stands at the end of the archive and is kept in memory until then.

use std::io::{self, Write};

use zip::write::{ExtendedFileOptions, FileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::super::name_for_person;
use super::output::Compressed;
use super::{Archive, Failure, Item, Telling, write_range};
use crate::guestfs::{FileData, Timestamp};

/// Files from this size on need numbers of 64 bits; with room for what deflate may add.
const LARGE: u64 = 0xf000_0000;
/// The extra field of Info-ZIP for times in seconds of UTC; the old field is local time in steps of two seconds.
const TIMES_FIELD: u16 = 0x5455;

/// An archive under way.
pub(super) struct Zip<W: Write> {
    writer: ZipWriter<StreamWriter<Compressed<W>>>,
}

impl<W: Write> Zip<W> {
    pub(super) fn new(output: Compressed<W>) -> Self {
        Self { writer: ZipWriter::new_stream(output) }
    }

    /// The name and options of an item. Says what cannot be held.
    fn prepare(item: &Item<'_>, telling: &mut Telling<'_>) -> (String, FileOptions<'static, 'static, ExtendedFileOptions>) {
        if std::str::from_utf8(item.name).is_err() {
            telling.lose("names that are not UTF-8 (written with \\x)");
        }
        if !item.extended.is_empty() {
            telling.lose("extended attributes");
        }
        if item.known.mode & 0o7000 != 0 {
            telling.lose("setuid, setgid and sticky bits");
        }
        let mut options = FileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(u32::from(item.known.mode))
            .large_file(item.known.size_bytes >= LARGE)
            .last_modified_time(local(item.known.modified));
        if let Ok(seconds) = i32::try_from(item.known.modified.seconds) {
            let field = [&[1][..], &seconds.to_le_bytes()].concat();
            // A time is no reason to fail: the old field has it too.
            let _ = options.add_extra_field(TIMES_FIELD, field, false);
        }
        (name_for_person(item.name), options)
    }
}

/// A time as ZIP has it: from 1980 to 2107.
fn local(time: Timestamp) -> DateTime {
    let moment = jiff::Timestamp::from_second(time.seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(jiff::tz::TimeZone::system());
    let part = |number: i8| u8::try_from(number).unwrap_or(0);
    let year = u16::try_from(moment.year()).unwrap_or(0);
    DateTime::from_date_and_time(
        year,
        part(moment.month()),
        part(moment.day()),
        part(moment.hour()),
        part(moment.minute()),
        part(moment.second()),
    )
    .unwrap_or_default()
}

fn failed(error: zip::result::ZipError) -> Failure {
    Failure::Output(error.into())
}

impl<W: Write> Archive for Zip<W> {
    fn directory(&mut self, item: &Item<'_>, telling: &mut Telling<'_>) -> Result<(), Failure> {
        if item.name.is_empty() {
            return Ok(());
        }
        let (name, options) = Self::prepare(item, telling);
        self.writer.add_directory(name, options).map_err(failed)
    }

    fn link(&mut self, item: &Item<'_>, target: &[u8], telling: &mut Telling<'_>) -> Result<(), Failure> {
        let (name, options) = Self::prepare(item, telling);
        let target =
            String::from_utf8(target.to_vec()).map_err(|_| Failure::Source("zip has no links to names that are not UTF-8".to_owned()))?;
        self.writer.add_symlink(name, target, options).map_err(failed)
    }

    fn hard_link(&mut self, _: &Item<'_>, _: &[u8], _: &mut Telling<'_>) -> Result<bool, Failure> {
        Ok(false)
    }

    fn special(&mut self, _: &Item<'_>, _: &mut Telling<'_>) -> Result<bool, Failure> {
        Ok(false)
    }

    fn file(&mut self, item: &Item<'_>, data: &dyn FileData, telling: &mut Telling<'_>) -> Result<(), Failure> {
        let (name, options) = Self::prepare(item, telling);
        self.writer.start_file(name, options).map_err(failed)?;
        write_range(&mut self.writer, data, item, 0..data.size_bytes(), telling)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.writer.finish().map_err(io::Error::from)?.into_inner().finish()
    }
}
