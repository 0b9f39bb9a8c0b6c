//! What is due: a pure decision over the present time, the timetables and what ran before. Nothing here looks at a clock.
//!
//! A *run* is a moment of a timetable. It is *covered* by a job that began at that moment or later and did what it was asked for. Only the
//! latest run counts: whatever was missed before it (the host was off, suspended, or nobody scheduled) is made up for once, by covering
//! that one. A failed job is tried again after a pause that doubles, a few times, and then at the next run. Clocks jump: what is said to
//! have begun later than now, by more than a correction of the clock explains, is not believed, so that a clock that was ahead for a
//! moment does not keep backups from happening for years.

use jiff::{SignedDuration, Timestamp};

use crate::policy::Timetable;

/// By how much a clock may be set back and a job that began before that still counts.
const CLOCK_CORRECTION: SignedDuration = SignedDuration::from_hours(1);
/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(4);
/// How often one run is tried.
const TRIES: usize = 6;
/// The pause after a job that was ended from outside, by the end of the scheduler say.
const PAUSE_AFTER_END: SignedDuration = SignedDuration::from_mins(1);

/// A job of the past, as far as it matters for what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub start: Timestamp,
    /// When it ended; its start where that is not known.
    pub end: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
}

impl Attempt {
    /// What a recovery point of this time tells of the backup that made it.
    pub fn point(time: Timestamp) -> Self {
        Self { start: time, end: time, outcome: Outcome::Succeeded }
    }

    /// Whether a point of this time was made by it. A point's time is in whole seconds.
    pub fn covers(&self, time: Timestamp) -> bool {
        (self.start.as_second()..=self.end.as_second()).contains(&time.as_second())
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended.
    Running,
    /// It did what it was asked for.
    Succeeded,
    /// The same, with warnings.
    Warned,
    /// It did not.
    Failed,
    /// A person cancelled it: they do not want it now.
    Cancelled,
    /// It was ended from outside before it was done.
    Interrupted,
}

impl Outcome {
    /// Whether it covers a run.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::Warned)
    }
}

/// What to do about one machine, or one kind of upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It runs now.
    Running,
    /// It is due, since the run of this moment.
    Due(Timestamp),
    /// Nothing to do before this moment.
    At(Timestamp),
    /// Nothing will ever be due.
    Never,
}

/// What to do now about something with this timetable, that is protected since a moment, after these jobs, in any order.
pub fn next(now: Timestamp, timetable: &Timetable, since: Timestamp, attempts: &[Attempt]) -> Next {
    let believed: Vec<&Attempt> = attempts.iter().filter(|attempt| is_believed(attempt, now)).collect();
    if believed.iter().any(|attempt| attempt.outcome == Outcome::Running) {
        return Next::Running;
    }
    let following = timetable.next_after(now).map_or(Next::Never, Next::At);
    let Some(run) = timetable.latest_at_or_before(now).filter(|run| *run >= since.min(now)) else { return following };
    let of_this_run: Vec<&Attempt> = believed.into_iter().filter(|attempt| attempt.start >= run).collect();
    if of_this_run.iter().any(|attempt| attempt.outcome.is_success() || attempt.outcome == Outcome::Cancelled) {
        return following;
    }
    let failures = of_this_run.iter().filter(|attempt| attempt.outcome == Outcome::Failed).count();
    if failures >= TRIES {
        return following;
    }
    let Some(last) = of_this_run.iter().max_by_key(|attempt| attempt.start) else { return Next::Due(run) };
    // An end that lies ahead is that of a clock which has been set back since.
    let again = last.end.min(now).saturating_add(pause(last.outcome, failures)).unwrap_or(now);
    match following {
        _ if again <= now => Next::Due(run),
        Next::At(following) => Next::At(again.min(following)),
        _ => Next::At(again),
    }
}

/// Whether a job can have been: not where it began much later than now.
pub(super) fn is_believed(attempt: &Attempt, now: Timestamp) -> bool {
    attempt.start.duration_since(now) <= CLOCK_CORRECTION
}

fn pause(outcome: Outcome, failures: usize) -> SignedDuration {
    if outcome == Outcome::Interrupted {
        return PAUSE_AFTER_END;
    }
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2_i32.checked_pow(doublings).unwrap_or(i32::MAX);
    FIRST_PAUSE.checked_mul(factor).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
