//! Filters, names, and what this computer remembers.

use std::fs;

use super::*;
use crate::backend::Backend;
use crate::jobs::testkit::{Collecting, Kit, noise};
use crate::monitor::Silent;

fn kit() -> Kit {
    let kit = Kit::new();
    let bytes = noise(1, 4);
    let disks: &[(&str, &[u8])] = &[("vda", &bytes)];
    kit.backup_as("web01", "2026-11-20T20:00:00Z", disks, |request| request.tags = vec!["nightly".into(), "before-upgrade".into()]);
    kit.backup_as("web01", "2026-11-21T20:00:00Z", disks, |request| {
        request.tags = vec!["nightly".into()];
        request.consistency = Consistency::Application;
    });
    kit.backup("db01", "2026-11-21T21:00:00Z", disks);
    kit
}

#[test]
fn filters_admit_what_fits_all_of_them() {
    let kit = kit();
    let listing = kit.list();
    let names = |filter: &Filter| {
        let admitted = listing.points.iter().filter(|point| filter.admits(point));
        admitted.map(PointSummary::name).collect::<Vec<_>>().join(" ")
    };
    let (db, first, second) = ("db01@2026-11-21T21:00:00Z", "web01@2026-11-20T20:00:00Z", "web01@2026-11-21T20:00:00Z");
    let time = |text: &str| Some(text.parse().unwrap());
    let all = Filter::default();
    assert_eq!(names(&all), format!("{db} {first} {second}"));
    assert_eq!(names(&Filter { machine: Some("web01".parse().unwrap()), ..all.clone() }), format!("{first} {second}"));
    assert_eq!(names(&Filter { since: time("2026-11-21T20:00:00Z"), ..all.clone() }), format!("{db} {second}"));
    assert_eq!(names(&Filter { until: time("2026-11-21T20:00:00Z"), ..all.clone() }), format!("{first} {second}"));
    assert_eq!(names(&Filter { consistency: Some(Consistency::Application), ..all.clone() }), second);
    assert_eq!(names(&Filter { tags: vec!["nightly".into()], ..all.clone() }), format!("{first} {second}"));
    assert_eq!(names(&Filter { tags: vec!["nightly".into(), "before-upgrade".into()], ..all.clone() }), first);
}

#[test]
fn names_find_their_points_and_nothing_else() {
    let kit = kit();
    let listing = kit.list();
    let found = find(&listing, "web01@latest~1", &TimeZone::UTC).unwrap();
    assert_eq!(found.name(), "web01@2026-11-20T20:00:00Z");
    assert_eq!(find(&listing, &found.point().to_string(), &TimeZone::UTC).unwrap(), found);
    for wrong in ["web01", "web01@", "web02@latest", "web01@latest~2"] {
        assert!(find(&listing, wrong, &TimeZone::UTC).is_err(), "{wrong}");
    }
}

#[test]
fn a_point_that_vanished_since_is_told_of() {
    let kit = kit();
    let memory = kit.directory.path().join("memory");
    assert_eq!(kit.list().points.len(), 3);
    let quiet = Collecting::default();
    list(&kit.vault, &memory, &quiet).unwrap();
    assert!(quiet.texts().is_empty(), "{:?}", quiet.texts());
    let latest = kit.list().points[2].point();
    for prefix in ["points/", "verdicts/"] {
        kit.backend.delete(&format!("{prefix}{latest}")).unwrap();
    }
    let told = Collecting::default();
    assert_eq!(list(&kit.vault, &memory, &told).unwrap().points.len(), 2);
    assert_eq!(told.texts().len(), 1, "{:?}", told.texts());
    assert!(told.texts()[0].contains("web01") && told.texts()[0].contains("2026-11-21T20:00:00Z"), "{:?}", told.texts());
}

#[test]
fn a_memory_that_cannot_be_read_is_told_of_and_left_alone() {
    let kit = kit();
    let memory = kit.directory.path().join("memory");
    list(&kit.vault, &memory, &Silent).unwrap();
    let file = memory.join(format!("{}.json", kit.vault.header().vault));
    fs::write(&file, "nonsense").unwrap();
    let told = Collecting::default();
    assert_eq!(list(&kit.vault, &memory, &told).unwrap().points.len(), 3);
    assert!(told.texts()[0].starts_with("memory: "), "{:?}", told.texts());
    assert_eq!(fs::read_to_string(&file).unwrap(), "nonsense");
}
