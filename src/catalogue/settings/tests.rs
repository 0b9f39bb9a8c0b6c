//! Settings: defaults, changes of several writers, damage, and a collection that cleans up.

use super::*;
use crate::catalogue::testkit::{Vault, time};

fn default() -> PolicyRecord {
    let name = "default".parse().expect("legal");
    PolicyRecord { name, schedule: None, retention: "for 180 days".to_owned(), mirror: None, scrub_millionths: None }
}

fn settings(vault: &Vault) -> VaultSettings<'_> {
    VaultSettings::new(&*vault.backend, &vault.keys)
}

fn change(vault: &Vault, days: u16) -> Result<Settings, CatalogueError> {
    settings(vault).change(&default(), time(i64::from(days)), |settings| {
        settings.soft_delete_days = days;
        Ok(())
    })
}

#[test]
fn a_vault_begins_with_defaults_and_the_last_change_counts() {
    let vault = Vault::new();
    let first = settings(&vault).read(&default()).unwrap();
    assert_eq!((first.number, first.soft_delete_days, policy_of(&first, &"web01".parse().unwrap()).as_str()), (0, 14, "default"));
    assert_eq!(change(&vault, 20).unwrap().number, 1);
    assert_eq!(change(&vault, 30).unwrap().number, 2);
    let last = settings(&vault).read(&default()).unwrap();
    assert_eq!((last.number, last.soft_delete_days, last.time), (2, 30, time(30)));
    assert_eq!(change(&vault, 40).unwrap().number, 3);
}

#[test]
fn two_changes_at_once_are_both_made() {
    let vault = Vault::new();
    let mut raced = false;
    let changed = settings(&vault).change(&default(), time(9), |found| {
        // Another host is faster, once.
        if !std::mem::replace(&mut raced, true) {
            change(&vault, 77)?;
        }
        found.default_policy = "weekly".parse().expect("legal");
        found.policies.push(PolicyRecord { name: found.default_policy.clone(), ..default() });
        Ok::<_, CatalogueError>(())
    });
    let changed = changed.unwrap();
    assert_eq!((changed.number, changed.soft_delete_days, changed.default_policy.as_str()), (2, 77, "weekly"));
    assert_eq!(settings(&vault).read(&default()).unwrap(), changed);
}

#[test]
fn a_refused_change_writes_nothing_and_damage_never_lets_older_settings_count() {
    let vault = Vault::new();
    let refused = settings(&vault).change(&default(), time(1), |_| Err(CatalogueError::Conflict { object: "x".to_owned() }));
    assert!(refused.is_err() && vault.backend.list(SETTINGS).unwrap().is_empty());
    change(&vault, 20).unwrap();
    change(&vault, 30).unwrap();
    vault.damage(ObjectName::Settings(2));
    let error = settings(&vault).read(&default()).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("settings/0000000000000002"), "{error}");
    // What was sealed under another number does not open under this one.
    let older = vault.backend.get(&ObjectName::Settings(1).to_string()).unwrap();
    vault.overwrite(ObjectName::Settings(2), &older);
    assert!(settings(&vault).read(&default()).unwrap_err().is_damage());
}
