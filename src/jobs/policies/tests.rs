//! Changes of policies in a vault, and what immutability forbids.

use jiff::Timestamp;

use super::*;
use crate::format::settings::{Immutability, ImmutabilityState};
use crate::jobs::testkit::Kit;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn name(text: &str) -> MachineName {
    text.parse().unwrap()
}

fn keep(text: &str) -> Edit {
    Edit { retention: Some(text.parse().unwrap()), ..Edit::default() }
}

fn immutable(kit: &Kit, state: ImmutabilityState, days: u16) -> Result<Policies, JobError> {
    set_immutability(&kit.vault, Immutability { state, days }, NOW)
}

fn is_shortened<T>(result: Result<T, JobError>) -> bool {
    matches!(result, Err(JobError::Settings(SettingsError::Shortened { .. })))
}

#[test]
fn every_vault_begins_with_the_default_policy() {
    let kit = Kit::new();
    let policies = load(&kit.vault).unwrap();
    let (found, policy) = policies.of_machine(&name("web01")).unwrap();
    assert_eq!((found.as_str(), policy), ("default", Policy::default()));
    assert_eq!(policies.settings.soft_delete_days, 14);
}

#[test]
fn policies_are_added_changed_assigned_and_removed() {
    let kit = Kit::new();
    let edit_all = Edit {
        schedule: Some(Some("weekly sun 03:00 in Europe/Berlin".parse().unwrap())),
        mirror: Some(Some("s3://second/web".to_owned())),
        scrub_millionths: Some(Some(10_000)),
        ..keep("weekly 8 on sun")
    };
    add(&kit.vault, &name("archive"), &edit_all, NOW).unwrap();
    let error = add(&kit.vault, &name("archive"), &keep("last 1"), NOW).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    assign(&kit.vault, &name("archive"), &[name("web01"), name("db01"), name("web01")], false, NOW).unwrap();
    let policies = load(&kit.vault).unwrap();
    assert_eq!(policies.settings.assignments.iter().map(|(machine, _)| machine.as_str()).collect::<Vec<_>>(), ["db01", "web01"]);
    let (found, policy) = policies.of_machine(&name("web01")).unwrap();
    assert_eq!((found.as_str(), policy.retention.to_string().as_str()), ("archive", "weekly 8 on sun"));
    let record = policies.record(&name("archive")).unwrap();
    assert_eq!((record.mirror.as_deref(), record.scrub_millionths), (Some("s3://second/web"), Some(10_000)));

    let error = remove(&kit.vault, &name("archive"), NOW).unwrap_err();
    assert!(error.to_string().contains("db01, web01"), "{error}");
    let error = remove(&kit.vault, &name("default"), NOW).unwrap_err();
    assert!(error.to_string().contains("default of machines"), "{error}");
    assign(&kit.vault, &name("default"), &[name("web01"), name("db01")], false, NOW).unwrap();
    edit(&kit.vault, &name("archive"), &Edit { schedule: Some(None), ..Edit::default() }, NOW).unwrap();
    assert_eq!(load(&kit.vault).unwrap().get(&name("archive")).unwrap().schedule, None);
    let left = remove(&kit.vault, &name("archive"), NOW).unwrap();
    assert_eq!(left.settings.policies.len(), 1);
    for missing in [remove(&kit.vault, &name("archive"), NOW), assign(&kit.vault, &name("archive"), &[], true, NOW)] {
        assert!(matches!(missing, Err(JobError::Settings(SettingsError::NoSuchPolicy { .. }))));
    }
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let kit = Kit::new();
    let edit_both = Edit { schedule: Some(Some("weekly mon 20:30".parse().unwrap())), ..keep("weekly 4 on sun") };
    assert!(add(&kit.vault, &name("odd"), &edit_both, NOW).unwrap_err().to_string().contains("never runs"));
    add(&kit.vault, &name("odd"), &keep("weekly 4 on sun"), NOW).unwrap();
    let schedule = Edit { schedule: edit_both.schedule, ..Edit::default() };
    assert!(edit(&kit.vault, &name("odd"), &schedule, NOW).is_err());
    assert_eq!(load(&kit.vault).unwrap().record(&name("odd")).unwrap().schedule.as_deref(), Some("daily 20:30"));
}

#[test]
fn a_policy_that_is_not_understood_here_is_an_error_of_its_machines_only() {
    let kit = Kit::new();
    let mut policies = load(&kit.vault).unwrap();
    let strange = PolicyRecord { name: name("strange"), schedule: Some("daily 20:30 in Mars/Olympus".into()), ..initial().unwrap() };
    policies.settings.policies.push(strange);
    policies.settings.assignments.push((name("rover"), name("strange")));
    assert!(policies.of_machine(&name("web01")).is_ok());
    let error = policies.of_machine(&name("rover")).unwrap_err();
    assert!(error.to_string().starts_with("the policy strange cannot be used: no time zone is called \"Mars/Olympus\""), "{error}");
}

#[test]
fn while_a_vault_is_immutable_nothing_comes_to_keep_less() {
    let kit = Kit::new();
    add(&kit.vault, &name("long"), &keep("daily 30"), NOW).unwrap();
    add(&kit.vault, &name("short"), &keep("daily 7"), NOW).unwrap();
    assign(&kit.vault, &name("long"), &[name("web01")], false, NOW).unwrap();
    immutable(&kit, ImmutabilityState::Enabled, 10).unwrap();

    assert!(is_shortened(edit(&kit.vault, &name("long"), &keep("daily 29 + for 999 days"), NOW)));
    assert!(is_shortened(assign(&kit.vault, &name("short"), &[name("web01")], false, NOW)));
    assert!(is_shortened(assign(&kit.vault, &name("short"), &[], true, NOW)));
    assert!(is_shortened(set_soft_delete_days(&kit.vault, 13, NOW)));
    edit(&kit.vault, &name("long"), &keep("daily 31 + last 1"), NOW).unwrap();
    set_soft_delete_days(&kit.vault, 15, NOW).unwrap();

    immutable(&kit, ImmutabilityState::Disabled, 0).unwrap();
    edit(&kit.vault, &name("long"), &keep("daily 29"), NOW).unwrap();
}

#[test]
fn what_is_locked_can_only_grow() {
    let kit = Kit::new();
    immutable(&kit, ImmutabilityState::Enabled, 10).unwrap();
    immutable(&kit, ImmutabilityState::Enabled, 5).unwrap();
    immutable(&kit, ImmutabilityState::Locked, 5).unwrap();
    for (state, days) in [(ImmutabilityState::Disabled, 0), (ImmutabilityState::Enabled, 5), (ImmutabilityState::Locked, 4)] {
        assert!(matches!(immutable(&kit, state, days), Err(JobError::Settings(SettingsError::Locked { days: 5 }))));
    }
    assert_eq!(immutable(&kit, ImmutabilityState::Locked, 6).unwrap().settings.immutability.days, 6);
}
