//! Single objects of either side: read, opened with the vault's key, and compared with their names.

use std::collections::BTreeSet;

use super::plan::{Plan, Why};
use crate::backend::{BackendError, Listed};
use crate::crypt::CryptError;
use crate::format::FormatError;
use crate::format::control::Moved;
use crate::format::envelope::ObjectKind;
use crate::format::names::{KEYS, ObjectName, SETTINGS};
use crate::format::point::{Manifest, PointState, Verdict};
use crate::format::settings::Settings;
use crate::format::vault::{KeySlot, VaultHeader};
use crate::jobs::JobError;
use crate::store::Vault;

/// What a small object says.
#[derive(Debug)]
pub(super) enum Opened {
    /// A header or a key slot: nothing that a plan follows from.
    Other,
    Manifest(Box<Manifest>),
    Verdict(Verdict),
    State(PointState),
    Moved(Moved),
}

/// An object as one side has it.
#[derive(Debug)]
pub(super) enum Found {
    Missing,
    Damaged(String),
    Sound { bytes: Vec<u8>, opened: Opened },
}

impl Found {
    /// What it says, if it is sound.
    pub(super) fn opened(&self) -> Option<&Opened> {
        if let Self::Sound { opened, .. } = self { Some(opened) } else { None }
    }

    /// Why it must be put; `None` for a sound one.
    pub(super) fn why(&self) -> Option<Why> {
        match self {
            Self::Missing => Some(Why::Missing),
            Self::Damaged(reason) => Some(Why::Damaged(reason.clone())),
            Self::Sound { .. } => None,
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        if let Self::Sound { bytes, .. } = self { bytes.len() as u64 } else { 0 }
    }

    /// For a person.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Missing => "missing",
            Self::Damaged(reason) => reason,
            Self::Sound { .. } => "whole",
        }
    }
}

/// Reads and opens a small object. An error only where nothing can be said of it: the place does not answer, it is of a later version.
pub(super) fn read(vault: &Vault, name: ObjectName) -> Result<Found, JobError> {
    let bytes = match vault.backend().get(&name.to_string()) {
        Ok(bytes) => bytes,
        Err(BackendError::NotFound { .. }) => return Ok(Found::Missing),
        Err(error) if error.is_damage() => return Ok(Found::Damaged(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    match open(vault, name, &bytes) {
        Ok(opened) => Ok(Found::Sound { bytes, opened }),
        Err(error @ CryptError::Format { source: FormatError::Unsupported { .. }, .. }) => Err(error.into()),
        Err(error) => Ok(Found::Damaged(error.to_string())),
    }
}

fn open(vault: &Vault, name: ObjectName, bytes: &[u8]) -> Result<Opened, CryptError> {
    let object = name.to_string();
    let damaged = |source| CryptError::Format { object: object.clone(), source };
    let body = |kind| vault.keys().open_object(kind, &object, bytes);
    let foreign = || CryptError::NotAuthentic { object: object.clone() };
    match name {
        ObjectName::Vault => {
            let header = VaultHeader::decode(bytes).map_err(damaged)?;
            // The key slots vouch for the header that the vault was opened with.
            if header == *vault.header() { Ok(Opened::Other) } else { Err(foreign()) }
        }
        ObjectName::Key(id) => {
            let slot = KeySlot::decode(bytes).map_err(damaged)?;
            if slot.id == id && slot.vault == vault.header().vault { Ok(Opened::Other) } else { Err(foreign()) }
        }
        ObjectName::Point(point) => {
            let opened = body(ObjectKind::Manifest)?;
            let manifest = Manifest::decode(&opened.clear, &opened.body).map_err(damaged)?;
            if manifest.point == point { Ok(Opened::Manifest(Box::new(manifest))) } else { Err(foreign()) }
        }
        ObjectName::Verdict(_) => Ok(Opened::Verdict(Verdict::decode(&body(ObjectKind::Verdict)?.body).map_err(damaged)?)),
        ObjectName::State(..) => Ok(Opened::State(PointState::decode(&body(ObjectKind::State)?.body).map_err(damaged)?)),
        ObjectName::Moved(..) => Ok(Opened::Moved(Moved::decode(&body(ObjectKind::Moved)?.body).map_err(damaged)?)),
        ObjectName::Settings(number) => {
            let settings = Settings::decode(&body(ObjectKind::Settings)?.body).map_err(damaged)?;
            if settings.number == number { Ok(Opened::Other) } else { Err(foreign()) }
        }
        // Nothing that is repaired.
        _ => Err(foreign()),
    }
}

/// The names below a prefix, of both sides or one, with sizes.
pub(super) fn names(vault: &Vault, prefix: &str) -> Result<Vec<(ObjectName, u64)>, JobError> {
    let parse = |object: &Listed| ObjectName::parse(&object.name).map(|name| (name, object.size_bytes));
    Ok(vault.backend().list(prefix)?.iter().filter_map(parse).collect())
}

/// The header, and key slots that are damaged. A slot that is not there was removed, unless none is left that could open the vault.
pub(super) fn plan_header_and_keys(mirror: &Vault, target: &Vault, plan: &mut Plan) -> Result<(), JobError> {
    compare(mirror, target, ObjectName::Vault, plan)?;
    let mut sound = 0;
    for (name, _) in names(target, KEYS)? {
        sound += usize::from(compare(mirror, target, name, plan)?);
    }
    if sound == 0 {
        for (name, _) in names(mirror, KEYS)? {
            compare(mirror, target, name, plan)?;
        }
    }
    Ok(())
}

/// Settings that are damaged or gone. None is ever removed, so that what either side has belongs to both.
pub(super) fn plan_settings(mirror: &Vault, target: &Vault, plan: &mut Plan) -> Result<(), JobError> {
    let named = names(target, SETTINGS)?.into_iter().chain(names(mirror, SETTINGS)?);
    let all: BTreeSet<ObjectName> = named.map(|(name, _)| name).collect();
    all.into_iter().try_for_each(|name| compare(mirror, target, name, plan).map(drop))
}

/// Plans to put an object that is not sound in the target. Says whether it is.
pub(super) fn compare(mirror: &Vault, target: &Vault, name: ObjectName, plan: &mut Plan) -> Result<bool, JobError> {
    let there = read(target, name)?;
    let Some(why) = there.why() else { return Ok(true) };
    let copy = read(mirror, name)?;
    match &copy {
        Found::Sound { .. } => plan.put(name, copy.size_bytes(), why),
        other => plan.lose(name, format!("{}; in the mirror: {}", there.words(), other.words())),
    }
    Ok(false)
}
