//! A table of names and what they mean, and what errors say.

use jiff::tz::TimeZone;

use super::PointName;
use crate::catalogue::CatalogueError;
use crate::catalogue::points::{Listing, PointSummary};
use crate::catalogue::testkit::manifest;
use crate::units::PointId;

fn point(machine: &str, id: &str, time: &str) -> PointSummary {
    let mut manifest = manifest(machine, 1);
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(id.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
    }
    (manifest.point, manifest.time) = (PointId(bytes), time.parse().expect("a time"));
    PointSummary { manifest, hash: [0; 32], state: None }
}

/// Points of three machines, in the order in which listings have them.
fn listing() -> Listing {
    let points = vec![
        point("db01", "db01aa", "2026-11-20T08:00:00Z"),
        point("db02", "ffff01", "2026-11-20T08:00:00Z"),
        point("web01", "aaaa01", "2026-11-19T23:30:00Z"),
        point("web01", "aaaa02", "2026-11-20T12:00:00Z"),
        point("web01", "aaab03", "2026-11-20T23:30:00Z"),
        point("web01", "bbbb04", "2026-11-21T12:00:00Z"),
        point("web01", "bbbb05", "2026-11-22T20:30:00Z"),
        point("web01", "cccc06", "2026-11-22T20:30:07Z"),
        point("web01", "cccc07", "2026-11-22T20:30:07Z"),
        point("web01", "dddd08", "2026-11-23T00:10:00Z"),
    ];
    let deleted = vec![point("old01", "eeee09", "2026-01-01T00:00:00Z")];
    Listing { points, deleted, pending: vec![point("web01", "9999aa", "2026-12-01T00:00:00Z")], ..Listing::default() }
}

fn resolve(name: &str, zone: &TimeZone) -> Result<String, CatalogueError> {
    let listing = listing();
    let point = name.parse::<PointName>()?.resolve(&listing, zone)?;
    Ok(point.point().to_string()[..6].to_owned())
}

fn berlin() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(1))
}

#[test]
fn names_mean_points() {
    for (name, id) in [
        ("web01@2026-11-22T20:30:00Z", "bbbb05"),
        ("web01@2026-11-22T21:30:00+01:00", "bbbb05"),
        ("web01@2026-11-22T20:30:00", "bbbb05"),
        ("web01@2026-11-22T20:30:00.000Z", "bbbb05"),
        ("web01@2026-11-21T", "bbbb04"),
        ("web01@2026-11-20T12:0", "aaaa02"),
        ("web01@2026-11-19T2", "aaaa01"),
        ("web01@latest", "dddd08"),
        ("web01@latest~0", "dddd08"),
        ("web01@latest~1", "cccc07"),
        ("web01@latest~7", "aaaa01"),
        ("db01@2026", "db01aa"),
        ("db01@latest", "db01aa"),
        ("dddd", "dddd08"),
        ("DDDD0", "dddd08"),
        ("aaaa02", "aaaa02"),
        ("db01a", "db01aa"),
        ("cccc0700000000000000000000000000", "cccc07"),
        // Only by their whole ids: in soft delete, and pending.
        ("eeee0900000000000000000000000000", "eeee09"),
        ("9999aa00000000000000000000000000", "9999aa"),
    ] {
        assert_eq!(resolve(name, &TimeZone::UTC).map_err(|error| error.to_string()), Ok(id.to_owned()), "{name}");
    }
}

/// A day is the user's day: half past eleven in the night, UTC, is tomorrow in Berlin.
#[test]
fn a_day_is_of_the_zone_given() {
    for (name, utc, local) in [
        ("web01@2026-11-19", Some("aaaa01"), None),
        ("web01@2026-11-20", Some("aaab03"), Some("aaaa02")),
        ("web01@2026-11-21", Some("bbbb04"), Some("bbbb04")),
        ("web01@2026-11-23", Some("dddd08"), Some("dddd08")),
    ] {
        assert_eq!(resolve(name, &TimeZone::UTC).ok().as_deref(), utc, "{name} in UTC");
        assert_eq!(resolve(name, &berlin()).ok().as_deref(), local, "{name} in Berlin");
    }
}

#[test]
fn other_texts_are_no_names() {
    for text in [
        "",
        "@",
        "web01",
        "web01@",
        "web01@lates",
        "web01@latest~",
        "web01@latest~x",
        "web01@latest~-1",
        "web01@latest~+1",
        "web01@latest~99999999999999999999",
        "web01@yesterday",
        "web01@202",
        "web01@2026-13-01",
        "web01@2026-11-22 20:30",
        "web 01@latest",
        "../x@latest",
        "@latest",
        "web01@latest@latest",
        "aaa",
        "aaaag",
        "aaaa0200000000000000000000000000ff",
        "\u{1b}[31m",
    ] {
        let error = text.parse::<PointName>().and_then(|name| name.resolve(&listing(), &TimeZone::UTC).map(|_| name.clone()));
        let error = error.expect_err(text).to_string();
        assert!(!error.contains(|character: char| character.is_control() && character != '\n'), "{error:?}");
    }
}

/// What an error says of a name.
fn says(name: &str) -> String {
    resolve(name, &TimeZone::UTC).expect_err(name).to_string()
}

#[test]
fn errors_say_what_may_be_meant() {
    insta::assert_snapshot!(says("web01@yesterday"), @"\"web01@yesterday\" does not name a recovery point: \"yesterday\" is no time; name one like web01@latest, web01@latest~2, web01@2026-11-22T20:30:00Z, web01@2026-11-22, or by the first digits of its id");
    insta::assert_snapshot!(says("web01"), @"\"web01\" does not name a recovery point: it has no '@', and it is not the start of an id; name one like web01@latest, web01@latest~2, web01@2026-11-22T20:30:00Z, web01@2026-11-22, or by the first digits of its id");
    insta::assert_snapshot!(says("we b@latest"), @"\"we b@latest\" does not name a recovery point: \"we b\" cannot be a name: it has a character that names cannot have; use letters, digits, '.', '_' and '-', starting with a letter or a digit, 64 at most; name one like web01@latest, web01@latest~2, web01@2026-11-22T20:30:00Z, web01@2026-11-22, or by the first digits of its id");
    insta::assert_snapshot!(says("web02@latest"), @r#"
there is no recovery point "web02@latest": the vault has no recovery point of this machine. Perhaps:
  web01@latest
  db01@latest
  db02@latest
"#);
    insta::assert_snapshot!(says("old01@latest"), @r#"
there is no recovery point "old01@latest": the vault has no recovery point of this machine. Perhaps:
  db01@latest
  db02@latest
  web01@latest
"#);
    insta::assert_snapshot!(says("web01@latest~8"), @r#"
there is no recovery point "web01@latest~8": the machine does not have so many. Perhaps:
  web01@2026-11-19T23:30:00Z  aaaa0100000000000000000000000000
  web01@2026-11-20T12:00:00Z  aaaa0200000000000000000000000000
  web01@2026-11-20T23:30:00Z  aaab0300000000000000000000000000
  web01@2026-11-21T12:00:00Z  bbbb0400000000000000000000000000
  web01@2026-11-22T20:30:00Z  bbbb0500000000000000000000000000
"#);
    insta::assert_snapshot!(says("web01@2026-11-22T20:30:01Z"), @r#"
there is no recovery point "web01@2026-11-22T20:30:01Z": the machine has none of that time. Perhaps:
  web01@2026-11-21T12:00:00Z  bbbb0400000000000000000000000000
  web01@2026-11-22T20:30:00Z  bbbb0500000000000000000000000000
  web01@2026-11-22T20:30:07Z  cccc0600000000000000000000000000
  web01@2026-11-22T20:30:07Z  cccc0700000000000000000000000000
  web01@2026-11-23T00:10:00Z  dddd0800000000000000000000000000
"#);
    insta::assert_snapshot!(says("web01@2025-01-01"), @r#"
there is no recovery point "web01@2025-01-01": the machine has none of that day. Perhaps:
  web01@2026-11-19T23:30:00Z  aaaa0100000000000000000000000000
  web01@2026-11-20T12:00:00Z  aaaa0200000000000000000000000000
  web01@2026-11-20T23:30:00Z  aaab0300000000000000000000000000
  web01@2026-11-21T12:00:00Z  bbbb0400000000000000000000000000
  web01@2026-11-22T20:30:00Z  bbbb0500000000000000000000000000
"#);
    insta::assert_snapshot!(says("web01@2026-11-22T20:30:07Z"), @r#"
"web01@2026-11-22T20:30:07Z" may mean several recovery points; say which, by its whole id or name:
  web01@2026-11-22T20:30:07Z  cccc0600000000000000000000000000
  web01@2026-11-22T20:30:07Z  cccc0700000000000000000000000000
"#);
    insta::assert_snapshot!(says("web01@2026-1"), @r#"
"web01@2026-1" may mean several recovery points; say which, by its whole id or name:
  web01@2026-11-19T23:30:00Z  aaaa0100000000000000000000000000
  web01@2026-11-20T12:00:00Z  aaaa0200000000000000000000000000
  web01@2026-11-20T23:30:00Z  aaab0300000000000000000000000000
  web01@2026-11-21T12:00:00Z  bbbb0400000000000000000000000000
  web01@2026-11-22T20:30:00Z  bbbb0500000000000000000000000000
"#);
    insta::assert_snapshot!(says("db01"), @r#"
"db01" may mean several recovery points; say which, by its whole id or name:
  db01@latest
  db01@2026-11-20T08:00:00Z  db01aa00000000000000000000000000
"#);
    insta::assert_snapshot!(says("bbbb"), @r#"
"bbbb" may mean several recovery points; say which, by its whole id or name:
  web01@2026-11-21T12:00:00Z  bbbb0400000000000000000000000000
  web01@2026-11-22T20:30:00Z  bbbb0500000000000000000000000000
"#);
    insta::assert_snapshot!(says("1234"), @"there is no recovery point \"1234\": no recovery point's id starts so; `cairn points --all` shows those that are there");
    insta::assert_snapshot!(says("eeee"), @"there is no recovery point \"eeee\": no recovery point's id starts so; `cairn points --all` shows those that are there");
}

/// A machine may be called like the start of an id: its name alone means neither.
#[test]
fn a_machine_that_looks_like_an_id_is_told_of() {
    let listing = Listing { points: vec![point("cafe", "123456", "2026-11-20T08:00:00Z")], ..Listing::default() };
    let name: PointName = "cafe".parse().expect("the start of an id");
    insta::assert_snapshot!(name.resolve(&listing, &TimeZone::UTC).expect_err("a machine"), @r#"
there is no recovery point "cafe": it is a machine. Perhaps:
  cafe@latest
"#);
}

#[test]
fn an_empty_vault_has_no_point() {
    let name: PointName = "web01@latest".parse().expect("a name");
    insta::assert_snapshot!(name.resolve(&Listing::default(), &TimeZone::UTC).expect_err("no point"), @"there is no recovery point \"web01@latest\": the vault has no recovery point of this machine; `cairn points --all` shows those that are there");
}
