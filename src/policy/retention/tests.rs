//! Retention: tables of what stays and why, texts, contradictions, and what holds for all rules and points.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::units::PointId;

fn retention(text: &str) -> Retention {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A point of each time, in this order.
fn points(times: &[&str]) -> Vec<Candidate> {
    (1..).zip(times).map(|(sequence, time)| candidate(sequence, moment(time))).collect()
}

fn candidate(sequence: u64, time: Timestamp) -> Candidate {
    let point = PointId(u128::from(sequence).to_be_bytes());
    Candidate { point, sequence, time, pinned: false, retain_until: None, immutable_until: None }
}

/// Each kept point as "day: reasons", newest first.
fn kept(text: &str, candidates: &[Candidate], now: &str) -> Vec<String> {
    let decisions = decide(&retention(text), candidates, &TimeZone::UTC, moment(now));
    let kept = decisions.iter().filter(|decision| decision.is_kept());
    kept.map(|decision| {
        let reasons: Vec<String> = decision.reasons.iter().map(|reason| reason.why.to_string()).collect();
        format!("{}: {}", decision.time.strftime("%m-%dT%H"), reasons.join(", "))
    })
    .collect()
}

#[test]
fn periods_keep_their_last_point_and_say_which_it_is() {
    let all =
        points(&["2026-11-20T08:00:00Z", "2026-11-20T20:00:00Z", "2026-11-22T08:00:00Z", "2026-11-22T20:00:00Z", "2026-11-24T20:00:00Z"]);
    let now = "2026-11-25T00:00:00Z";
    assert_eq!(kept("daily 2", &all, now), ["11-24T20: newest of its machine, daily 1 of 2", "11-22T20: daily 2 of 2"]);
    assert_eq!(
        kept("last 2 + daily 3", &all, now),
        ["11-24T20: newest of its machine, last 1 of 2, daily 1 of 3", "11-22T20: last 2 of 2, daily 2 of 3", "11-20T20: daily 3 of 3"]
    );
    // The week of Monday the 23rd, and the one before.
    assert_eq!(kept("weekly 9", &all, now), ["11-24T20: newest of its machine, weekly 1 of 9", "11-22T20: weekly 2 of 9"]);
    assert_eq!(
        kept("hourly 1 + yearly 1 + monthly 1", &all, now),
        ["11-24T20: newest of its machine, hourly 1 of 1, monthly 1 of 1, yearly 1 of 1"]
    );
    assert_eq!(
        kept("for 3 days", &all, now),
        ["11-24T20: newest of its machine, for 3 days", "11-22T20: for 3 days", "11-22T08: for 3 days"]
    );
    assert_eq!(kept("forever", &all, now).len(), 5);
}

#[test]
fn selected_days_are_stood_in_for_by_the_next_day_with_points() {
    let all = points(&[
        "2026-08-30T20:00:00Z", // Stands in for the first Sunday of August, there being none in between.
        "2026-09-06T08:00:00Z", // The first Sunday,
        "2026-09-06T20:00:00Z", // whose last point counts.
        "2026-09-13T20:00:00Z",
        "2026-10-03T20:00:00Z", // Before the first Sunday, the 4th: stands in for nothing.
        "2026-10-05T08:00:00Z",
        "2026-10-05T20:00:00Z", // The Monday after stands in.
        "2026-10-06T20:00:00Z",
    ]);
    let now = "2026-10-07T00:00:00Z";
    assert_eq!(
        kept("monthly 12 on first sun", &all, now),
        ["10-06T20: newest of its machine", "10-05T20: monthly 1 of 12", "09-06T20: monthly 2 of 12", "08-30T20: monthly 3 of 12"]
    );
    assert_eq!(kept("weekly 1 on tue,mon", &all, now), ["10-06T20: newest of its machine, weekly 1 of 1", "10-05T20: weekly 1 of 1"]);
    assert_eq!(
        kept("yearly 1 on day 13,last of sep", &all, now),
        ["10-06T20: newest of its machine", "10-03T20: yearly 1 of 1", "09-13T20: yearly 1 of 1"],
        "the last of September is stood in for by the 3rd of October, within the year"
    );
    assert_eq!(kept("monthly 2 on last day", &all, now), ["10-06T20: newest of its machine"]);
}

#[test]
fn the_fourth_week_is_not_always_the_last() {
    let days = |text: &str| match retention(text).rules() {
        [Keep::Monthly(_, Some(days))] => (1..=31_i8).filter(|day| days.contains(jiff::civil::date(2026, 8, *day))).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    // August 2026 begins on a Saturday and has five Saturdays, Sundays and Mondays.
    assert_eq!(days("monthly 1 on fourth,last sun"), [23, 30]);
    assert_eq!(days("monthly 1 on fourth,last tue"), [25]);
    assert_eq!(days("monthly 1 on second,third mon,sat"), [8, 10, 15, 17]);
    assert_eq!(days("monthly 1 on day 31,1,last"), [1, 31]);
}

#[test]
fn each_reason_says_how_long_it_holds() {
    let mut all = points(&["2026-09-30T20:00:00Z", "2026-11-23T20:00:00Z", "2026-11-24T20:00:00Z"]);
    all[1].pinned = true;
    all[0].retain_until = Some(moment("2026-12-24T00:00:00Z"));
    all[0].immutable_until = Some(moment("2026-11-25T00:00:00Z"));
    let decisions = decide(&retention("last 3 + daily 2 + monthly 12 + for 30 days"), &all, &TimeZone::UTC, moment("2026-11-25T00:00:00Z"));
    let reasons = |index: usize| decisions[index].reasons.iter().map(|reason| (reason.why.to_string(), reason.until)).collect::<Vec<_>>();
    let at = |text: &str| Until::Time(moment(text));
    assert_eq!(
        reasons(0),
        [
            ("newest of its machine".to_owned(), Until::NewerPoints(1)),
            ("last 1 of 3".to_owned(), Until::NewerPoints(3)),
            ("for 30 days".to_owned(), at("2026-12-24T20:00:00Z")),
            ("daily 1 of 2".to_owned(), at("2026-11-26T00:00:00Z")),
            // November is not over: the next point takes its place.
            ("monthly 1 of 12".to_owned(), Until::NewerPoints(1)),
        ]
    );
    assert_eq!(reasons(1)[0], ("pinned".to_owned(), Until::Changed));
    assert_eq!(reasons(1)[3], ("daily 2 of 2".to_owned(), at("2026-11-25T00:00:00Z")));
    assert_eq!(
        reasons(2),
        [
            ("its own date".to_owned(), at("2026-12-24T00:00:00Z")),
            ("last 3 of 3".to_owned(), Until::NewerPoints(1)),
            ("monthly 2 of 12".to_owned(), at("2027-10-01T00:00:00Z")),
        ],
        "immutability has ended just now"
    );
    let until: Vec<Option<Until>> = decisions.iter().map(Decision::until).collect();
    assert_eq!(until, [Some(at("2026-12-24T20:00:00Z")), Some(Until::Changed), Some(at("2027-10-01T00:00:00Z"))]);
}

#[test]
fn where_a_clock_was_wrong_the_last_made_point_stays_too() {
    let all = points(&["2026-11-20T20:00:00Z", "2099-01-01T00:00:00Z", "2026-11-24T20:00:00Z"]);
    let found = kept("last 1", &all, "2026-11-25T00:00:00Z");
    assert_eq!(found, ["01-01T00: newest of its machine, last 1 of 1", "11-24T20: newest of its machine"]);
}

#[test]
fn an_hour_that_exists_twice_is_two_hours_and_days_are_those_of_the_zone() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let all =
        points(&["2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z", "2026-10-25T22:30:00Z", "2026-10-25T23:30:00Z"]);
    let kept = |text: &str| {
        let decisions = decide(&retention(text), &all, &zone, moment("2026-10-26T12:00:00Z"));
        decisions
            .iter()
            .filter(|decision| decision.is_kept())
            .map(|decision| decision.time.strftime("%dT%H:%M").to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(kept("hourly 9"), ["25T23:30", "25T22:30", "25T01:10", "25T00:50"]);
    assert_eq!(kept("daily 9"), ["25T23:30", "25T22:30"], "half past eleven in the evening there, and half past midnight");
}

#[test]
fn texts_show_themselves_in_one_form_and_in_words() {
    for (text, shown, words) in [
        ("for 180 days", "for 180 days", "every point for 180 days"),
        ("forever", "forever", "every point"),
        ("daily 7+last 1", "last 1 + daily 7", "the newest point; the last point of each of the newest 7 days with points"),
        ("weekly 4 on sun,wed", "weekly 4 on wed,sun", "the points of each Wednesday and Sunday, for 4 weeks"),
        (
            "monthly 1 on last,first sat..sun",
            "monthly 1 on first,last sat,sun",
            "the points of the first,last sat,sun of each month, for 1 month",
        ),
        ("monthly 12 on day last,1", "monthly 12 on day 1,last", "the points of the day 1,last of each month, for 12 months"),
        ("yearly 7 on last day of dec", "yearly 7 on last day of dec", "the points of the last day of dec of each year, for 7 years"),
        ("hourly 24 + weekly 2 + monthly 3 + yearly 1", "hourly 24 + weekly 2 + monthly 3 + yearly 1", ""),
    ] {
        let read = retention(text);
        assert_eq!(read.to_string(), shown, "{text}");
        assert!(words.is_empty() || read.describe() == words, "{}", read.describe());
        assert_eq!(retention(shown), read);
    }
}

#[test]
fn empty_and_contradictory_retention_is_refused() {
    for (text, why) in [
        ("", "keep nothing"),
        (" ", "keep nothing"),
        ("daily 7 + ", "no rule"),
        ("daily 0", "no count"),
        ("daily -1", "no count"),
        ("daily +1", "no rule"),
        ("daily 10000", "no count"),
        ("daily 7 + daily 8", "different things"),
        ("weekly 4 on sun + weekly 5 on sun", "different things"),
        ("forever + last 3", "nothing can stand beside it"),
        ("weekly 4 on someday", "no weekday"),
        ("monthly 4 on fifth sun", "no week of a month"),
        ("monthly 4 on day 0", "no day of a month"),
        ("monthly 4 on day 32", "no day of a month"),
        ("monthly 4 on sun", "selects no days"),
        ("yearly 7 on first sun", "names no month"),
        ("yearly 7 on day 30 of feb", "no year has"),
        ("yearly 7 on first sun of june", "no month"),
        ("hourly 5 on sun", "no rule"),
    ] {
        let error = text.parse::<Retention>().unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!(retention("weekly 4 on sun + weekly 9 + daily 4 + daily 4").rules().len() == 3, "the same twice is the same");
}

#[test]
fn schedule_and_retention_must_meet() {
    let check = |schedule: &str, keep: &str| Policy { schedule: Some(schedule.parse().unwrap()), retention: retention(keep) }.check();
    for (schedule, keep) in [
        ("weekly mon,tue 20:30", "weekly 4 on sun"),
        ("weekly mon 20:30", "monthly 4 on first tue"),
        ("calendar *-*-1 20:30", "monthly 4 on day 2,last"),
        ("calendar *-1..6-* 20:30", "daily 3 + yearly 4 on last day of dec"),
    ] {
        assert!(matches!(check(schedule, keep), Err(PolicyError::NeverMeets { .. })), "{schedule} {keep}");
    }
    for (schedule, keep) in [
        ("weekly mon,tue 20:30", "weekly 4 on sun,mon"),
        ("weekly mon 20:30", "yearly 4 on day 29 of feb"),
        ("calendar *-*-1 20:30", "monthly 4 on first tue"),
        ("every 4h", "hourly 9"),
    ] {
        assert_eq!(check(schedule, keep), Ok(()), "{schedule} {keep}");
    }
    assert_eq!(Policy { schedule: None, retention: retention("weekly 4 on sun") }.check(), Ok(()));
    assert_eq!(Policy::default().check(), Ok(()));
    assert_eq!(Policy::default().schedule.unwrap().to_string(), "daily 20:30");
    assert_eq!(Policy::default().retention.to_string(), "for 180 days");
}

#[test]
fn what_shortens_retention_is_seen() {
    let covers = |longer: &str, shorter: &str| retention(longer).covers(&retention(shorter));
    assert!(covers("forever", "daily 7 + for 9999 days") && covers("daily 8 + last 1", "daily 7") && covers("for 30 days", "for 30 days"));
    assert!(
        !covers("daily 7", "forever")
            && !covers("daily 7", "daily 8")
            && !covers("weekly 9", "weekly 4 on sun")
            && !covers("daily 99", "last 1")
    );
}

#[test]
fn simulation_holds_what_the_rules_say_after_years() {
    let policy = Policy {
        schedule: Some("daily 20:30 in Europe/Berlin".parse().unwrap()),
        retention: retention("daily 7 + weekly 4 on sun + monthly 12"),
    };
    let (from, until) = (moment("2026-01-01T00:00:00Z"), moment("2028-01-01T00:00:00Z"));
    let found = simulate(&policy, &TimeZone::UTC, from, until).unwrap();
    // 7 days to Friday the 31st, among them the last Sunday; 3 more Sundays; 11 more ends of months.
    assert_eq!((found.runs, found.held.len(), found.most, found.months.len()), (730, 21, 22, 24));
    assert_eq!(found.months.first(), Some(&(jiff::civil::date(2026, 1, 1), 10)));
    let oldest = found.held.last().unwrap();
    assert_eq!((oldest.time, oldest.reasons[0].why.to_string()), (moment("2027-01-31T19:30:00Z"), "monthly 12 of 12".to_owned()));
    let none = Policy { schedule: None, ..policy.clone() };
    assert_eq!(simulate(&none, &TimeZone::UTC, from, until), Err(PolicyError::NoSchedule));
    let often = Policy { schedule: Some("calendar minutely".parse().unwrap()), retention: retention("last 1") };
    assert!(matches!(simulate(&often, &TimeZone::UTC, from, until), Err(PolicyError::TooManyRuns { .. })));
}

fn any_rule() -> impl Strategy<Value = String> {
    let days = proptest::sample::select(vec!["sun", "mon,thu", "sat,sun"]);
    let selected = prop_oneof![
        (proptest::sample::select(vec!["first", "second,last", "fourth"]), days.clone())
            .prop_map(|(weeks, days)| format!("{weeks} {days}")),
        proptest::sample::select(vec!["day 1,15", "last day", "day 31,last"]).prop_map(str::to_owned),
    ];
    let plain = proptest::sample::select(vec!["last", "hourly", "daily", "weekly", "monthly", "yearly"]);
    prop_oneof![
        3 => (plain, 1..9_u16).prop_map(|(word, count)| format!("{word} {count}")),
        1 => (1..90_u16).prop_map(|days| format!("for {days} days")),
        1 => (1..9_u16, days).prop_map(|(count, days)| format!("weekly {count} on {days}")),
        1 => (1..9_u16, selected.clone()).prop_map(|(count, days)| format!("monthly {count} on {days}")),
        1 => (1..4_u16, selected).prop_map(|(count, days)| format!("yearly {count} on {days} of jan,jun,dec")),
    ]
}

/// One to four rules of different kinds.
fn any_retention() -> impl Strategy<Value = Retention> {
    let rules = proptest::collection::vec(any_rule(), 1..5);
    rules.prop_filter_map("rules that contradict each other", |rules| rules.join(" + ").parse().ok())
}

/// Points of up to three years, some at the same time, some pinned.
fn any_points() -> impl Strategy<Value = Vec<Candidate>> {
    let point = (0..3 * 365 * 24 * 4_i64, any::<bool>(), 0..20_u8);
    proptest::collection::vec(point, 0..80).prop_map(|points| {
        let begin = moment("2024-01-01T00:00:00Z");
        let numbered = (1..).zip(points);
        numbered
            .map(|(sequence, (quarter, _, pin))| Candidate {
                pinned: pin == 0,
                ..candidate(sequence, begin + SignedDuration::from_mins(quarter * 15))
            })
            .collect()
    })
}

fn kept_ids(decisions: &[Decision]) -> std::collections::BTreeSet<PointId> {
    decisions.iter().filter(|decision| decision.is_kept()).map(|decision| decision.point).collect()
}

proptest! {
    #[test]
    fn retention_is_sound(keep in any_retention(), more in any_retention(), all in any_points(), turn in any::<proptest::sample::Index>(), zone in 0..2_usize) {
        let zone = TimeZone::get(["UTC", "America/St_Johns"][zone]).unwrap();
        let now = moment("2027-01-01T00:00:00Z");
        let decisions = decide(&keep, &all, &zone, now);
        let kept = kept_ids(&decisions);
        prop_assert_eq!(decisions.len(), all.len());

        // The newest stays, as does whatever is pinned.
        if let Some(newest) = all.iter().max_by_key(|point| (point.time, point.sequence)) {
            prop_assert!(kept.contains(&newest.point));
        }
        prop_assert!(all.iter().filter(|point| point.pinned).all(|point| kept.contains(&point.point)));

        // The order in which points come does not matter.
        let mut turned = all.clone();
        if !turned.is_empty() {
            turned.rotate_left(turn.index(all.len()));
            turned.reverse();
        }
        prop_assert_eq!(&decide(&keep, &turned, &zone, now), &decisions);

        // What stays stays: pruning again finds nothing.
        let left: Vec<Candidate> = all.iter().filter(|point| kept.contains(&point.point)).copied().collect();
        prop_assert_eq!(kept_ids(&decide(&keep, &left, &zone, now)), kept.clone());

        // More rules and larger counts keep at least as much.
        let larger = Retention::new(keep.rules().iter().map(|rule| rule.with_count(rule.count().unwrap_or(1) + 1)).collect()).unwrap();
        prop_assert!(larger.covers(&keep) && !keep.covers(&larger));
        prop_assert!(kept_ids(&decide(&larger, &all, &zone, now)).is_superset(&kept));
        if let Ok(both) = Retention::new(keep.rules().iter().chain(more.rules()).copied().collect()) {
            prop_assert!(both.covers(&keep) && both.covers(&more));
            prop_assert!(kept_ids(&decide(&both, &all, &zone, now)).is_superset(&kept));
        }
        prop_assert_eq!(keep.to_string().parse::<Retention>(), Ok(keep));
    }

    #[test]
    fn later_prunings_keep_what_one_pruning_would(keep in any_retention(), all in any_points()) {
        // Pruning after each point, as a policy lives, leaves what a single pruning of all the points leaves, or more.
        let zone = TimeZone::UTC;
        let mut sorted = all;
        sorted.sort_by_key(|point| (point.time, point.sequence));
        (1..).zip(&mut sorted).for_each(|(sequence, point)| point.sequence = sequence);
        let now = moment("2027-01-01T00:00:00Z");
        let mut living: Vec<Candidate> = Vec::new();
        for point in &sorted {
            living.push(*point);
            let kept = kept_ids(&decide(&keep, &living, &zone, point.time));
            living.retain(|point| kept.contains(&point.point));
        }
        let at_once = kept_ids(&decide(&keep, &sorted, &zone, now));
        prop_assert!(kept_ids(&decide(&keep, &living, &zone, now)).is_superset(&at_once));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(last|for|daily|weekly|monthly|yearly)[ 0-9a-z+,.]{0,40}") {
        if let Ok(read) = text.parse::<Retention>() {
            prop_assert_eq!(read.to_string().parse::<Retention>(), Ok(read));
        }
    }
}
