//! What a policy will hold after years of runs.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{Candidate, Decision, Policy, decide};
use crate::policy::PolicyError;
use crate::units::PointId;

/// Most runs that are followed.
const MAX_RUNS: usize = 100_000;

/// What a policy holds in the end, and on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// Runs, each of which made a point.
    pub runs: usize,
    /// Most points at a time.
    pub most: usize,
    /// For the end of each month: its first day, and the points held.
    pub months: Vec<(Date, usize)>,
    /// The points held in the end, newest first, with their reasons.
    pub held: Vec<Decision>,
}

/// Lets a policy run from one moment to another, on a machine whose every backup succeeds, and whose points are pruned once a day.
///
/// # Errors
/// [`PolicyError::NoSchedule`]; [`PolicyError::TooManyRuns`].
pub fn simulate(policy: &Policy, local: &TimeZone, from: Timestamp, until: Timestamp) -> Result<Simulation, PolicyError> {
    let schedule = policy.schedule.as_ref().ok_or(PolicyError::NoSchedule)?;
    let (timetable, zone) = (schedule.timetable(local), policy.zone(local));
    let mut simulation = Simulation { runs: 0, most: 0, months: Vec::new(), held: Vec::new() };
    let mut points: Vec<Candidate> = Vec::new();
    let mut run = timetable.next_after(from).filter(|run| *run <= until);
    while let Some(time) = run {
        if simulation.runs == MAX_RUNS {
            return Err(PolicyError::TooManyRuns { schedule: schedule.to_string(), limit: MAX_RUNS });
        }
        simulation.runs += 1;
        points.push(candidate(simulation.runs, time));
        run = timetable.next_after(time).filter(|run| *run <= until);
        let day = zone.to_datetime(time).date();
        if run.is_none_or(|run| zone.to_datetime(run).date() != day) {
            simulation.most = simulation.most.max(points.len());
            prune(policy, &mut points, &zone, time);
            simulation.note(day.first_of_month(), points.len());
        }
    }
    simulation.held = prune(policy, &mut points, &zone, until);
    Ok(simulation)
}

impl Simulation {
    fn note(&mut self, month: Date, points: usize) {
        match self.months.last_mut() {
            Some((last, held)) if *last == month => *held = points,
            _ => self.months.push((month, points)),
        }
    }
}

/// Drops what nothing keeps; says what stays, and why.
fn prune(policy: &Policy, points: &mut Vec<Candidate>, zone: &TimeZone, now: Timestamp) -> Vec<Decision> {
    let mut held = decide(&policy.retention, points, zone, now);
    held.retain(Decision::is_kept);
    // Both are in the order of time, one from the newest, the other from the oldest on.
    let mut kept = held.iter().rev().map(|decision| decision.point).peekable();
    points.retain(|point| kept.next_if_eq(&point.point).is_some());
    held
}

fn candidate(run: usize, time: Timestamp) -> Candidate {
    let sequence = u64::try_from(run).unwrap_or(u64::MAX);
    let point = PointId(u128::from(sequence).to_be_bytes());
    Candidate { point, sequence, time, pinned: false, retain_until: None, immutable_until: None }
}
