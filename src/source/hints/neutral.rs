//! Cairn's own hints, for every source of changed blocks that has no format of its own here (`docs/hints.md`).

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::collect::{Collector, Coverage, State};
use super::{EntryFault, HintBase, HintError, Hints, json_fault};

const FORMAT: &str = "Cairn's own format";
const VERSION: u64 = 1;

/// One range. A field of another name is an error, since it is most likely a misspelt one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    offset: u64,
    length: u64,
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Data,
    Zero,
    Hole,
}

/// What the fields outside the ranges said.
#[derive(Default)]
struct Header {
    version: Option<u64>,
    base: Option<String>,
    origin: Option<String>,
    size_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", field_identifier)]
enum Field {
    CairnHints,
    Base,
    Origin,
    SizeBytes,
    Changed,
}

/// Reads the object; the fault of a range stays in `fault`.
struct Reader<'s> {
    disk_bytes: u64,
    fault: &'s mut Option<(u64, EntryFault)>,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = (Header, Collector);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with cairn_hints, size_bytes and changed")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut header = Header::default();
        let mut collector = None;
        while let Some(field) = fields.next_key()? {
            match field {
                Field::CairnHints => set(&mut header.version, fields.next_value()?, "cairn_hints")?,
                Field::Base => set(&mut header.base, fields.next_value()?, "base")?,
                Field::Origin => set(&mut header.origin, fields.next_value()?, "origin")?,
                Field::SizeBytes => set(&mut header.size_bytes, fields.next_value()?, "size_bytes")?,
                Field::Changed => {
                    let ranges = Ranges { disk_bytes: self.disk_bytes, fault: &mut *self.fault };
                    set(&mut collector, fields.next_value_seed(ranges)?, "changed")?;
                }
            }
        }
        match (header.version, header.size_bytes, collector) {
            (None, ..) => Err(A::Error::missing_field("cairn_hints")),
            (Some(VERSION), Some(_), Some(collector)) => Ok((header, collector)),
            (Some(VERSION), None, _) => Err(A::Error::missing_field("size_bytes")),
            (Some(VERSION), _, None) => Err(A::Error::missing_field("changed")),
            (Some(version), ..) => Err(A::Error::custom(format!("cairn_hints is {version}; this version of Cairn reads {VERSION}"))),
        }
    }
}

/// Keeps a field's value; a field that stands twice is an error.
fn set<T, E: Error>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// Reads the array of ranges.
struct Ranges<'s> {
    disk_bytes: u64,
    fault: &'s mut Option<(u64, EntryFault)>,
}

impl<'de> DeserializeSeed<'de> for Ranges<'_> {
    type Value = Collector;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Ranges<'_> {
    type Value = Collector;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of ranges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Collector, A::Error> {
        let mut collector = Collector::new(self.disk_bytes, 1, Coverage::Sparse);
        while let Some(Entry { offset, length, kind }) = entries.next_element()? {
            let state = match kind {
                Kind::Data => State::Changed,
                Kind::Zero | Kind::Hole => State::Zeroed,
            };
            if let Err(fault) = collector.add(offset, length, state) {
                *self.fault = Some((collector.entry_number(), fault));
                return Err(A::Error::custom("a wrong entry"));
            }
        }
        Ok(collector)
    }
}

/// Reads Cairn's own hints for a disk of `disk_bytes`.
pub(super) fn parse(text: &[u8], disk_bytes: u64) -> Result<Hints, HintError> {
    let mut fault = None;
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = json.deserialize_map(Reader { disk_bytes, fault: &mut fault });
    let read = read.and_then(|read| json.end().map(|()| read));
    let (header, collector) = read.map_err(|error| json_fault(FORMAT, fault, &error))?;
    if let Some(described_bytes) = header.size_bytes.filter(|&size| size != disk_bytes) {
        return Err(HintError::WrongSize { format: FORMAT, described_bytes, disk_bytes });
    }
    let (changed, zeroed) = collector.into_sets();
    let origin = header.origin.unwrap_or_else(|| "Cairn hints".to_owned());
    Ok(Hints { origin, base: header.base.map_or(HintBase::Unknown, HintBase::Point), changed, zeroed })
}
