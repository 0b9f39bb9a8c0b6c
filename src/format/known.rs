//! What a client remembers of recovery points, so that it need not read again what never changes. A cache: never needed, never part of
//! a vault, and trusted only because it is sealed with the vault's keys.

use jiff::Timestamp;

use super::FormatError;
use super::bytes::{Reader, Writer};
use super::envelope::ObjectKind;
use super::point::{Decision, Manifest, PointState};
use crate::units::PointId;

/// What is remembered of a point. Each part is of one object, as large as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPoint {
    /// The point.
    pub point: PointId,
    /// Its manifest.
    pub manifest: Option<KnownManifest>,
    /// Its verdict.
    pub verdict: Option<KnownVerdict>,
    /// A state record of it.
    pub state: Option<KnownState>,
}

/// A remembered manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownManifest {
    /// Bytes of its object.
    pub size_bytes: u64,
    /// BLAKE3 of its object.
    pub hash: [u8; 32],
    /// The manifest; the bytes of configuration files are left out.
    pub manifest: Manifest,
}

/// A remembered verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownVerdict {
    /// Bytes of its object.
    pub size_bytes: u64,
    /// What was decided.
    pub decision: Decision,
    /// When, by the decider's clock.
    pub time: Timestamp,
}

/// A remembered state record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownState {
    /// Its number.
    pub number: u64,
    /// Bytes of its object.
    pub size_bytes: u64,
    /// The record.
    pub state: PointState,
}

impl KnownPoint {
    /// A point of which nothing is known.
    pub fn new(point: PointId) -> Self {
        Self { point, manifest: None, verdict: None, state: None }
    }

    /// The point as a part of a body of [`ObjectKind::KnownPoints`], which is all points one after another, ascending by id.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] for a manifest that breaks a rule of the format.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let manifest = self.manifest.as_ref().map(|known| Ok::<_, FormatError>((known, known.manifest.encode_body()?))).transpose()?;
        let mut writer = Writer::new();
        writer.raw(self.point.as_bytes());
        writer.option(manifest, |writer, (known, body)| {
            writer.u64(known.size_bytes);
            writer.raw(&known.hash);
            writer.blob(&known.manifest.header().encode());
            writer.blob(&body);
        });
        writer.option(self.verdict, |writer, known| {
            writer.u64(known.size_bytes);
            writer.flag(known.decision == Decision::Published);
            writer.time(known.time);
        });
        writer.option(self.state.as_ref(), |writer, known| {
            writer.u64(known.number);
            writer.u64(known.size_bytes);
            writer.blob(&known.state.encode());
        });
        Ok(writer.into_bytes())
    }

    /// All points of a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode_all(body: &[u8]) -> Result<Vec<Self>, FormatError> {
        let mut reader = Reader::new(ObjectKind::KnownPoints.words(), body);
        let mut points: Vec<Self> = Vec::new();
        while reader.remaining() > 0 {
            let point = Self::decode(&mut reader)?;
            let ascends = points.last().is_none_or(|last| last.point < point.point);
            reader.require(ascends, "points ascending by id", point.point)?;
            points.push(point);
        }
        reader.finish()?;
        Ok(points)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let point = PointId(reader.array()?);
        let manifest = reader.option(|reader| {
            let (size_bytes, hash) = (reader.u64()?, reader.array()?);
            let (clear, body) = (reader.blob()?, reader.blob()?);
            Ok(KnownManifest { size_bytes, hash, manifest: Manifest::decode(clear, body)? })
        })?;
        let verdict = reader.option(|reader| {
            let size_bytes = reader.u64()?;
            let decision = if reader.flag()? { Decision::Published } else { Decision::Revoked };
            Ok(KnownVerdict { size_bytes, decision, time: reader.time()? })
        })?;
        let state = reader.option(|reader| {
            let (number, size_bytes) = (reader.u64()?, reader.u64()?);
            Ok(KnownState { number, size_bytes, state: PointState::decode(reader.blob()?)? })
        })?;
        let of_others = manifest.as_ref().is_some_and(|known| known.manifest.point != point)
            || state.as_ref().is_some_and(|known| known.state.point != point);
        reader.require(!of_others, "a manifest and a state of the same point", "another's")?;
        Ok(Self { point, manifest, verdict, state })
    }
}
