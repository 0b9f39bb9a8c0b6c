//! The file in which a client remembers what it has read of points. Advice only: whatever is wrong with it, nothing is remembered.
//!
//! It is believed because it is sealed with the vault's keys, as the object `cache/points/2`; an earlier form had another name. It is written whole and put in place of the
//! old one at once; of several writers the last one's stays, and what the others knew is read again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::crypt::VaultKeys;
use crate::format::envelope::ObjectKind;
use crate::format::known::KnownPoint;
use crate::io::replace_durable;
use crate::units::PointId;

/// The name under which the file is sealed.
const SEALED_AS: &str = "cache/points/2";
/// Most bytes of all points in the file: about 100,000 of them. The others are read each time.
const MAX_BYTES: usize = 64 << 20;
/// What sealing adds is less.
const MAX_FILE_BYTES: u64 = (MAX_BYTES as u64) + 4096;
/// So many points that are news are worth a new file; in a small vault fewer, one in this many.
const WORTH_WRITING: usize = 32;

/// What is remembered; nothing where the file cannot be used.
pub(super) fn load(file: &Path, keys: &VaultKeys) -> HashMap<PointId, KnownPoint> {
    let Ok(Some(bytes)) = read(file) else { return HashMap::new() };
    let Ok(opened) = keys.open_object(ObjectKind::KnownPoints, SEALED_AS, &bytes) else { return HashMap::new() };
    let points = KnownPoint::decode_all(&opened.body).unwrap_or_default();
    points.into_iter().map(|known| (known.point, known)).collect()
}

/// `None` for a file that is too long.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MAX_FILE_BYTES).then_some(bytes))
}

/// Remembers points, given ascending by id, each with whether it is news; unless there is too little news to be worth a new file:
/// writing has to cost less than what it saves.
pub(super) fn save<'a>(file: &Path, keys: &VaultKeys, points: impl Iterator<Item = (&'a KnownPoint, bool)> + Clone) {
    let (all, news) = points.clone().fold((0, 0), |(all, news), (_, is_news)| (all + 1, news + usize::from(is_news)));
    if is_worth_writing(all, news) {
        // A client without a place to write is as good as one that comes for the first time.
        let _ = write(file, keys, points);
    }
}

fn is_worth_writing(all: usize, news: usize) -> bool {
    news > 0 && news >= (all / WORTH_WRITING).min(WORTH_WRITING)
}

fn write<'a>(file: &Path, keys: &VaultKeys, points: impl Iterator<Item = (&'a KnownPoint, bool)>) -> io::Result<()> {
    let (mut body, mut all, mut news) = (Vec::new(), 0, 0);
    for (known, is_news) in points {
        // What was decoded can be encoded.
        let Ok(bytes) = known.encode() else { continue };
        if body.len() + bytes.len() <= MAX_BYTES {
            body.extend_from_slice(&bytes);
            all += 1;
            news += usize::from(is_news);
        }
    }
    // Where the file is full, most news has no place in it.
    if !is_worth_writing(all, news) {
        return Ok(());
    }
    let sealed = keys.seal_object(ObjectKind::KnownPoints, SEALED_AS, &[], &body).map_err(io::Error::other)?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    replace_durable(file, &sealed)
}
