//! What a vault's users decided for all hosts, as numbered sealed objects of which the highest counts.

use jiff::Timestamp;

use super::CatalogueError;
use super::sealed::Sealed;
use crate::backend::Backend;
use crate::crypt::VaultKeys;
use crate::format::envelope::ObjectKind;
use crate::format::names::{ObjectName, SETTINGS};
use crate::format::settings::{Immutability, ImmutabilityState, PolicyRecord, Settings};
use crate::units::MachineName;

/// How often a change is tried again when others change the settings at the same time.
const ATTEMPTS: u32 = 64;
/// How long deleted points stay unless somebody says.
pub const SOFT_DELETE_DAYS: u16 = 14;

/// The settings of a vault.
#[derive(Clone, Copy)]
pub struct VaultSettings<'a> {
    objects: Sealed<'a>,
}

impl<'a> VaultSettings<'a> {
    /// Those of the vault whose objects are in `backend` and sealed with `keys`.
    pub fn new(backend: &'a dyn Backend, keys: &'a VaultKeys) -> Self {
        Self { objects: Sealed { backend, keys } }
    }

    /// The settings that count; where nobody ever changed any, those that every vault begins with, under the number 0. `default` is the
    /// policy of such a vault.
    ///
    /// # Errors
    /// [`CatalogueError::Backend`]; [`CatalogueError::Sealed`] and [`CatalogueError::Damaged`] for the last document: an older one must
    /// not count in its place, it could delete what this one keeps.
    pub fn read(&self, default: &PolicyRecord) -> Result<Settings, CatalogueError> {
        let listed = self.objects.backend.list(SETTINGS)?;
        let numbers = listed.iter().filter_map(|object| match ObjectName::parse(&object.name) {
            Some(ObjectName::Settings(number)) => Some(number),
            _ => None,
        });
        numbers.max().map_or_else(|| Ok(initial(default.clone())), |number| self.get(number))
    }

    /// Changes the settings: reads them, changes them, and creates the next number; again from the start where somebody else took it.
    /// `change` may refuse.
    ///
    /// # Errors
    /// What `change` says; [`CatalogueError::Conflict`] after 64 attempts; else as [`VaultSettings::read`].
    pub fn change<E: From<CatalogueError>>(
        &self,
        default: &PolicyRecord,
        now: Timestamp,
        mut change: impl FnMut(&mut Settings) -> Result<(), E>,
    ) -> Result<Settings, E> {
        for _ in 0..ATTEMPTS {
            let mut settings = self.read(default)?;
            change(&mut settings)?;
            settings.number = settings.number.saturating_add(1);
            settings.time = now;
            let name = ObjectName::Settings(settings.number);
            let body = settings.encode().map_err(|source| CatalogueError::Damaged { object: name.to_string(), source })?;
            let sealed = self.objects.seal(ObjectKind::Settings, &name, &[], &body)?;
            // Documents are never removed: where the next number was free, the one before it was the last.
            if self.objects.create(&name, &sealed)? {
                return Ok(settings);
            }
        }
        Err(CatalogueError::Conflict { object: SETTINGS.to_owned() }.into())
    }

    fn get(&self, number: u64) -> Result<Settings, CatalogueError> {
        let name = ObjectName::Settings(number);
        let bytes = self.objects.backend.get(&name.to_string())?;
        let opened = self.objects.open(ObjectKind::Settings, &name, &bytes)?;
        let damaged = |source| CatalogueError::Damaged { object: name.to_string(), source };
        Settings::decode(&opened.body).map_err(damaged)
    }
}

/// What a vault begins with.
fn initial(policy: PolicyRecord) -> Settings {
    Settings {
        number: 0,
        default_policy: policy.name.clone(),
        policies: vec![policy],
        assignments: Vec::new(),
        soft_delete_days: SOFT_DELETE_DAYS,
        immutability: Immutability { state: ImmutabilityState::Disabled, days: 0 },
        time: Timestamp::UNIX_EPOCH,
    }
}

/// The name of the policy in `settings` that a machine has.
pub fn policy_of<'s>(settings: &'s Settings, machine: &MachineName) -> &'s MachineName {
    let assigned = settings.assignments.iter().find(|(assigned, _)| assigned == machine);
    assigned.map_or(&settings.default_policy, |(_, policy)| policy)
}

#[cfg(test)]
mod tests;
