//! `settings/<n>`: what a vault's users decided for all hosts: policies, which machine has which, how deletion works.

use jiff::Timestamp;

use super::FormatError;
use super::bytes::{Reader, Writer};
use super::envelope::ObjectKind;
use super::manifest::read_name;
use crate::units::MachineName;

/// A policy as it is stored. What its texts mean is told in `policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Its name.
    pub name: MachineName,
    /// When machines are backed up; `None` where nothing runs by itself.
    pub schedule: Option<String>,
    /// How long points are kept.
    pub retention: String,
    /// The place to which each backup is copied.
    pub mirror: Option<String>,
    /// How much of the vault's data is read and checked each day, in millionths.
    pub scrub_millionths: Option<u32>,
}

/// Whether points can be deleted early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmutabilityState {
    /// They can.
    Disabled,
    /// They cannot, until it is disabled.
    Enabled,
    /// They cannot, for ever.
    Locked,
}

/// How long no point can be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immutability {
    /// Whether it is in force.
    pub state: ImmutabilityState,
    /// Days from a point's time; 0 where it is disabled, else at least 1.
    pub days: u16,
}

/// The whole document; the highest number counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its number, from 1.
    pub number: u64,
    /// All policies, ascending by name, at least one.
    pub policies: Vec<PolicyRecord>,
    /// The policy of machines that are not assigned another.
    pub default_policy: MachineName,
    /// Machine and policy, ascending by machine.
    pub assignments: Vec<(MachineName, MachineName)>,
    /// How long deleted points stay.
    pub soft_delete_days: u16,
    /// How long points cannot be deleted.
    pub immutability: Immutability,
    /// When it was written.
    pub time: Timestamp,
}

impl Settings {
    /// What rule of the format it breaks, if any.
    fn fault(&self) -> Option<&'static str> {
        let has = |name: &MachineName| self.policies.iter().any(|policy| policy.name == *name);
        let on = self.immutability.state != ImmutabilityState::Disabled;
        if !self.policies.is_sorted_by(|policy, next| policy.name < next.name) {
            Some("policies ascending by name")
        } else if !self.assignments.is_sorted_by(|(machine, _), (next, _)| machine < next) {
            Some("assignments ascending by machine")
        } else if !has(&self.default_policy) || !self.assignments.iter().all(|(_, policy)| has(policy)) {
            Some("names of policies that there are")
        } else if on != (self.immutability.days > 0) {
            Some("days of immutability where it is in force, else none")
        } else {
            None
        }
    }

    /// The document as a body of [`ObjectKind::Settings`].
    ///
    /// # Errors
    /// [`FormatError::Invalid`] where lists are not ascending, a name is of no policy, or days and state of immutability do not fit.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        if let Some(fault) = self.fault() {
            return Err(FormatError::invalid(ObjectKind::Settings.words(), format!("it has not {fault}")));
        }
        let mut writer = Writer::new();
        writer.u64(self.number);
        writer.count(self.policies.len());
        for policy in &self.policies {
            writer.text(policy.name.as_str());
            writer.option(policy.schedule.as_deref(), Writer::text);
            writer.text(&policy.retention);
            writer.option(policy.mirror.as_deref(), Writer::text);
            writer.option(policy.scrub_millionths, Writer::u32);
        }
        writer.text(self.default_policy.as_str());
        writer.count(self.assignments.len());
        for (machine, policy) in &self.assignments {
            writer.text(machine.as_str());
            writer.text(policy.as_str());
        }
        writer.u16(self.soft_delete_days);
        writer.u8(match self.immutability.state {
            ImmutabilityState::Disabled => 0,
            ImmutabilityState::Enabled => 1,
            ImmutabilityState::Locked => 2,
        });
        writer.u16(self.immutability.days);
        writer.time(self.time);
        Ok(writer.into_bytes())
    }

    /// The document from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Settings.words(), body);
        let number = reader.u64()?;
        // Name, retention and three flags.
        let policies = reader.list(19, read_policy)?;
        let default_policy = read_name(&mut reader)?;
        let assignments = reader.list(16, |reader| Ok((read_name(reader)?, read_name(reader)?)))?;
        let soft_delete_days = reader.u16()?;
        let state = match reader.u8()? {
            0 => ImmutabilityState::Disabled,
            1 => ImmutabilityState::Enabled,
            2 => ImmutabilityState::Locked,
            other => return Err(reader.corrupt("a state of immutability, 0 to 2", other)),
        };
        let immutability = Immutability { state, days: reader.u16()? };
        let time = reader.time()?;
        let settings = Self { number, policies, default_policy, assignments, soft_delete_days, immutability, time };
        if let Some(fault) = settings.fault() {
            return Err(reader.corrupt(fault, "others"));
        }
        reader.finish()?;
        Ok(settings)
    }
}

fn read_policy(reader: &mut Reader<'_>) -> Result<PolicyRecord, FormatError> {
    Ok(PolicyRecord {
        name: read_name(reader)?,
        schedule: reader.option(Reader::text)?,
        retention: reader.text()?,
        mirror: reader.option(Reader::text)?,
        scrub_millionths: reader.option(Reader::u32)?,
    })
}
