//! The JSON part of a LUKS2 header. Numbers of 64 bits are written as text.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use argon2::Algorithm;
use serde::Deserialize;

use super::cipher::CipherName;
use super::hash::Hash;
use super::slot::{Derivation, KeySlot};
use super::{Body, Digest, MOST_KEY_BYTES, MOST_ROUNDS, SECTOR_BYTES, Segment, base64};

/// Most key slots, as in cryptsetup.
const MOST_SLOTS: usize = 32;
/// Longest salt and digest.
const MOST_SALT_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Metadata {
    keyslots: BTreeMap<String, KeyslotText>,
    segments: BTreeMap<String, SegmentText>,
    digests: BTreeMap<String, DigestText>,
    #[serde(default)]
    config: Config,
}

#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    requirements: Requirements,
}

#[derive(Deserialize, Default)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

#[derive(Deserialize)]
struct KeyslotText {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    key_size: usize,
    /// 0: not without being asked for, 1: usual, 2: before others.
    priority: Option<u8>,
    af: Option<Stripes>,
    area: Option<Area>,
    kdf: Option<Kdf>,
}

#[derive(Deserialize)]
struct Stripes {
    stripes: usize,
    hash: String,
}

#[derive(Deserialize)]
struct Area {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    #[serde(default)]
    encryption: String,
    #[serde(default)]
    key_size: usize,
}

#[derive(Deserialize)]
struct Kdf {
    #[serde(rename = "type")]
    kind: String,
    salt: String,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    iterations: u32,
    #[serde(default)]
    time: u32,
    #[serde(default)]
    memory: u32,
    #[serde(default)]
    cpus: u32,
}

#[derive(Deserialize)]
struct SegmentText {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    #[serde(default)]
    iv_tweak: String,
    #[serde(default)]
    encryption: String,
    #[serde(default)]
    sector_size: usize,
    integrity: Option<Integrity>,
}

#[derive(Deserialize)]
struct Integrity {
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct DigestText {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    iterations: u32,
    salt: String,
    digest: String,
}

/// Why a volume cannot be opened: damage, or a feature that is missing here.
enum Problem {
    Damaged(String),
    Unsupported(String),
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Self::Damaged(problem.to_owned())
    }
}

/// What the text says, or the feature in it that Cairn lacks.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn parse(json: &[u8]) -> Result<Result<Body, String>, String> {
    // Zeros follow the text.
    let text = json.split(|&byte| byte == 0).next().unwrap_or_default();
    let metadata: Metadata = serde_json::from_slice(text).map_err(|error| format!("its text cannot be read: {error}"))?;
    match body(&metadata) {
        Ok(body) => Ok(Ok(body)),
        Err(Problem::Unsupported(feature)) => Ok(Err(feature)),
        Err(Problem::Damaged(problem)) => Err(problem),
    }
}

fn body(metadata: &Metadata) -> Result<Body, Problem> {
    let mandatory = &metadata.config.requirements.mandatory;
    if mandatory.iter().any(|name| name.contains("reencrypt")) || metadata.keyslots.values().any(|slot| slot.kind == "reencrypt") {
        return Err(Problem::Unsupported("LUKS2 in the middle of a re-encryption".to_owned()));
    }
    if let Some(name) = mandatory.first() {
        return Err(Problem::Unsupported(format!("LUKS2 with the requirement '{name}'")));
    }
    let mut segments = metadata.segments.iter();
    let (Some((number, segment)), None) = (segments.next(), segments.next()) else {
        return Err(Problem::Unsupported(format!("LUKS2 with {} segments", metadata.segments.len())));
    };
    let segment = segment_of(segment)?;
    let digest = metadata.digests.values().find(|digest| digest.segments.contains(number)).ok_or("its segment has no digest")?;
    let mut slots: Vec<(u8, Result<KeySlot, String>)> = Vec::new();
    for (number, slot) in metadata.keyslots.iter().take(MOST_SLOTS).filter(|(number, _)| digest.keyslots.contains(number)) {
        let parsed = match slot_of(slot) {
            Ok(parsed) => Ok(parsed),
            Err(Problem::Unsupported(feature)) => Err(feature),
            Err(Problem::Damaged(problem)) => Err(format!("LUKS2 key slot {number}, which is damaged ({problem}),")),
        };
        slots.push((slot.priority.unwrap_or(1), parsed));
    }
    slots.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    Ok(Body { slots: slots.into_iter().map(|(_, slot)| slot).collect(), digest: digest_of(digest)?, segment })
}

fn number(text: &str, what: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::Damaged(format!("the {what} '{text}' is no number")))
}

fn bytes(text: &str, what: &str) -> Result<Vec<u8>, Problem> {
    let bytes = base64::decoded(text).filter(|bytes| bytes.len() <= MOST_SALT_BYTES);
    bytes.ok_or_else(|| Problem::Damaged(format!("the {what} is no base64 of a fitting length")))
}

fn rounds(rounds: u32) -> Result<NonZeroU32, Problem> {
    let checked = NonZeroU32::new(rounds).filter(|_| rounds <= MOST_ROUNDS);
    checked.ok_or_else(|| Problem::Unsupported(format!("LUKS with {rounds} rounds of PBKDF2")))
}

fn hash(name: &str) -> Result<Hash, Problem> {
    Hash::named(name).map_err(Problem::Unsupported)
}

fn cipher(name: &str) -> Result<CipherName, Problem> {
    CipherName::named(name).map_err(Problem::Unsupported)
}

fn segment_of(text: &SegmentText) -> Result<Segment, Problem> {
    if text.kind != "crypt" {
        return Err(Problem::Unsupported(format!("LUKS2 with a segment of type '{}'", text.kind)));
    }
    if let Some(integrity) = &text.integrity {
        return Err(Problem::Unsupported(format!("LUKS2 with integrity ({})", integrity.kind)));
    }
    if !matches!(text.sector_size, 512 | 1024 | 2048 | 4096) {
        return Err(Problem::Damaged(format!("its sectors have {} bytes", text.sector_size)));
    }
    let offset_bytes = number(&text.offset, "offset of its segment")?;
    if offset_bytes == 0 {
        return Err(Problem::Unsupported("LUKS with its header on another device".to_owned()));
    }
    if !offset_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err("its segment does not begin with a sector".into());
    }
    Ok(Segment {
        offset_bytes,
        length_bytes: if text.size == "dynamic" { None } else { Some(number(&text.size, "size of its segment")?) },
        first_number: number(&text.iv_tweak, "first vector of its segment")?,
        sector_bytes: text.sector_size,
        cipher: cipher(&text.encryption)?,
    })
}

fn digest_of(text: &DigestText) -> Result<Digest, Problem> {
    if text.kind != "pbkdf2" {
        return Err(Problem::Unsupported(format!("LUKS2 with a digest of type '{}'", text.kind)));
    }
    let (salt, expected) = (bytes(&text.salt, "salt of its digest")?, bytes(&text.digest, "digest")?);
    Ok(Digest { hash: hash(&text.hash)?, rounds: rounds(text.iterations)?.get(), salt, expected })
}

fn slot_of(text: &KeyslotText) -> Result<KeySlot, Problem> {
    let (Some(stripes), Some(area), Some(kdf), "luks2") = (&text.af, &text.area, &text.kdf, text.kind.as_str()) else {
        return Err(Problem::Unsupported(format!("a LUKS2 key slot of type '{}'", text.kind)));
    };
    if area.kind != "raw" {
        return Err(Problem::Unsupported(format!("a LUKS2 key slot with an area of type '{}'", area.kind)));
    }
    if !(1..=MOST_KEY_BYTES).contains(&text.key_size) || !(1..=MOST_KEY_BYTES).contains(&area.key_size) {
        return Err(Problem::Damaged(format!("its keys have {} and {} bytes", text.key_size, area.key_size)));
    }
    Ok(KeySlot {
        derivation: derivation_of(kdf)?,
        cipher: cipher(&area.encryption)?,
        area_key_bytes: area.key_size,
        area_offset_bytes: number(&area.offset, "offset of its area")?,
        hash: hash(&stripes.hash)?,
        stripes: stripes.stripes,
        key_bytes: text.key_size,
    })
}

fn derivation_of(kdf: &Kdf) -> Result<Derivation, Problem> {
    let salt = bytes(&kdf.salt, "salt of a key slot")?;
    let argon2 = |algorithm, salt| Derivation::argon2(algorithm, kdf.time, kdf.memory, kdf.cpus, salt).map_err(Problem::Unsupported);
    match kdf.kind.as_str() {
        "pbkdf2" => Ok(Derivation::Pbkdf2 { hash: hash(&kdf.hash)?, rounds: rounds(kdf.iterations)?, salt }),
        "argon2i" => argon2(Algorithm::Argon2i, salt),
        "argon2id" => argon2(Algorithm::Argon2id, salt),
        kind => Err(Problem::Unsupported(format!("a LUKS2 key slot with the key derivation '{kind}'"))),
    }
}
