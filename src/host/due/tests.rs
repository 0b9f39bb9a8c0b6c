//! What is due, with a clock that does what clocks do.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Outcome::{Cancelled, Failed, Interrupted, Running, Succeeded};
use super::*;
use crate::policy::Schedule;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn timetable(schedule: &str) -> Timetable {
    schedule.parse::<Schedule>().unwrap().timetable(&TimeZone::UTC)
}

/// Every day at 20:30 in UTC.
fn daily() -> Timetable {
    timetable("daily at 20:30")
}

fn attempt(start: &str, minutes: i64, outcome: Outcome) -> Attempt {
    let start = at(start);
    Attempt { start, end: start + SignedDuration::from_mins(minutes), outcome }
}

const LONG_AGO: &str = "2026-01-01T00:00:00Z";

fn next_daily(now: &str, attempts: &[Attempt]) -> Next {
    next(at(now), &daily(), at(LONG_AGO), attempts)
}

#[test]
fn a_new_machine_waits_for_its_first_run() {
    let since = at("2026-11-22T12:00:00Z");
    assert_eq!(next(at("2026-11-22T12:00:01Z"), &daily(), since, &[]), Next::At(at("2026-11-22T20:30:00Z")));
    assert_eq!(next(at("2026-11-22T20:30:00Z"), &daily(), since, &[]), Next::Due(at("2026-11-22T20:30:00Z")));
}

#[test]
fn a_run_is_covered_by_a_job_that_began_at_it_or_later() {
    let following = Next::At(at("2026-11-23T20:30:00Z"));
    for (start, expected) in [
        ("2026-11-22T20:29:59Z", Next::Due(at("2026-11-22T20:30:00Z"))),
        ("2026-11-22T20:30:00Z", following),
        ("2026-11-22T21:00:00Z", following),
    ] {
        assert_eq!(next_daily("2026-11-22T23:00:00Z", &[attempt(start, 5, Succeeded)]), expected, "{start}");
    }
}

#[test]
fn many_missed_runs_are_made_up_for_once() {
    let before = attempt("2026-11-01T20:30:00Z", 5, Succeeded);
    assert_eq!(next_daily("2026-11-22T12:00:00Z", &[before]), Next::Due(at("2026-11-21T20:30:00Z")));
    let made_up = attempt("2026-11-22T12:00:00Z", 5, Succeeded);
    assert_eq!(next_daily("2026-11-22T12:10:00Z", &[before, made_up]), Next::At(at("2026-11-22T20:30:00Z")));
}

#[test]
fn what_runs_is_not_started_again() {
    assert_eq!(next_daily("2026-11-24T12:00:00Z", &[attempt("2026-11-22T20:30:00Z", 0, Running)]), Next::Running);
}

#[test]
fn failures_are_tried_again_after_pauses_that_double_and_then_at_the_next_run() {
    let mut attempts = Vec::new();
    let mut now = at("2026-11-22T20:30:00Z");
    let mut pauses = Vec::new();
    loop {
        match next(now, &daily(), at(LONG_AGO), &attempts) {
            Next::Due(run) => {
                assert_eq!(run, at("2026-11-22T20:30:00Z"));
                attempts.push(Attempt { start: now, end: now, outcome: Failed });
            }
            Next::At(then) if then == at("2026-11-23T20:30:00Z") => break,
            Next::At(then) => {
                pauses.push(then.duration_since(now).as_mins());
                now = then;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((attempts.len(), pauses), (6, vec![5, 10, 20, 40, 80]));
    assert_eq!(next(at("2026-11-23T20:30:00Z"), &daily(), at(LONG_AGO), &attempts), Next::Due(at("2026-11-23T20:30:00Z")));
}

#[test]
fn a_pause_does_not_pass_over_the_next_run() {
    let hourly = timetable("every 1h");
    let failed = |minute: i64| Attempt {
        start: at("2026-11-22T20:00:00Z") + SignedDuration::from_mins(minute),
        end: at("2026-11-22T20:00:00Z") + SignedDuration::from_mins(minute),
        outcome: Failed,
    };
    let attempts = [failed(0), failed(5), failed(15), failed(35)];
    assert_eq!(next(at("2026-11-22T20:36:00Z"), &hourly, at(LONG_AGO), &attempts), Next::At(at("2026-11-22T21:00:00Z")));
}

#[test]
fn what_a_person_cancelled_waits_for_the_next_run_and_what_was_interrupted_does_not() {
    let now = "2026-11-22T21:00:00Z";
    assert_eq!(next_daily(now, &[attempt("2026-11-22T20:30:00Z", 5, Cancelled)]), Next::At(at("2026-11-23T20:30:00Z")));
    assert_eq!(next_daily(now, &[attempt("2026-11-22T20:30:00Z", 5, Interrupted)]), Next::Due(at("2026-11-22T20:30:00Z")));
    let just_now = attempt("2026-11-22T20:59:00Z", 1, Interrupted);
    assert_eq!(next_daily(now, &[just_now]), Next::At(at("2026-11-22T21:01:00Z")));
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_keeps_nothing_from_happening() {
    let of_2036 = attempt("2036-01-01T00:00:00Z", 5, Succeeded);
    let running_2036 = attempt("2036-01-01T00:00:00Z", 5, Running);
    assert_eq!(next_daily("2026-11-22T20:31:00Z", &[of_2036, running_2036]), Next::Due(at("2026-11-22T20:30:00Z")));
    // The machine was first seen while the clock was ahead.
    let since = at("2036-01-01T00:00:00Z");
    assert_eq!(next(at("2026-11-22T20:31:00Z"), &daily(), since, &[]), Next::At(at("2026-11-23T20:30:00Z")));
    assert_eq!(next(at("2026-11-23T20:30:00Z"), &daily(), since, &[]), Next::Due(at("2026-11-23T20:30:00Z")));
}

#[test]
fn a_clock_that_is_set_back_a_little_doubles_no_backup() {
    let done = attempt("2026-11-22T20:30:10Z", 1, Succeeded);
    assert_eq!(
        next_daily("2026-11-22T20:20:00Z", &[done, attempt("2026-11-21T20:30:00Z", 5, Succeeded)]),
        Next::At(at("2026-11-22T20:30:00Z"))
    );
    assert_eq!(next_daily("2026-11-22T20:30:00Z", &[done]), Next::At(at("2026-11-23T20:30:00Z")));
}

#[test]
fn a_failure_whose_end_lies_ahead_is_tried_again_after_its_pause_at_most() {
    let failed = Attempt { start: at("2026-11-22T20:30:00Z"), end: at("2026-11-23T20:00:00Z"), outcome: Failed };
    assert_eq!(next_daily("2026-11-22T20:31:00Z", &[failed]), Next::At(at("2026-11-22T20:36:00Z")));
}

#[test]
fn an_hour_that_does_not_exist_or_comes_twice_runs_once() {
    let berlin = timetable("daily 02:30 in Europe/Berlin");
    // On 2026-03-29 clocks go from 02:00 to 03:00, on 2026-10-25 from 03:00 back to 02:00.
    for (from, to) in [("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z")] {
        assert_eq!(simulate(&berlin, at(from), at(to), SignedDuration::from_mins(1), |_| Succeeded).len(), 1, "{from}");
    }
}

/// Lets a clock go on in steps, with jobs that take no time and end as `outcome` says; gives them.
fn simulate(
    timetable: &Timetable,
    from: Timestamp,
    to: Timestamp,
    step: SignedDuration,
    outcome: impl Fn(usize) -> Outcome,
) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut now = from;
    while now <= to {
        if matches!(next(now, timetable, from, &attempts), Next::Due(_)) {
            attempts.push(Attempt { start: now, end: now, outcome: outcome(attempts.len()) });
        }
        now += step;
    }
    attempts
}

#[test]
fn a_month_has_a_backup_for_each_run() {
    let month = simulate(&daily(), at("2026-11-01T00:00:00Z"), at("2026-11-30T23:59:00Z"), SignedDuration::from_mins(1), |_| Succeeded);
    assert_eq!(month.len(), 30);
    assert!(month.iter().all(|attempt| attempt.start.to_string().ends_with("T20:30:00Z")));
}

#[test]
fn a_machine_that_sleeps_most_of_the_time_is_backed_up_whenever_it_wakes() {
    // Awake for a moment every 31 hours.
    let woken = simulate(&daily(), at("2026-11-01T00:00:00Z"), at("2026-11-30T23:59:00Z"), SignedDuration::from_hours(31), |_| Succeeded);
    assert_eq!(woken.len(), 23, "one at each waking but the first");
}

#[test]
fn failures_of_every_second_job_cost_no_run() {
    let outcome = |nth: usize| if nth.is_multiple_of(2) { Failed } else { Succeeded };
    let jobs = simulate(&daily(), at("2026-11-01T00:00:00Z"), at("2026-11-10T23:59:00Z"), SignedDuration::from_mins(1), outcome);
    assert_eq!(jobs.iter().filter(|job| job.outcome == Succeeded).count(), 10);
}

#[test]
fn after_each_jump_of_the_clock_there_is_at_most_one_backup_more() {
    let mut attempts = Vec::new();
    // Forward by a week, back by a day, forward by ten years, back to the truth, back by half an hour.
    for (nth, now) in [
        "2026-11-22T21:00:00Z",
        "2026-11-29T21:00:00Z",
        "2026-11-28T21:00:00Z",
        "2036-11-28T21:00:00Z",
        "2026-11-28T21:05:00Z",
        "2026-11-28T20:35:00Z",
    ]
    .into_iter()
    .enumerate()
    {
        let mut started = 0;
        while let Next::Due(_) = next(at(now), &daily(), at(LONG_AGO), &attempts) {
            attempts.push(Attempt { start: at(now), end: at(now), outcome: Succeeded });
            started += 1;
        }
        assert!(started <= 1, "{started} backups after jump {nth}");
    }
    let starts: Vec<String> = attempts.iter().map(|attempt| attempt.start.to_string()).collect();
    assert_eq!(starts, ["2026-11-22T21:00:00Z", "2026-11-29T21:00:00Z", "2026-11-28T21:00:00Z", "2036-11-28T21:00:00Z"]);
}
