//! Index objects: the ends of the packs that one job wrote, so that a client that comes later reads one object for many packs.
//!
//! Nothing in them is needed to read a recovery point; packs say the same of themselves.

use super::FormatError;
use super::bytes::{Reader, Writer, wide};
use super::envelope::ObjectKind;
use super::pack::{PackKind, TRAILER_BYTES, Toc, Trailer, decode_fingerprints, encode_fingerprints};
use crate::units::Fingerprint;

/// What an index object says of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack's trailer.
    pub trailer: Trailer,
    /// The table of contents as stored in the pack, for the same checks as there.
    pub toc: Vec<u8>,
    /// One for each slot of a data pack; none of a metadata pack.
    pub fingerprints: Vec<Fingerprint>,
}

impl IndexedPack {
    /// What there is to say of a pack of `pack_bytes` that ends with `tail`: all that follows its frames, or more.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] where `tail` is no pack's end or too short.
    pub fn from_tail(tail: &[u8], pack_bytes: u64, fingerprints: Vec<Fingerprint>) -> Result<Self, FormatError> {
        let trailer = Trailer::decode(tail, pack_bytes)?;
        let after_toc = trailer.toc.length_bytes.saturating_add(u64::from(TRAILER_BYTES));
        let mut reader = Reader::new("end of the pack", tail);
        reader.require(after_toc <= reader.remaining(), "the table of contents", "less")?;
        reader.raw(reader.remaining().saturating_sub(after_toc))?;
        let toc = reader.raw(trailer.toc.length_bytes)?.to_vec();
        Ok(Self { trailer, toc, fingerprints })
    }

    /// The table of contents; its MAC is checked by whoever has the keys.
    ///
    /// # Errors
    /// As of [`Toc::decode`], and where there is not a fingerprint for each slot of a data pack.
    pub fn toc(&self) -> Result<Toc, FormatError> {
        let (toc, _) = Toc::decode(&self.trailer, &self.toc)?;
        let expected = match toc.kind {
            PackKind::Data => u64::from(toc.slot_count),
            PackKind::Map => 0,
        };
        let reader = Reader::new(ObjectKind::Index.words(), &[]);
        reader.require(wide(self.fingerprints.len()) == expected, "a fingerprint for each slot", self.fingerprints.len())?;
        Ok(toc)
    }
}

/// `index/<segment>`: the packs of one job, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexObject {
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

impl IndexObject {
    /// The object as a body of [`ObjectKind::Index`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.count(self.packs.len());
        for pack in &self.packs {
            writer.raw(&pack.trailer.encode());
            writer.blob(&pack.toc);
            writer.blob(&encode_fingerprints(&pack.fingerprints));
        }
        writer.into_bytes()
    }

    /// The object from such a body.
    ///
    /// # Errors
    /// [`FormatError`], as for each pack.
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Index.words(), body);
        let packs = reader.list(u64::from(TRAILER_BYTES).saturating_add(16), |reader| {
            let trailer = Trailer::decode_alone(reader.raw(u64::from(TRAILER_BYTES))?)?;
            let toc = reader.blob()?.to_vec();
            let pack = IndexedPack { trailer, toc, fingerprints: decode_fingerprints(reader.blob()?)? };
            pack.toc()?;
            Ok(pack)
        })?;
        reader.finish()?;
        Ok(Self { packs })
    }
}
