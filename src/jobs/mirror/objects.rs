//! Objects from one place to another, many at once: what is there already is left alone, what is damaged is told of and not copied.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::MirrorReport;
use crate::backend::{Backend, BackendError, Created, Listed, map_parallel};
use crate::format::names::ObjectName;
use crate::jobs::JobError;
use crate::monitor::{Counter, Monitor};
use crate::store::{StoreError, check_object, stream_pack};
use crate::units::PackId;

/// From this size on an object is large: few of them at once, in parts. A store may hold each one in memory until it is whole.
const LARGE_BYTES: u64 = 8 << 20;
/// Large objects under way.
const LARGE_AT_ONCE: usize = 4;

/// Whether everything that was listed could be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    AllThere,
    /// Some objects were gone when they were to be copied.
    SomeGone,
}

impl Outcome {
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::AllThere { other } else { self }
    }
}

/// An object of the target.
struct There {
    size_bytes: u64,
    /// Whether the report has it: names are listed more than once.
    counted: bool,
}

/// What became of one object.
enum Copied {
    New(u64),
    Present,
    Gone,
    Damaged(String),
}

/// Copies objects; remembers what the target has.
pub(super) struct Copier<'a> {
    from: &'a dyn Backend,
    to: &'a dyn Backend,
    monitor: &'a dyn Monitor,
    at_once: usize,
    state: Mutex<State>,
}

struct State {
    /// Objects of the target by name.
    there: HashMap<String, There>,
    report: MirrorReport,
    failure: Option<JobError>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(from: &'a dyn Backend, to: &'a dyn Backend, there: &[Listed], monitor: &'a dyn Monitor) -> Self {
        let there = there.iter().map(|object| (object.name.clone(), There { size_bytes: object.size_bytes, counted: false })).collect();
        let state = Mutex::new(State { there, report: MirrorReport::default(), failure: None });
        Self { from, to, monitor, at_once: from.parallel_requests().max(to.parallel_requests()), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the target has an object of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.state().there.contains_key(name)
    }

    /// What was done with all objects.
    pub(super) fn into_report(self) -> MirrorReport {
        let mut report = self.state.into_inner().unwrap_or_else(PoisonError::into_inner).report;
        report.damaged.sort();
        report.damaged.dedup();
        report
    }

    /// Copies those of these objects that the target does not have; returns when all are durable there.
    pub(super) fn copy(&self, objects: &[Listed]) -> Result<Outcome, JobError> {
        let missing: Vec<&Listed> = objects.iter().filter(|object| !self.is_there(object)).collect();
        self.monitor.count(Counter::PlannedBytes, missing.iter().map(|object| object.size_bytes).sum());
        let (large, small): (Vec<&Listed>, Vec<&Listed>) = missing.into_iter().partition(|object| object.size_bytes >= LARGE_BYTES);
        let small = map_parallel(&small, self.at_once, |object| self.copy_one(object));
        let large = map_parallel(&large, self.at_once.min(LARGE_AT_ONCE), |object| self.copy_one(object));
        if let Some(failure) = self.state().failure.take() {
            return Err(failure);
        }
        let gone = small.iter().chain(&large).any(|is_there| !is_there);
        Ok(if gone { Outcome::SomeGone } else { Outcome::AllThere })
    }

    /// Whether the target has the object, as far as its size tells. One of another size is damaged on either side.
    fn is_there(&self, object: &Listed) -> bool {
        let mut state = self.state();
        let State { there, report, .. } = &mut *state;
        let Some(found) = there.get_mut(&object.name) else { return false };
        if std::mem::replace(&mut found.counted, true) {
            return true;
        }
        if found.size_bytes == object.size_bytes {
            report.present_objects += 1;
        } else {
            let reason = format!("it has {} bytes in the mirror, but {} in the vault", found.size_bytes, object.size_bytes);
            report.damaged.push((object.name.clone(), reason));
        }
        true
    }

    /// `false` for an object that is gone. After a failure nothing more is begun.
    fn copy_one(&self, object: &Listed) -> bool {
        if self.state().failure.is_some() {
            return true;
        }
        let copied = if self.monitor.cancelled() { Err(JobError::Cancelled) } else { self.transfer(object) };
        let mut state = self.state();
        match copied {
            Ok(Copied::Gone) => return false,
            Ok(Copied::Damaged(reason)) => state.report.damaged.push((object.name.clone(), reason)),
            Ok(Copied::Present) => {
                state.report.present_objects += 1;
                state.there.insert(object.name.clone(), There { size_bytes: object.size_bytes, counted: true });
            }
            Ok(Copied::New(bytes)) => {
                let State { there, report, .. } = &mut *state;
                there.insert(object.name.clone(), There { size_bytes: bytes, counted: true });
                report.copied_objects += 1;
                report.copied_bytes += bytes;
                report.copied_points += u64::from(matches!(ObjectName::parse(&object.name), Some(ObjectName::Point(_))));
            }
            Err(error) => drop(state.failure.get_or_insert(error)),
        }
        true
    }

    fn transfer(&self, object: &Listed) -> Result<Copied, JobError> {
        match ObjectName::parse(&object.name) {
            Some(ObjectName::Pack(pack)) => self.transfer_pack(pack, object),
            Some(name) => self.transfer_small(name, object),
            // Nothing that a vault has.
            None => Ok(Copied::Present),
        }
    }

    fn transfer_small(&self, name: ObjectName, object: &Listed) -> Result<Copied, JobError> {
        let bytes = match self.from.get(&object.name) {
            Ok(bytes) => bytes,
            Err(BackendError::NotFound { .. }) => return Ok(Copied::Gone),
            Err(error) if error.is_damage() => return Ok(Copied::Damaged(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = check_object(name, &bytes) {
            return Ok(Copied::Damaged(error.to_string()));
        }
        self.monitor.count(Counter::DoneBytes, bytes.len() as u64);
        match self.to.create(&object.name, &bytes)? {
            Created::New => Ok(Copied::New(bytes.len() as u64)),
            Created::Exists if self.to.get(&object.name)? == bytes => Ok(Copied::Present),
            Created::Exists => Ok(Copied::Damaged("the mirror has another object of this name: somebody writes to it".to_owned())),
        }
    }

    fn transfer_pack(&self, pack: PackId, object: &Listed) -> Result<Copied, JobError> {
        let mut writer = self.to.writer(&object.name)?;
        let mut target_failed = false;
        let streamed = stream_pack(self.from, pack, object.size_bytes, &mut |bytes| {
            self.monitor.count(Counter::DoneBytes, bytes.len() as u64);
            writer.write(bytes).map_err(|error| {
                target_failed = true;
                StoreError::from(error)
            })
        });
        match streamed {
            Err(error) if target_failed => Err(error.into()),
            Err(StoreError::Backend(BackendError::NotFound { .. })) => Ok(Copied::Gone),
            Err(error) if error.is_damage() => Ok(Copied::Damaged(error.to_string())),
            Err(error) => Err(error.into()),
            Ok(()) => match writer.finish()? {
                Created::New => Ok(Copied::New(object.size_bytes)),
                Created::Exists => Ok(Copied::Present),
            },
        }
    }
}
