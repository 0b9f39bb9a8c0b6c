//! The envelope of every object but packs: what it is, which version, and its two parts.
//!
//! Here are its bytes only; the body is sealed and opened by `crypt`. Magic, kind, version, feature bits and the checksum at the
//! end stay where they are in all versions, so that damage and a later version can be told apart.

use super::FormatError;
use super::bytes::{Reader, Writer, checked, wide};

/// What every object but packs starts with.
pub const OBJECT_MAGIC: [u8; 8] = *b"\x89CAIRN\r\n";
/// The version of every object kind.
pub const OBJECT_VERSION: u16 = 1;
/// Bytes before the clear header.
const HEAD_BYTES: u64 = 56;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `vault`.
    Vault,
    /// `keys/<id>`.
    KeySlot,
    /// `points/<id>`.
    Manifest,
    /// `verdicts/<id>`.
    Verdict,
    /// `states/<point>/<n>`.
    State,
    /// `leases/<id>/<n>`.
    Lease,
    /// `collections/<n>`.
    Collection,
    /// `condemned/<n>`.
    Condemned,
    /// `moved/<pack>/<n>`.
    Moved,
    /// `damaged/<n>`.
    Damaged,
    /// `index/<segment>`.
    Index,
    /// In a client's cache, never in a vault.
    KnownPoints,
    /// In a client's cache, never in a vault.
    MarkedNodes,
    /// `settings/<n>`.
    Settings,
}

impl ObjectKind {
    /// All kinds, ascending by number.
    pub const ALL: [Self; 14] = [
        Self::Vault,
        Self::KeySlot,
        Self::Manifest,
        Self::Verdict,
        Self::State,
        Self::Lease,
        Self::Collection,
        Self::Condemned,
        Self::Moved,
        Self::Damaged,
        Self::Index,
        Self::KnownPoints,
        Self::MarkedNodes,
        Self::Settings,
    ];

    /// The number that stands for it in its objects.
    pub fn number(self) -> u16 {
        match self {
            Self::Vault => 1,
            Self::KeySlot => 2,
            Self::Manifest => 3,
            Self::Verdict => 4,
            Self::State => 5,
            Self::Lease => 6,
            Self::Collection => 7,
            Self::Condemned => 8,
            Self::Moved => 9,
            Self::Damaged => 10,
            Self::Index => 11,
            Self::KnownPoints => 12,
            Self::MarkedNodes => 13,
            Self::Settings => 14,
        }
    }

    /// What it is called in messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Vault => "vault header",
            Self::KeySlot => "key slot",
            Self::Manifest => "manifest",
            Self::Verdict => "verdict",
            Self::State => "state record",
            Self::Lease => "lease",
            Self::Collection => "collection record",
            Self::Condemned => "list of condemned packs",
            Self::Moved => "list of moved ranges",
            Self::Damaged => "list of damaged slots",
            Self::Index => "index object",
            Self::KnownPoints => "list of known points",
            Self::MarkedNodes => "list of marked nodes",
            Self::Settings => "settings",
        }
    }
}

/// An object as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What it is.
    pub kind: ObjectKind,
    /// Feature bits that a reader may ignore. This version sets none.
    pub compatible: u32,
    /// The body's nonce; zeros where the body is not encrypted.
    pub nonce: [u8; 12],
    /// Fields that can be read without a key.
    pub clear: Vec<u8>,
    /// What compatible feature bits added; empty where there are none.
    pub extension: Vec<u8>,
    /// The other fields, sealed as the vault asks, with tag or MAC.
    pub body: Vec<u8>,
}

impl Envelope {
    /// An object of this version, without features.
    pub fn new(kind: ObjectKind, nonce: [u8; 12], clear: Vec<u8>, body: Vec<u8>) -> Self {
        Self { kind, compatible: 0, nonce, clear, extension: Vec::new(), body }
    }

    /// All before the body, when the body as stored has `body_bytes`: what sealing authenticates along with it.
    pub fn head(&self, body_bytes: u64) -> Vec<u8> {
        self.head_writer(body_bytes).into_bytes()
    }

    fn head_writer(&self, body_bytes: u64) -> Writer {
        let mut writer = Writer::new();
        writer.raw(&OBJECT_MAGIC);
        writer.u16(self.kind.number());
        writer.u16(OBJECT_VERSION);
        writer.u32(0);
        writer.u32(self.compatible);
        writer.raw(&self.nonce);
        writer.count(self.clear.len());
        writer.count(self.extension.len());
        writer.u64(body_bytes);
        writer.raw(&self.clear);
        writer.raw(&self.extension);
        writer
    }

    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = self.head_writer(wide(self.body.len()));
        writer.raw(&self.body);
        writer.checksum();
        writer.into_bytes()
    }

    /// Takes an object of the kind that is expected apart.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`], [`FormatError::Unsupported`] for a later version, [`FormatError::WrongKind`].
    pub fn decode(kind: ObjectKind, bytes: &[u8]) -> Result<Self, FormatError> {
        let object = kind.words();
        let mut start = Reader::new(object, bytes);
        let magic = start.raw(8)?;
        start.require(magic == OBJECT_MAGIC, "the magic of a cairn object", magic.escape_ascii())?;
        let mut reader = Reader::new(object, checked(object, bytes)?);
        reader.raw(8)?;
        let number = reader.u16()?;
        if number != kind.number() {
            let found = ObjectKind::ALL.into_iter().find(|other| other.number() == number);
            return Err(match found {
                Some(found) => FormatError::WrongKind { expected: object, found: found.words() },
                None => FormatError::Unsupported { object, what: format!("kind {number}") },
            });
        }
        let compatible = version_and_features(&mut reader, object, OBJECT_VERSION)?;
        let nonce = reader.array()?;
        let (clear_bytes, extension_bytes, body_bytes) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let clear = reader.raw(clear_bytes)?.to_vec();
        let extension = reader.raw(extension_bytes)?.to_vec();
        reader.require(compatible != 0 || extension.is_empty(), "no extension without a feature bit", extension_bytes)?;
        let body = reader.raw(body_bytes)?.to_vec();
        reader.finish()?;
        Ok(Self { kind, compatible, nonce, clear, extension, body })
    }

    /// The clear header of an object that has nothing else, as vault header and key slots have.
    pub(super) fn decode_clear_only(kind: ObjectKind, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
        let envelope = Self::decode(kind, bytes)?;
        if envelope.body.is_empty() && envelope.nonce == [0; 12] {
            return Ok(envelope.clear);
        }
        Err(FormatError::Corrupt {
            object: kind.words(),
            at: HEAD_BYTES.saturating_add(wide(envelope.clear.len())),
            expected: "no nonce and no body".into(),
            found: format!("a body of {} bytes", envelope.body.len()),
        })
    }
}

/// Takes version, incompatible and compatible feature bits; gives the compatible ones.
pub(super) fn version_and_features(reader: &mut Reader<'_>, object: &'static str, version: u16) -> Result<u32, FormatError> {
    let found = reader.u16()?;
    if found == 0 {
        return Err(reader.corrupt("a version from 1", found));
    }
    if found > version {
        return Err(FormatError::Unsupported { object, what: format!("version {found}") });
    }
    let incompatible = reader.u32()?;
    if incompatible != 0 {
        return Err(FormatError::Unsupported { object, what: format!("feature bit {}", incompatible.trailing_zeros()) });
    }
    reader.u32()
}
