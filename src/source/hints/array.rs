//! Hints that are one JSON array of ranges: `qemu-img map --output=json`, `nbdinfo --map --json`, `rbd diff --format json`.
//!
//! The first entry's fields tell which it is. The array is never held whole: each entry goes straight into the sets.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::collect::{Collector, Coverage, State};
use super::{EntryFault, HintBase, HintError, Hints, json_fault};

/// Who wrote the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Producer {
    QemuImg,
    NbdInfo,
    Rbd,
}

impl Producer {
    fn name(self) -> &'static str {
        match self {
            Self::QemuImg => "qemu-img map",
            Self::NbdInfo => "nbdinfo --map",
            Self::Rbd => "rbd diff",
        }
    }

    /// Who writes entries with these fields. The producers add fields now and then, so that others are passed over.
    fn of(entry: &Entry<'_>) -> Option<Self> {
        if entry.depth.is_some() && entry.start.is_some() {
            Some(Self::QemuImg)
        } else if entry.exists.is_some() {
            Some(Self::Rbd)
        } else if entry.r#type.is_some() || entry.description.is_some() {
            Some(Self::NbdInfo)
        } else {
            None
        }
    }

    fn coverage(self) -> Coverage {
        match self {
            Self::QemuImg | Self::NbdInfo => Coverage::Whole,
            Self::Rbd => Coverage::Sparse,
        }
    }
}

/// All fields of all producers' entries.
#[derive(Deserialize)]
struct Entry<'a> {
    start: Option<u64>,
    offset: Option<u64>,
    length: Option<u64>,
    depth: Option<u64>,
    zero: Option<bool>,
    r#type: Option<u64>,
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
    #[serde(borrow)]
    exists: Option<Exists<'a>>,
}

/// `rbd` writes the truth as a word or as a truth value, by version.
#[derive(Deserialize)]
#[serde(untagged)]
enum Exists<'a> {
    Value(bool),
    #[serde(borrow)]
    Word(Cow<'a, str>),
}

impl Entry<'_> {
    /// Offset, length and state of the entry.
    fn meaning(&self, producer: Producer) -> Result<(u64, u64, State), EntryFault> {
        let (offset, state) = match producer {
            Producer::QemuImg => (self.start.ok_or(EntryFault::Missing("start"))?, self.qemu_state()?),
            Producer::NbdInfo => (self.offset.ok_or(EntryFault::Missing("offset"))?, self.nbd_state()?),
            Producer::Rbd => (self.offset.ok_or(EntryFault::Missing("offset"))?, self.rbd_state()?),
        };
        Ok((offset, self.length.ok_or(EntryFault::Missing("length"))?, state))
    }

    /// Depth 0 is what the overlay itself holds, so what changed since it was put over its backing file.
    fn qemu_state(&self) -> Result<State, EntryFault> {
        let depth = self.depth.ok_or(EntryFault::Missing("depth"))?;
        let zero = self.zero.ok_or(EntryFault::Missing("zero"))?;
        Ok(match (depth, zero) {
            (0, true) => State::Zeroed,
            (0, false) => State::Changed,
            _ => State::Same,
        })
    }

    /// Only the words of a dirty bitmap say what changed; those of an allocation map say what is there.
    fn nbd_state(&self) -> Result<State, EntryFault> {
        match self.description.as_deref().ok_or(EntryFault::Missing("description"))? {
            "dirty" => Ok(State::Changed),
            "clean" => Ok(State::Same),
            other => Err(EntryFault::Value {
                field: "description",
                found: other.to_owned(),
                expected: "expected 'dirty' or 'clean': ask for a dirty bitmap, nbdinfo --map=qemu:dirty-bitmap:NAME --json",
            }),
        }
    }

    fn rbd_state(&self) -> Result<State, EntryFault> {
        match self.exists.as_ref().ok_or(EntryFault::Missing("exists"))? {
            Exists::Value(true) => Ok(State::Changed),
            Exists::Value(false) => Ok(State::Zeroed),
            Exists::Word(word) => match word.as_ref() {
                "true" => Ok(State::Changed),
                "false" => Ok(State::Zeroed),
                other => {
                    let expected = "expected true or false";
                    Err(EntryFault::Value { field: "exists", found: other.to_owned(), expected })
                }
            },
        }
    }
}

/// Reads the array; the outcome and the fault of an entry stay in `self`'s fields.
struct Reader<'s> {
    disk_bytes: u64,
    producer: &'s mut Option<Producer>,
    fault: &'s mut Option<(u64, EntryFault)>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Option<Collector>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Option<Collector>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of ranges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut collector: Option<Collector> = None;
        while let Some(entry) = entries.next_element::<Entry<'de>>()? {
            let producer = match *self.producer {
                Some(producer) => producer,
                None => *self.producer.insert(Producer::of(&entry).ok_or_else(|| A::Error::custom("no known entry"))?),
            };
            // All three count in sectors of 512 bytes and round the end of an odd disk up.
            let collector = collector.get_or_insert_with(|| Collector::new(self.disk_bytes, 512, producer.coverage()));
            let added = entry.meaning(producer).and_then(|(offset, length, state)| collector.add(offset, length, state));
            if let Err(fault) = added {
                *self.fault = Some((collector.entry_number(), fault));
                return Err(A::Error::custom("a wrong entry"));
            }
        }
        Ok(collector)
    }
}

/// Reads an array of ranges for a disk of `disk_bytes`.
pub(super) fn parse(text: &[u8], disk_bytes: u64) -> Result<Hints, HintError> {
    let (mut producer, mut fault) = (None, None);
    let mut json = serde_json::Deserializer::from_slice(text);
    let reader = Reader { disk_bytes, producer: &mut producer, fault: &mut fault };
    let collector = reader.deserialize(&mut json).and_then(|collector| json.end().map(|()| collector));
    let collector = match (collector, producer) {
        (Ok(collector), _) => collector,
        (Err(error), Some(producer)) => return Err(json_fault(producer.name(), fault, &error)),
        (Err(error), None) if error.is_data() => return Err(unknown_entries()),
        (Err(error), None) => return Err(json_fault("an array of ranges", fault, &error)),
    };
    // Only `rbd diff` writes an array without entries: nothing has changed. A map of a disk has at least one.
    let producer = producer.unwrap_or(Producer::Rbd);
    let collector = collector.unwrap_or_else(|| Collector::new(disk_bytes, 512, producer.coverage()));
    if producer.coverage() == Coverage::Whole && !collector.is_whole() {
        return Err(HintError::WrongSize { format: producer.name(), described_bytes: collector.end(), disk_bytes });
    }
    let (changed, zeroed) = collector.into_sets();
    Ok(Hints { origin: producer.name().to_owned(), base: HintBase::Unknown, changed, zeroed })
}

fn unknown_entries() -> HintError {
    HintError::Unrecognised { found: "they are a JSON array, but its entries are no ranges of a known kind".to_owned() }
}
