//! Schedules: the two clock changes, expressions against a slow model, texts that read back what they show.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;

use super::*;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn timetable(text: &str) -> Timetable {
    schedule(text).timetable(&TimeZone::UTC)
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The first runs after a moment.
fn runs(text: &str, after: &str, count: usize) -> Vec<String> {
    let table = timetable(text);
    std::iter::successors(table.next_after(moment(after)), |run| table.next_after(*run)).take(count).map(|run| run.to_string()).collect()
}

#[test]
fn times_that_do_not_exist_run_at_the_first_moment_after_the_gap() {
    // On 2026-03-29 in Berlin 01:59:59 is followed by 03:00:00, at 01:00 UTC.
    assert_eq!(
        runs("daily 02:30 in Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // Several such times, and the first that exists again, are one run.
    assert_eq!(
        runs("daily 02:00,02:30,03:00,04:00 in Europe/Berlin", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]
    );
    // Half an hour in Lord Howe; a whole day in Samoa, which changed sides of the date line.
    assert_eq!(runs("daily 02:15 in Australia/Lord_Howe", "2026-10-03T12:00:00Z", 1), ["2026-10-03T15:30:00Z"]);
    assert_eq!(
        runs("daily 20:30 in Pacific/Apia", "2011-12-29T00:00:00Z", 4),
        ["2011-12-29T06:30:00Z", "2011-12-30T06:30:00Z", "2011-12-30T10:00:00Z", "2011-12-31T06:30:00Z"]
    );
}

#[test]
fn times_that_exist_twice_run_once_the_first_time() {
    // On 2026-10-25 in Berlin 02:59:59 is followed by 02:00:00, at 01:00 UTC.
    assert_eq!(runs("daily 02:30 in Europe/Berlin", "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    assert_eq!(
        runs("every 1h in Europe/Berlin", "2026-10-24T22:30:00Z", 4),
        ["2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"]
    );
    // In the second of the two hours the latest run is the first 02:45, whose time the clock has yet to show again.
    let table = timetable("daily 02:45 in Europe/Berlin");
    assert_eq!(table.latest_at_or_before(moment("2026-10-25T01:10:00Z")), Some(moment("2026-10-25T00:45:00Z")));
}

#[test]
fn every_kind_runs_when_it_says() {
    for (text, after, expected) in [
        ("daily 20:30", "2026-11-22T20:30:00Z", ["2026-11-23T20:30:00Z", "2026-11-24T20:30:00Z"]),
        ("daily 20:30 in America/New_York", "2026-11-22T20:30:00Z", ["2026-11-23T01:30:00Z", "2026-11-24T01:30:00Z"]),
        ("every 4h from 08:00 to 16:00", "2026-11-22T12:00:00Z", ["2026-11-22T16:00:00Z", "2026-11-23T08:00:00Z"]),
        ("every 4h from 20:00 to 04:00", "2026-11-22T00:00:01Z", ["2026-11-22T04:00:00Z", "2026-11-22T20:00:00Z"]),
        ("every 5h from 01:30", "2026-11-22T20:00:00Z", ["2026-11-22T21:30:00Z", "2026-11-23T01:30:00Z"]),
        ("weekly sat..mon 01:00", "2026-11-22T01:00:00Z", ["2026-11-23T01:00:00Z", "2026-11-28T01:00:00Z"]),
        ("calendar Mon..Fri 20:30", "2026-11-20T21:00:00Z", ["2026-11-23T20:30:00Z", "2026-11-24T20:30:00Z"]),
        ("calendar Sun *-*-1..7 03:00", "2026-11-22T00:00:00Z", ["2026-12-06T03:00:00Z", "2027-01-03T03:00:00Z"]),
        ("calendar *-02-29", "2026-01-01T00:00:00Z", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("calendar *-*~1 23:00", "2026-01-31T23:00:00Z", ["2026-02-28T23:00:00Z", "2026-03-31T23:00:00Z"]),
        ("calendar Mon *-05~7/1", "2026-01-01T00:00:00Z", ["2026-05-25T00:00:00Z", "2027-05-31T00:00:00Z"]),
        ("calendar 2027,2031-1-1 00:00:15/30", "2026-01-01T00:00:00Z", ["2027-01-01T00:00:15Z", "2027-01-01T00:00:45Z"]),
        ("calendar quarterly", "2026-11-22T00:00:00Z", ["2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z"]),
    ] {
        assert_eq!(runs(text, after, 2), expected, "{text}");
    }
}

#[test]
fn what_ends_has_no_next_run_and_what_has_not_begun_no_latest() {
    let once = timetable("calendar 2027-01-01 12:00");
    let run = moment("2027-01-01T12:00:00Z");
    assert_eq!((once.next_after(run), once.latest_at_or_before(run)), (None, Some(run)));
    assert_eq!(once.latest_at_or_before(run - SignedDuration::from_nanos(1)), None);
    let daily = timetable("daily 20:30");
    assert_eq!(daily.next_after(Timestamp::MIN), Some(moment("1970-01-01T20:30:00Z")));
    assert_eq!((daily.next_after(Timestamp::MAX), daily.latest_at_or_before(Timestamp::MIN)), (None, None));
    assert_eq!(daily.latest_at_or_before(Timestamp::MAX), Some(moment("2199-12-31T20:30:00Z")));
}

#[test]
fn texts_show_themselves_in_one_form_and_in_words() {
    for (text, shown, words) in [
        ("daily 8:00", "daily 08:00", "every day at 08:00, local time"),
        (
            "daily at 20:30, 08:15 in europe/berlin",
            "daily 08:15,20:30 in Europe/Berlin",
            "every day at 08:15 and 20:30, Europe/Berlin time",
        ),
        ("every 4h", "every 4h from 00:00", "every 4 hours of the day, counted from 00:00, local time"),
        ("every 1h from 8:00 to 18:00", "every 1h from 08:00 to 18:00", "every hour from 08:00 to 18:00, local time"),
        ("weekly on Thursday,mon at 20:30", "weekly mon,thu 20:30", "every Monday and Thursday at 20:30, local time"),
        ("weekly mon..sun 20:30", "weekly mon..sun 20:30", "every day at 20:30, local time"),
        ("calendar mon..fri 20:30", "calendar Mon..Fri *-*-* 20:30", "whenever it is Mon..Fri *-*-* 20:30, local time"),
        ("calendar *-2~3 *:0/15", "calendar *-02~03 *:00,15,30,45", "whenever it is *-02~03 *:00,15,30,45, local time"),
    ] {
        let read = schedule(text);
        assert_eq!((read.to_string().as_str(), read.describe().as_str()), (shown, words), "{text}");
        assert_eq!(schedule(shown), read);
    }
}

#[test]
fn nonsense_is_refused_with_what_is_wrong() {
    for (text, why) in [
        ("", "no kind of schedule"),
        ("hourly", "no kind of schedule"),
        ("daily", "names no time"),
        ("daily 25:00", "no time of a day"),
        ("daily 20:30:61", "no time of a day"),
        ("daily +1:30", "no time of a day"),
        ("daily 20:30 in Mars/Olympus", "no time zone is called \"Mars/Olympus\""),
        ("daily 20:30 in ", "no time zone"),
        ("daily 20:30 in ../../etc/passwd", "no time zone"),
        ("every 0h", "1h to 23h"),
        ("every 24h", "1h to 23h"),
        ("every 90m", "1h to 23h"),
        ("every 4h from 08:00 to 10:00", "shorter than 4 hours"),
        ("every 4h from 08:00 to 08:00", "shorter than 4 hours"),
        ("weekly mon", "days and a time"),
        ("weekly someday 20:30", "no weekday"),
        ("calendar ", "empty"),
        ("calendar Mon Tue", "not a day"),
        ("calendar *-13-01", "not a month"),
        ("calendar *-*-0", "not a day"),
        ("calendar 1969-1-1", "not a year"),
        ("calendar *-*-7..3", "ends before it begins"),
        ("calendar *:0/0", "not a step"),
        ("calendar *-*-* 1:2:3:4", "no time"),
        ("calendar *-*-* 20:30 x", "one part too many"),
        ("calendar *-02-30", "nothing would ever run"),
        ("calendar Tue 2027-01-01", "nothing would ever run"),
        ("calendar *-04~31", "nothing would ever run"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!("daily ".repeat(1000).parse::<Schedule>().is_err());
}

/// A schedule's text of any kind, in zones with and without changes of the clock.
fn any_schedule() -> impl Strategy<Value = String> {
    let time = (0..24_u32, 0..60_u32).prop_map(|(hour, minute)| format!("{hour:02}:{minute:02}"));
    let days = proptest::sample::subsequence(vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"], 1..=7).prop_map(|days| days.join(","));
    let kinds = prop_oneof![
        proptest::collection::vec(time.clone(), 1..4).prop_map(|times| format!("daily {}", times.join(","))),
        (1..24_u32, time.clone()).prop_map(|(hours, from)| format!("every {hours}h from {from}")),
        (days.clone(), time.clone()).prop_map(|(days, time)| format!("weekly {days} {time}")),
        (days, 1..29_u32, 1..4_u32, time).prop_map(|(days, day, step, time)| format!("calendar {days} *-*-{day}/{step} {time}")),
        (1..7_u32, 0..24_u32).prop_map(|(day, hour)| format!("calendar *-*~{day}/2 {hour}:0/20")),
    ];
    let zones = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"];
    (kinds, proptest::sample::select(zones.to_vec())).prop_map(|(kind, zone)| format!("{kind} in {zone}"))
}

/// Moments around changes of the clock, and others.
fn any_moment() -> impl Strategy<Value = Timestamp> {
    let changes = ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-11-01T04:30:00Z", "2011-12-30T10:00:00Z", "2026-04-04T15:00:00Z"];
    let near = proptest::sample::select(changes.to_vec()).prop_map(|text| moment(text).as_second());
    (prop_oneof![near, 0..4_000_000_000_i64], -100_000..100_000_i64)
        .prop_map(|(second, more)| Timestamp::from_second((second + more).max(0)).unwrap())
}

proptest! {
    #[test]
    fn the_run_after_and_the_latest_before_agree(text in any_schedule(), at in any_moment()) {
        let table = timetable(&text);
        let next = table.next_after(at).unwrap();
        prop_assert!(next > at);
        prop_assert_eq!(table.latest_at_or_before(next), Some(next));
        // Nothing runs between the latest run and the next one.
        if let Some(latest) = table.latest_at_or_before(at) {
            prop_assert!(latest <= at);
            prop_assert_eq!(table.next_after(latest), Some(next));
        }
    }

    #[test]
    fn texts_read_back_what_they_show(text in any_schedule()) {
        let read = schedule(&text);
        prop_assert_eq!(schedule(&read.to_string()), read);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(daily|every|weekly|calendar|calendar mon)[ 0-9a-z:,./*~-]{0,30}") {
        if let Ok(read) = text.parse::<Schedule>() {
            prop_assert_eq!(schedule(&read.to_string()), read);
        }
    }
}

proptest! {
    // Each case walks over some ten thousand minutes.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn runs_are_those_of_a_minute_by_minute_walk(text in any_schedule(), at in any_moment()) {
        let (read, table) = (schedule(&text), timetable(&text));
        let day = table.zone().to_datetime(at).date();
        let end = at.checked_add(SignedDuration::from_hours(30)).unwrap();
        let mut expected: Vec<Timestamp> = (-2..4_i64)
            .filter_map(|more| day.checked_add(more.days()).ok())
            .flat_map(|day| wall_runs(&read.rule, day))
            .map(|wall| walk(table.zone(), wall))
            .filter(|run| *run > at && *run <= end)
            .collect();
        expected.sort_unstable();
        expected.dedup();
        let found: Vec<Timestamp> = std::iter::successors(table.next_after(at), |run| table.next_after(*run)).take_while(|run| *run <= end).collect();
        prop_assert_eq!(found, expected);
    }
}

/// The runs of a day on the wall clock, minute by minute.
fn wall_runs(rule: &Rule, day: Date) -> Vec<DateTime> {
    let minutes = (0..24 * 60_u32).map(|minute| TimeOfDay::from_seconds(minute * 60));
    let fits = |time: TimeOfDay| match rule {
        Rule::Daily(times) => times.contains(&time),
        Rule::Weekly(days, times) => days.contains(day.weekday()) && times.contains(&time),
        Rule::Hours { every, from, to: None } => {
            ((time.seconds() + DAY_SECONDS - from.seconds()) % DAY_SECONDS).is_multiple_of(u32::from(*every) * 3600)
        }
        Rule::Hours { .. } => panic!("no window is drawn"),
        Rule::Calendar(calendar) => {
            let number = |number: i8| u8::try_from(number).unwrap();
            let in_month = match calendar.days {
                calendar::MonthDays::FromStart(days) => days.contains(number(day.day())),
                calendar::MonthDays::FromEnd(days) => days.contains(number(day.days_in_month() - day.day() + 1)),
            };
            let (hour, minute) = (u8::try_from(time.seconds() / 3600).unwrap(), u8::try_from(time.seconds() / 60 % 60).unwrap());
            in_month
                && Weekdays(calendar.weekdays).contains(day.weekday())
                && calendar.hours.contains(hour)
                && calendar.minutes.contains(minute)
        }
    };
    let minutes = minutes.filter(|time| fits(*time));
    minutes.map(|time| day.to_datetime(jiff::civil::Time::midnight()).checked_add(i64::from(time.seconds()).seconds()).unwrap()).collect()
}

/// The first moment at which the wall clock shows this time or a later one, found by walking quarter by quarter over the hours around it.
fn walk(zone: &TimeZone, wall: DateTime) -> Timestamp {
    let begin = TimeZone::UTC.to_timestamp(wall).unwrap().as_second() - 30 * 3600;
    let moments = (0..60 * 60 + 60).map(|minute| Timestamp::from_second(begin + minute * 60).unwrap());
    moments.into_iter().find(|at| zone.to_datetime(*at) >= wall).unwrap()
}
