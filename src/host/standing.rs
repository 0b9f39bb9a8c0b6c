//! How a machine stands: is it protected, how did its last backup end, is one missing? Pure, over the same facts as what is due.

use jiff::{SignedDuration, Timestamp};

use super::due::{self, Attempt, Next, Outcome};
use crate::policy::Timetable;

/// So long after a run that nobody has begun it counts as missed.
const MISSED_AFTER: SignedDuration = SignedDuration::from_hours(2);

/// Whether a machine is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protection {
    /// It is defined, and there is no recovery point of it yet.
    InitialBackupPending,
    /// There are points of it, and no backup is missing.
    Protected,
    /// Backups fail or do not happen.
    Error,
    /// No policy is assigned to it: nothing happens by itself.
    Stopped,
}

/// How the last backup of a machine ended, or that there is none when there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LastBackup {
    /// There was none yet, and none has failed.
    InitialPending,
    /// It runs.
    InProgress,
    /// Done.
    Completed,
    /// Done, with warnings.
    CompletedWithWarnings,
    /// Failed.
    Failed,
    /// Ended by somebody.
    Cancelled,
    /// The last run passed and nobody began it.
    Missed,
    /// The last two runs passed or more, and there is no point of either.
    Overdue,
}

/// How much somebody should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// All is well.
    None,
    /// Have a look.
    Warning,
    /// The machine is not protected as it should be.
    Critical,
}

/// How a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is protected.
    pub protection: Protection,
    /// How its last backup ended.
    pub last_backup: LastBackup,
    /// How much somebody should care.
    pub alarm: Alarm,
    /// When the last backup that was good began.
    pub last_success: Option<Timestamp>,
    /// When the next one is due; now, where it waits for its turn.
    pub next: Option<Timestamp>,
}

impl Protection {
    /// The words for it.
    pub fn title(self) -> &'static str {
        match self {
            Self::InitialBackupPending => "Initial backup pending",
            Self::Protected => "Protected",
            Self::Error => "Protection error",
            Self::Stopped => "Protection stopped",
        }
    }

    /// The word in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::InitialBackupPending => "initial_backup_pending",
            Self::Protected => "protected",
            Self::Error => "protection_error",
            Self::Stopped => "protection_stopped",
        }
    }
}

impl LastBackup {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::InitialPending,
        Self::InProgress,
        Self::Completed,
        Self::CompletedWithWarnings,
        Self::Failed,
        Self::Cancelled,
        Self::Missed,
        Self::Overdue,
    ];

    /// The words for it.
    pub fn title(self) -> &'static str {
        match self {
            Self::InitialPending => "Warning (initial backup pending)",
            Self::InProgress => "In progress",
            Self::Completed => "Completed",
            Self::CompletedWithWarnings => "Completed with warnings",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Missed => "Missed",
            Self::Overdue => "Overdue",
        }
    }

    /// The word in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::InitialPending => "initial_backup_pending",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::CompletedWithWarnings => "completed_with_warnings",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Missed => "missed",
            Self::Overdue => "overdue",
        }
    }

    fn alarm(self) -> Alarm {
        match self {
            Self::InProgress | Self::Completed => Alarm::None,
            Self::InitialPending | Self::CompletedWithWarnings | Self::Cancelled => Alarm::Warning,
            Self::Failed | Self::Missed | Self::Overdue => Alarm::Critical,
        }
    }
}

/// How a machine stands now. `timetable` is that of its policy, `None` where it has none; `points` says whether there is a recovery
/// point of it; `attempts` are its jobs in any order.
pub fn standing(now: Timestamp, timetable: Option<&Timetable>, since: Timestamp, points: bool, attempts: &[Attempt]) -> Standing {
    let mut believed: Vec<&Attempt> = attempts.iter().filter(|attempt| due::is_believed(attempt, now)).collect();
    believed.sort_by_key(|attempt| attempt.start);
    let last_success = believed.iter().rev().find(|attempt| attempt.outcome.is_success()).map(|attempt| attempt.start);
    let missing = timetable.and_then(|timetable| missing(now, timetable, since, &believed));
    let last_backup = missing.unwrap_or_else(|| last(&believed));
    let protection = match last_backup {
        _ if timetable.is_none() => Protection::Stopped,
        LastBackup::Failed | LastBackup::Missed | LastBackup::Overdue => Protection::Error,
        _ if points || last_success.is_some() => Protection::Protected,
        _ => Protection::InitialBackupPending,
    };
    let stopped = if protection == Protection::Stopped { Alarm::Warning } else { Alarm::None };
    let next = match timetable.map(|timetable| due::next(now, timetable, since, attempts)) {
        Some(Next::At(moment)) => Some(moment),
        Some(Next::Due(_)) => Some(now),
        Some(Next::Running) => timetable.and_then(|timetable| timetable.next_after(now)),
        Some(Next::Never) | None => None,
    };
    Standing { protection, last_backup, alarm: last_backup.alarm().max(stopped), last_success, next }
}

/// Whether a run has passed for which there should be a backup, and nothing of it has begun.
fn missing(now: Timestamp, timetable: &Timetable, since: Timestamp, sorted: &[&Attempt]) -> Option<LastBackup> {
    let run = timetable.latest_at_or_before(now).filter(|run| *run >= since.min(now))?;
    if sorted.iter().any(|attempt| attempt.start >= run || attempt.outcome == Outcome::Running) {
        return None;
    }
    let before = run.checked_sub(SignedDuration::from_nanos(1)).ok().and_then(|moment| timetable.latest_at_or_before(moment));
    let before = before.filter(|before| *before >= since);
    let is_late = now.duration_since(run) > MISSED_AFTER;
    match before {
        Some(before) if !sorted.iter().any(|attempt| attempt.start >= before && attempt.outcome.is_success()) => {
            // Within the patience for this run, the failure of the one before tells more.
            let began = sorted.iter().any(|attempt| attempt.start >= before);
            (is_late || !began).then_some(LastBackup::Overdue)
        }
        _ => is_late.then_some(LastBackup::Missed),
    }
}

fn last(sorted: &[&Attempt]) -> LastBackup {
    match sorted.last().map(|attempt| attempt.outcome) {
        None => LastBackup::InitialPending,
        Some(Outcome::Running) => LastBackup::InProgress,
        Some(Outcome::Succeeded) => LastBackup::Completed,
        Some(Outcome::Warned) => LastBackup::CompletedWithWarnings,
        Some(Outcome::Failed) => LastBackup::Failed,
        Some(Outcome::Cancelled | Outcome::Interrupted) => LastBackup::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::policy::Schedule;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn daily() -> Timetable {
        "daily at 20:30".parse::<Schedule>().unwrap().timetable(&TimeZone::UTC)
    }

    fn stands(now: &str, attempts: &[(&str, Outcome)]) -> (LastBackup, Protection, Alarm) {
        let attempts: Vec<Attempt> =
            attempts.iter().map(|(start, outcome)| Attempt { start: at(start), end: at(start), outcome: *outcome }).collect();
        let points = attempts.iter().any(|attempt| attempt.outcome.is_success());
        let standing = standing(at(now), Some(&daily()), at("2026-11-01T00:00:00Z"), points, &attempts);
        (standing.last_backup, standing.protection, standing.alarm)
    }

    #[test]
    fn a_machine_without_a_point_waits_for_its_initial_backup() {
        let standing = standing(at("2026-11-01T12:00:00Z"), Some(&daily()), at("2026-11-01T00:00:00Z"), false, &[]);
        assert_eq!(standing.last_backup.title(), "Warning (initial backup pending)");
        assert_eq!((standing.protection, standing.alarm), (Protection::InitialBackupPending, Alarm::Warning));
        assert_eq!((standing.last_success, standing.next), (None, Some(at("2026-11-01T20:30:00Z"))));
    }

    #[test]
    fn states_follow_from_the_jobs_since_the_last_run() {
        let error = (Protection::Error, Alarm::Critical);
        let good = (Protection::Protected, Alarm::None);
        let yesterday = ("2026-11-21T20:30:00Z", Outcome::Succeeded);
        let cases = [
            // Within two hours of the run nothing is missing yet.
            ("2026-11-22T22:30:00Z", vec![yesterday], LastBackup::Completed, good),
            ("2026-11-22T22:31:00Z", vec![yesterday], LastBackup::Missed, error),
            ("2026-11-23T20:31:00Z", vec![yesterday], LastBackup::Overdue, error),
            ("2026-11-22T23:00:00Z", vec![yesterday, ("2026-11-22T20:30:00Z", Outcome::Failed)], LastBackup::Failed, error),
            ("2026-11-23T20:31:00Z", vec![yesterday, ("2026-11-22T20:30:00Z", Outcome::Failed)], LastBackup::Failed, error),
            ("2026-11-23T23:31:00Z", vec![yesterday, ("2026-11-22T20:30:00Z", Outcome::Failed)], LastBackup::Overdue, error),
            ("2026-11-23T23:00:00Z", vec![yesterday, ("2026-11-23T22:59:00Z", Outcome::Running)], LastBackup::InProgress, good),
            ("2026-11-22T20:40:00Z", vec![("2026-11-22T20:30:00Z", Outcome::Succeeded), yesterday], LastBackup::Completed, good),
        ];
        for (now, attempts, last, (protection, alarm)) in cases {
            assert_eq!(stands(now, &attempts), (last, protection, alarm), "{now} {attempts:?}");
        }
        let warned = stands("2026-11-22T20:40:00Z", &[("2026-11-22T20:30:00Z", Outcome::Warned)]);
        assert_eq!(warned, (LastBackup::CompletedWithWarnings, Protection::Protected, Alarm::Warning));
        let cancelled = stands("2026-11-22T20:40:00Z", &[yesterday, ("2026-11-22T20:30:00Z", Outcome::Cancelled)]);
        assert_eq!(cancelled, (LastBackup::Cancelled, Protection::Protected, Alarm::Warning));
    }

    #[test]
    fn without_a_policy_protection_is_stopped() {
        let done = Attempt { start: at("2026-11-22T20:30:00Z"), end: at("2026-11-22T20:31:00Z"), outcome: Outcome::Succeeded };
        let standing = standing(at("2026-12-22T20:30:00Z"), None, at("2026-11-01T00:00:00Z"), true, &[done]);
        assert_eq!((standing.protection, standing.last_backup), (Protection::Stopped, LastBackup::Completed));
        assert_eq!((standing.alarm, standing.next), (Alarm::Warning, None));
    }

    #[test]
    fn what_is_due_and_waits_for_its_turn_is_next_now() {
        let now = at("2026-11-22T20:31:00Z");
        assert_eq!(standing(now, Some(&daily()), at("2026-11-01T00:00:00Z"), false, &[]).next, Some(now));
    }
}
