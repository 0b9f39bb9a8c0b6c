//! The XML of `thin_delta`: how two snapshots of a device-mapper thin volume differ.
//!
//! `left` is the state of the base, `right` the state that is backed up. Lengths are in blocks of `data_block_size` sectors. With
//! `--verbose` the ranges stand in elements of their own inside the ones that say how they differ.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::collect::{Collector, Coverage, State};
use super::{HintBase, HintError, Hints};

const FORMAT: &str = "thin_delta";
/// Sectors of the largest block of a thin pool: 1 GiB.
const MAX_BLOCK_SECTORS: u64 = 1 << 21;

/// What has been read so far.
struct Delta {
    disk_bytes: u64,
    block_bytes: Option<u64>,
    collector: Option<Collector>,
    /// Of the element around the ranges, with `--verbose`.
    state: Option<State>,
    differences: u64,
}

/// Reads the output of `thin_delta` for a disk of `disk_bytes`.
pub(super) fn parse(text: &[u8], disk_bytes: u64) -> Result<Hints, HintError> {
    let mut reader = Reader::from_reader(text);
    let mut depth = 0_u64;
    let mut delta = Delta { disk_bytes, block_bytes: None, collector: None, state: None, differences: 0 };
    loop {
        let event = reader.read_event();
        // Lines are only counted for an error.
        let line = |reader: &Reader<&[u8]>| {
            let read = text.get(..usize::try_from(reader.buffer_position()).unwrap_or(text.len())).unwrap_or(text);
            u64::try_from(read.split(|&byte| byte == b'\n').count()).unwrap_or(u64::MAX)
        };
        let outcome = match event {
            Ok(Event::Start(element)) => {
                depth = depth.saturating_add(1);
                delta.element(&element, Form::Open)
            }
            Ok(Event::Empty(element)) => delta.element(&element, Form::Whole),
            Ok(Event::End(_)) => {
                depth = depth.saturating_sub(1);
                Ok(())
            }
            // Hints that were cut short would pass for hints of fewer changes.
            Ok(Event::Eof) if depth > 0 => Err(Fault::Malformed("it ends inside of an element".to_owned())),
            Ok(Event::Eof) => break,
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::Malformed(error.to_string())),
        };
        match outcome {
            Ok(()) => {}
            Err(Fault::Malformed(what)) => return Err(HintError::Malformed { format: FORMAT, line: line(&reader), what }),
            Err(Fault::Entry(entry, fault)) => return Err(HintError::Entry { format: FORMAT, entry, fault }),
        }
    }
    match (delta.collector, delta.differences) {
        (Some(collector), 1) => {
            let (changed, zeroed) = collector.into_sets();
            Ok(Hints { origin: FORMAT.to_owned(), base: HintBase::Unknown, changed, zeroed })
        }
        (_, count) => {
            Err(HintError::Unrecognised { found: format!("they are XML with {count} elements <diff> in a <superblock>, not one") })
        }
    }
}

/// Whether an element may have others inside.
#[derive(Clone, Copy)]
enum Form {
    Open,
    Whole,
}

enum Fault {
    Malformed(String),
    Entry(u64, super::EntryFault),
}

impl Delta {
    fn element(&mut self, element: &BytesStart<'_>, form: Form) -> Result<(), Fault> {
        match element.name().as_ref() {
            b"superblock" => self.superblock(element),
            b"diff" => {
                self.differences = self.differences.saturating_add(1);
                Ok(())
            }
            b"same" => self.difference(element, form, State::Same),
            b"different" | b"right_only" => self.difference(element, form, State::Changed),
            b"left_only" => self.difference(element, form, State::Zeroed),
            b"range" => match self.state {
                Some(state) => self.range(element, state),
                None => Err(Fault::Malformed("<range> stands in no element that says how it differs".to_owned())),
            },
            other => Err(Fault::Malformed(format!("<{}> is no element of thin_delta's", String::from_utf8_lossy(other).escape_debug()))),
        }
    }

    fn superblock(&mut self, element: &BytesStart<'_>) -> Result<(), Fault> {
        let sectors = required(element, "data_block_size")?;
        if self.block_bytes.is_some() {
            return Err(Fault::Malformed("a second <superblock>".to_owned()));
        }
        if sectors == 0 || sectors > MAX_BLOCK_SECTORS {
            let what = format!("data_block_size is {sectors} sectors; a thin pool has 1 to {MAX_BLOCK_SECTORS}");
            return Err(Fault::Malformed(what));
        }
        let block_bytes = sectors.saturating_mul(512);
        self.block_bytes = Some(block_bytes);
        self.collector = Some(Collector::new(self.disk_bytes, block_bytes, Coverage::Sparse));
        Ok(())
    }

    /// An element that says how its range differs, or the ranges inside it.
    fn difference(&mut self, element: &BytesStart<'_>, form: Form, state: State) -> Result<(), Fault> {
        self.state = Some(state);
        match (form, number(element, "begin")?) {
            (Form::Open, None) => Ok(()),
            _ => self.range(element, state),
        }
    }

    fn range(&mut self, element: &BytesStart<'_>, state: State) -> Result<(), Fault> {
        let (begin, length) = (required(element, "begin")?, required(element, "length")?);
        let (Some(collector), Some(block_bytes)) = (&mut self.collector, self.block_bytes) else {
            return Err(Fault::Malformed("a range before the <superblock> that tells the size of its blocks".to_owned()));
        };
        // What does not fit in 64 bits is past the end of any disk.
        let (offset, length) = (begin.saturating_mul(block_bytes), length.saturating_mul(block_bytes));
        collector.add(offset, length, state).map_err(|fault| Fault::Entry(collector.entry_number(), fault))
    }
}

/// An attribute's number, where the element has the attribute.
fn number(element: &BytesStart<'_>, name: &'static str) -> Result<Option<u64>, Fault> {
    let attribute = element.try_get_attribute(name).map_err(|error| Fault::Malformed(error.to_string()))?;
    let Some(attribute) = attribute else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&attribute.value);
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(Fault::Malformed(format!("{name} is '{}', not a number of 64 bits", text.escape_debug()))),
    }
}

fn required(element: &BytesStart<'_>, name: &'static str) -> Result<u64, Fault> {
    let element_name = element.name();
    let missing = || Fault::Malformed(format!("<{}> has no {name}", String::from_utf8_lossy(element_name.as_ref()).escape_debug()));
    number(element, name)?.ok_or_else(missing)
}
