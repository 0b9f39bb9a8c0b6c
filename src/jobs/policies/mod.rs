//! The policies of a vault: what they are, which machine has which, and how they change.

mod change;
mod error;

#[cfg(test)]
mod tests;

pub use change::{Edit, add, assign, edit, remove, set_immutability, set_soft_delete_days};
pub use error::SettingsError;

use super::JobError;
use crate::catalogue::settings::{VaultSettings, policy_of};
use crate::format::settings::{PolicyRecord, Settings};
use crate::policy::{Policy, PolicyError};
use crate::store::Vault;
use crate::units::MachineName;

/// The name of the policy that every vault begins with.
const DEFAULT_NAME: &str = "default";

/// The policies of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// The whole document that they are in.
    pub settings: Settings,
}

/// Reads them.
///
/// # Errors
/// [`JobError`] where they cannot be read; damage to them is never answered with defaults.
pub fn load(vault: &Vault) -> Result<Policies, JobError> {
    Ok(Policies { settings: settings_of(vault).read(&initial()?)? })
}

fn settings_of(vault: &Vault) -> VaultSettings<'_> {
    VaultSettings::new(vault.backend().as_ref(), vault.keys())
}

/// The policy that every vault begins with.
fn initial() -> Result<PolicyRecord, JobError> {
    let policy = Policy::default();
    Ok(PolicyRecord {
        name: DEFAULT_NAME.parse()?,
        schedule: policy.schedule.map(|schedule| schedule.to_string()),
        retention: policy.retention.to_string(),
        mirror: None,
        scrub_millionths: None,
    })
}

impl Policies {
    /// The policy of this name as it is stored.
    ///
    /// # Errors
    /// [`SettingsError::NoSuchPolicy`].
    pub fn record(&self, name: &MachineName) -> Result<&PolicyRecord, JobError> {
        let found = self.settings.policies.iter().find(|policy| policy.name == *name);
        Ok(found.ok_or_else(|| SettingsError::NoSuchPolicy { name: name.clone() })?)
    }

    /// The policy of this name.
    ///
    /// # Errors
    /// [`SettingsError::NoSuchPolicy`]; [`SettingsError::Policy`] where this computer does not understand it.
    pub fn get(&self, name: &MachineName) -> Result<Policy, JobError> {
        parse(self.record(name)?)
    }

    /// The name of a machine's policy.
    pub fn name_of(&self, machine: &MachineName) -> &MachineName {
        policy_of(&self.settings, machine)
    }

    /// A machine's policy, and its name.
    ///
    /// # Errors
    /// As [`Policies::get`].
    pub fn of_machine(&self, machine: &MachineName) -> Result<(&MachineName, Policy), JobError> {
        let name = self.name_of(machine);
        Ok((name, self.get(name)?))
    }
}

fn parse(record: &PolicyRecord) -> Result<Policy, JobError> {
    let failed = |source: PolicyError| SettingsError::Policy { policy: record.name.clone(), source };
    let schedule = record.schedule.as_deref().map(str::parse).transpose().map_err(failed)?;
    Ok(Policy { schedule, retention: record.retention.parse().map_err(failed)? })
}
