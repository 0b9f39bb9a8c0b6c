//! Pruning a vault: what goes, what stays whatever the policy says, clocks, immutability, and how many requests it takes.

use std::sync::Arc;

use jiff::{SignedDuration, ToSpan};

use super::*;
use crate::backend::{Created, Operation, Recording};
use crate::catalogue::points::Points;
use crate::crypt::slot::Unlock;
use crate::format::names::ObjectName;
use crate::format::point::Manifest;
use crate::format::settings::{Immutability, ImmutabilityState};
use crate::jobs::deletion::{self, CLOCK_TOLERANCE};
use crate::jobs::policies::{self, Edit};
use crate::jobs::testkit::{Collecting, Kit, noise};
use crate::monitor::Silent;
use crate::units::LeaseId;

/// A vault that keeps one point a machine, and points of three days of web01 and one of db01.
fn kit() -> Kit {
    let kit = Kit::new();
    keep(&kit, "last 1");
    let bytes = noise(1, 4);
    for (machine, day) in [("db01", 1), ("web01", 1), ("web01", 2), ("web01", 3)] {
        kit.backup(machine, &format!("2026-01-0{day}T20:30:00Z"), &[("vda", &bytes)]);
    }
    kit
}

fn keep(kit: &Kit, text: &str) {
    let edit = Edit { retention: Some(text.parse().unwrap()), ..Edit::default() };
    policies::edit(&kit.vault, &"default".parse().unwrap(), &edit, Timestamp::UNIX_EPOCH).unwrap();
}

fn planned(kit: &Kit, now: Timestamp, trust_clock: bool) -> (Listing, Vec<MachinePlan>, Deletions) {
    let (listing, policies) = (kit.list(), policies::load(&kit.vault).unwrap());
    let deletions = Deletions::new(&policies.settings, &listing, now, trust_clock);
    let plan = plan(&listing, &policies, &deletions, &[], &TimeZone::UTC, now).unwrap();
    (listing, plan, deletions)
}

/// Prunes; gives the days of web01 that are left.
fn prune(kit: &Kit, now: Timestamp) -> Result<Vec<i8>, JobError> {
    let (listing, plan, deletions) = planned(kit, now, false);
    execute(&kit.vault, &listing, &plan, &deletions, &Silent)?;
    Ok(days(kit))
}

fn days(kit: &Kit) -> Vec<i8> {
    let points = kit.list().points;
    let of_web = points.iter().filter(|point| point.manifest.machine.as_str() == "web01");
    of_web.map(|point| TimeZone::UTC.to_datetime(point.manifest.time).day()).collect()
}

fn point(kit: &Kit, day: usize) -> PointId {
    kit.list().points.iter().filter(|point| point.manifest.machine.as_str() == "web01").nth(day - 1).unwrap().point()
}

#[test]
fn what_no_rule_keeps_goes_and_can_be_brought_back() {
    let kit = kit();
    let first = point(&kit, 1);
    assert_eq!(prune(&kit, Timestamp::now()).unwrap(), [3]);
    assert_eq!(kit.list().machines().len(), 2, "the newest of db01 stays");
    assert_eq!((kit.list().deleted.len(), prune(&kit, Timestamp::now()).unwrap()), (2, vec![3]));
    deletion::undelete(&kit.vault, first, Timestamp::now()).unwrap();
    assert_eq!(days(&kit), [1, 3]);
    // Only machines that are asked for.
    let (listing, policies) = (kit.list(), policies::load(&kit.vault).unwrap());
    let deletions = Deletions::new(&policies.settings, &listing, Timestamp::now(), false);
    let of_db = plan(&listing, &policies, &deletions, &["db01".parse().unwrap()], &TimeZone::UTC, Timestamp::now()).unwrap();
    assert_eq!(of_db.iter().map(|plan| plan.machine.as_str()).collect::<Vec<_>>(), ["db01"]);
}

#[test]
fn what_was_pinned_since_the_plan_stays_and_so_does_what_cannot_be_read() {
    let kit = kit();
    let now = Timestamp::now();
    let (listing, plan, deletions) = planned(&kit, now, false);
    deletion::pin(&kit.vault, point(&kit, 1), true, now).unwrap();
    deletion::tag(&kit.vault, point(&kit, 2), &["x".to_owned()], &[], now).unwrap();
    let name = ObjectName::State(point(&kit, 2), 1).to_string();
    kit.vault.backend().delete(&name).unwrap();
    assert_eq!(kit.vault.backend().create(&name, b"damage").unwrap(), Created::New);
    let monitor = Collecting::default();
    assert!(execute(&kit.vault, &listing, &plan, &deletions, &monitor).unwrap().is_empty());
    let texts = monitor.texts();
    assert!(texts.len() == 2 && texts[0].contains("it is pinned") && texts[1].contains(&name), "{texts:?}");
    assert_eq!(days(&kit), [1, 2, 3]);
}

#[test]
fn a_clock_behind_the_vault_deletes_nothing_and_ends_no_soft_delete() {
    let kit = kit();
    let behind = Timestamp::now() - CLOCK_TOLERANCE - SignedDuration::from_mins(1);
    let error = prune(&kit, behind).unwrap_err();
    assert!(error.to_string().contains("nothing is deleted, since one of the two is wrong"), "{error}");
    assert_eq!(days(&kit), [1, 2, 3]);
    let (listing, plan, deletions) = planned(&kit, behind, true);
    assert_eq!(execute(&kit.vault, &listing, &plan, &deletions, &Silent).unwrap().len(), 2, "somebody says that this clock is right");
    // A little behind is nothing; and a plan that deletes nothing has nothing to refuse.
    prune(&kit, Timestamp::now() - CLOCK_TOLERANCE / 2).unwrap();
    prune(&kit, behind).unwrap();
}

#[test]
fn what_a_clock_that_ran_ahead_deleted_waits_until_somebody_has_looked() {
    let kit = kit();
    keep(&kit, "for 9999 days");
    let ahead = Timestamp::now() + SignedDuration::from_hours(24 * 20_000);
    assert_eq!(prune(&kit, ahead).unwrap(), [3]);
    let listing = kit.list();
    let later = Timestamp::now() + SignedDuration::from_hours(24 * 15);
    let deletions = Deletions::read(&kit.vault, &listing, later).unwrap();
    assert!(listing.deleted.iter().all(|point| !deletions.is_over(point.manifest.time, point.state.as_ref())));
}

#[test]
fn soft_delete_ends_after_its_days_and_never_before_other_dates() {
    let kit = kit();
    let now = Timestamp::now();
    prune(&kit, now).unwrap();
    let day = |days: i64| now + SignedDuration::from_hours(24 * days);
    let over = |at: Timestamp| {
        let listing = kit.list();
        let deletions = Deletions::read(&kit.vault, &listing, at).unwrap();
        listing.deleted.iter().map(|point| deletions.is_over(point.manifest.time, point.state.as_ref())).collect::<Vec<_>>()
    };
    assert_eq!((over(day(14) - SignedDuration::from_secs(1)), over(day(14))), (vec![false, false], vec![true, true]));
    let first = kit.list().deleted[0].point();
    deletion::pin(&kit.vault, first, true, now).unwrap();
    assert_eq!(over(day(14)), [false, true], "a pinned one stays");
    let days_to_now = i64::from(TimeZone::UTC.to_datetime(now).date().since(jiff::civil::date(2026, 1, 1)).unwrap().get_days());
    let wanted = Immutability { state: ImmutabilityState::Enabled, days: u16::try_from(days_to_now + 30).unwrap() };
    policies::set_immutability(&kit.vault, wanted, now).unwrap();
    assert_eq!((over(day(20)), over(day(40))), (vec![false, false], vec![false, true]));
    policies::set_soft_delete_days(&kit.vault, 60, now).unwrap();
    assert_eq!((over(day(40)), over(day(60))), (vec![false, false], vec![false, true]));
}

#[test]
fn an_immutable_vault_keeps_all_until_their_date() {
    let kit = kit();
    let now = Timestamp::now();
    policies::set_immutability(&kit.vault, Immutability { state: ImmutabilityState::Enabled, days: 36_500 }, now).unwrap();
    assert_eq!(prune(&kit, now).unwrap(), [1, 2, 3]);
    let (listing, _, deletions) = planned(&kit, now, false);
    let error = deletions.delete(&kit.vault, &listing.points[0]).unwrap_err();
    assert!(error.to_string().contains("the vault is immutable, and keeps it until"), "{error}");
    // Exactly until the date.
    let end = "2026-01-01T20:30:00Z".parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC).checked_add(36_500.days()).unwrap().timestamp();
    assert_eq!(deletions.immutable_until(listing.points[0].manifest.time), Some(end));
    let (_, plan, _) = planned(&kit, end, false);
    assert_eq!(plan[1].decisions.iter().map(Decision::is_kept).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_dry_run_over_a_thousand_points_asks_no_more_than_a_listing() {
    let kit = Kit::new();
    let made = kit.backup("vm00", "2025-12-31T20:30:00Z", &[("vda", &noise(1, 4))]);
    let points = Points::new(kit.vault.backend().as_ref(), kit.vault.keys());
    let (begin, now) = (made.time, Timestamp::now());
    for number in 0..1000_u64 {
        let (machine, day) = (number % 20, number / 20);
        let manifest = Manifest {
            point: PointId(u128::from(number + 1).to_be_bytes()),
            machine: format!("vm{machine:02}").parse().unwrap(),
            sequence: day + 2,
            time: begin + SignedDuration::from_hours(i64::try_from(day).unwrap() * 24 + 1),
            ..made.clone()
        };
        points.put(&manifest).unwrap();
        points.publish(manifest.point, LeaseId([1; 16]), now).unwrap();
    }
    kit.list();
    let recording = Arc::new(Recording::new(Arc::clone(kit.vault.backend())));
    let vault = Vault::open(Arc::clone(&recording) as _, &Unlock::Nothing, kit.directory.path()).unwrap();
    let before = recording.recorded().len();
    let listing = crate::jobs::points::list(&vault, &kit.directory.path().join("memory"), &Silent).unwrap();
    let listed = recording.recorded().len() - before;
    assert_eq!((listing.points.len(), listed), (1001, 3), "{:?}", recording.recorded());

    // With settings: one list of their numbers, and one object.
    keep(&kit, "daily 7 + weekly 4 on sun + monthly 12");
    let policies = policies::load(&vault).unwrap();
    let deletions = Deletions::new(&policies.settings, &listing, now, false);
    let plan = plan(&listing, &policies, &deletions, &[], &TimeZone::UTC, now).unwrap();
    assert_eq!(recording.recorded().len() - before - listed, 2);
    assert_eq!((plan.len(), plan.iter().map(|plan| plan.decisions.len()).sum::<usize>()), (20, 1001));
    assert_eq!(recording.count(Operation::Create), 0);
}
