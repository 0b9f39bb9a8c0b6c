//! Changes of policies, assignments, soft delete and immutability. While a vault is immutable nothing may come to keep less.

use jiff::Timestamp;

use super::{JobError, Policies, SettingsError, initial, parse, policy_of, settings_of};
use crate::format::settings::{Immutability, ImmutabilityState, PolicyRecord, Settings};
use crate::policy::{Policy, Retention, Schedule};
use crate::store::Vault;
use crate::units::MachineName;

/// What changes about a policy; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// When machines are backed up; `Some(None)` never by itself.
    pub schedule: Option<Option<Schedule>>,
    /// How long points are kept.
    pub retention: Option<Retention>,
    /// The place to which each backup is copied.
    pub mirror: Option<Option<String>>,
    /// How much of the data is read and checked each day, in millionths.
    pub scrub_millionths: Option<Option<u32>>,
}

impl Edit {
    fn apply(&self, record: &mut PolicyRecord) {
        if let Some(schedule) = &self.schedule {
            record.schedule = schedule.as_ref().map(ToString::to_string);
        }
        if let Some(retention) = &self.retention {
            record.retention = retention.to_string();
        }
        if let Some(mirror) = &self.mirror {
            record.mirror.clone_from(mirror);
        }
        if let Some(scrub) = self.scrub_millionths {
            record.scrub_millionths = scrub;
        }
    }
}

/// Adds a policy: the default one, with what `edit` changes about it.
///
/// # Errors
/// [`SettingsError::PolicyExists`]; [`SettingsError::Policy`] for a schedule and retention that do not fit together; [`JobError`] of the vault.
pub fn add(vault: &Vault, name: &MachineName, edit: &Edit, now: Timestamp) -> Result<Policies, JobError> {
    let mut record = PolicyRecord { name: name.clone(), ..initial()? };
    edit.apply(&mut record);
    check(&record)?;
    change(vault, now, |settings| {
        let place = settings.policies.partition_point(|policy| policy.name < *name);
        if settings.policies.get(place).is_some_and(|policy| policy.name == *name) {
            return Err(SettingsError::PolicyExists { name: name.clone() }.into());
        }
        settings.policies.insert(place, record.clone());
        Ok(())
    })
}

/// Changes a policy.
///
/// # Errors
/// [`SettingsError::NoSuchPolicy`]; [`SettingsError::Shortened`] while the vault is immutable; else as [`add`].
pub fn edit(vault: &Vault, name: &MachineName, edit: &Edit, now: Timestamp) -> Result<Policies, JobError> {
    change(vault, now, |settings| {
        let immutability = settings.immutability;
        let record = settings.policies.iter_mut().find(|policy| policy.name == *name);
        let record = record.ok_or_else(|| SettingsError::NoSuchPolicy { name: name.clone() })?;
        let before = record.clone();
        edit.apply(record);
        let after = check(record)?;
        refuse_shorter(immutability, &format!("changing the policy {name}"), &before, &after)
    })
}

/// Removes a policy that no machine has.
///
/// # Errors
/// [`SettingsError::PolicyUsed`], [`SettingsError::NoSuchPolicy`]; [`JobError`] of the vault.
pub fn remove(vault: &Vault, name: &MachineName, now: Timestamp) -> Result<Policies, JobError> {
    change(vault, now, |settings| {
        let machines: Vec<&str> = assigned(settings, name).collect();
        let used = match machines.as_slice() {
            _ if settings.default_policy == *name => Some("the default of machines without another".to_owned()),
            [] => None,
            machines => Some(format!("that of {}", machines.join(", "))),
        };
        if let Some(used) = used {
            return Err(SettingsError::PolicyUsed { name: name.clone(), used }.into());
        }
        let count = settings.policies.len();
        settings.policies.retain(|policy| policy.name != *name);
        if settings.policies.len() == count { Err(SettingsError::NoSuchPolicy { name: name.clone() }.into()) } else { Ok(()) }
    })
}

fn assigned<'s>(settings: &'s Settings, name: &MachineName) -> impl Iterator<Item = &'s str> {
    settings.assignments.iter().filter(move |(_, policy)| policy == name).map(|(machine, _)| machine.as_str())
}

/// Gives machines a policy, and with `default` all machines that have no other.
///
/// # Errors
/// [`SettingsError::NoSuchPolicy`]; [`SettingsError::Shortened`] while the vault is immutable; [`JobError`] of the vault.
pub fn assign(vault: &Vault, name: &MachineName, machines: &[MachineName], default: bool, now: Timestamp) -> Result<Policies, JobError> {
    change(vault, now, |settings| {
        let policies = Policies { settings: settings.clone() };
        let after = policies.get(name)?;
        for machine in machines {
            let before = policies.record(policy_of(&policies.settings, machine))?;
            refuse_shorter(settings.immutability, &format!("changing the policy of {machine}"), before, &after)?;
            settings.assignments.retain(|(assigned, _)| assigned != machine);
            let place = settings.assignments.partition_point(|(assigned, _)| assigned < machine);
            settings.assignments.insert(place, (machine.clone(), name.clone()));
        }
        if default {
            let before = policies.record(&policies.settings.default_policy)?;
            refuse_shorter(settings.immutability, "changing the default policy", before, &after)?;
            settings.default_policy = name.clone();
        }
        Ok(())
    })
}

/// Says how long deleted points stay.
///
/// # Errors
/// [`SettingsError::Shortened`] while the vault is immutable; [`JobError`] of the vault.
pub fn set_soft_delete_days(vault: &Vault, days: u16, now: Timestamp) -> Result<Policies, JobError> {
    change(vault, now, |settings| {
        if is_on(settings.immutability) && days < settings.soft_delete_days {
            let (from, to) = (format!("{} days", settings.soft_delete_days), format!("{days} days"));
            return Err(shortened(settings.immutability, "changing soft delete", from, to).into());
        }
        settings.soft_delete_days = days;
        Ok(())
    })
}

/// Switches immutability on or off.
///
/// # Errors
/// [`SettingsError::Locked`]; [`JobError`] of the vault.
pub fn set_immutability(vault: &Vault, wanted: Immutability, now: Timestamp) -> Result<Policies, JobError> {
    change(vault, now, |settings| {
        let is = settings.immutability;
        if is.state == ImmutabilityState::Locked && (wanted.state != ImmutabilityState::Locked || wanted.days < is.days) {
            return Err(SettingsError::Locked { days: is.days }.into());
        }
        settings.immutability = wanted;
        Ok(())
    })
}

fn change(vault: &Vault, now: Timestamp, change: impl FnMut(&mut Settings) -> Result<(), JobError>) -> Result<Policies, JobError> {
    Ok(Policies { settings: settings_of(vault).change(&initial()?, now, change)? })
}

/// The policy that a record says, if its parts fit together.
fn check(record: &PolicyRecord) -> Result<Policy, JobError> {
    let policy = parse(record)?;
    policy.check().map_err(|source| SettingsError::Policy { policy: record.name.clone(), source })?;
    Ok(policy)
}

fn is_on(immutability: Immutability) -> bool {
    immutability.state != ImmutabilityState::Disabled
}

/// A policy before that cannot be read here cannot be compared either: then nothing changes.
fn refuse_shorter(immutability: Immutability, what: &str, before: &PolicyRecord, after: &Policy) -> Result<(), JobError> {
    if !is_on(immutability) || after.retention.covers(&parse(before)?.retention) {
        return Ok(());
    }
    Err(shortened(immutability, what, before.retention.clone(), after.retention.to_string()).into())
}

fn shortened(immutability: Immutability, what: &str, from: String, to: String) -> SettingsError {
    SettingsError::Shortened { what: what.to_owned(), from, to, locked: immutability.state == ImmutabilityState::Locked }
}
