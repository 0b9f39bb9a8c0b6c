//! What a machine is: its disks and how they are backed up, as a person writes it down once.
//!
//! The text is TOML, one file a machine, meant to be read and edited by people. The same text is kept with every recovery point that is
//! made by it, which is how a point tells what was left out of it.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::HostError;
use crate::policy::Schedule;
use crate::quiesce::Options;
use crate::units::MachineName;

/// Under this name the definition is among the files that are kept with a point.
pub const KEPT_NAME: &str = "cairn-machine.toml";

/// A machine's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name; that of its file, too.
    #[serde(with = "name_text")]
    pub name: MachineName,
    /// Tags that its points get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Configuration files that are kept with its points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<PathBuf>,
    /// Whether reflink clones of raw images are read and kept beside them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_clone: bool,
    /// Level of zstd; the vault's, if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<i32>,
    /// Share of what hints call unchanged that is read all the same, in percent; the default of a backup, if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_hints_percent: Option<f64>,
    /// When it is backed up, instead of when its policy says.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::schedule_text")]
    pub schedule: Option<Schedule>,
    /// What is done around the moment of a backup for its data to be at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Options>,
    /// Its disks.
    #[serde(rename = "disk", default)]
    pub disks: Vec<Disk>,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its name, unique in the machine.
    #[serde(with = "name_text")]
    pub name: MachineName,
    /// Where it is read: `PATH` or `FORMAT:PATH`.
    pub source: String,
    /// A file that says what has changed since the last backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<PathBuf>,
    /// What a backup does with it.
    #[serde(rename = "use", default, skip_serializing_if = "DiskUse::is_include")]
    pub usage: DiskUse,
}

/// What a backup does with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskUse {
    /// It is backed up.
    #[default]
    Include,
    /// It is left out, and never opened.
    Exclude,
    /// The same, because what is on it is not worth keeping: scratch space that a machine has anew after each start.
    Temporary,
}

impl DiskUse {
    /// The word, as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
            Self::Temporary => "temporary",
        }
    }

    fn is_include(&self) -> bool {
        *self == Self::Include
    }
}

impl Machine {
    /// A machine with nothing but its name.
    pub fn new(name: MachineName) -> Self {
        Self {
            name,
            tags: Vec::new(),
            configs: Vec::new(),
            keep_clone: false,
            compression: None,
            verify_hints_percent: None,
            schedule: None,
            consistency: None,
            disks: Vec::new(),
        }
    }

    /// Takes a definition from its text.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// The text.
    ///
    /// # Errors
    /// [`HostError::Definition`] where it cannot be written down.
    pub fn to_text(&self) -> Result<String, HostError> {
        toml::to_string(self).map_err(|error| self.refuse(error.to_string()))
    }

    /// The disks that a backup reads.
    pub fn included(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(|disk| disk.usage == DiskUse::Include)
    }

    /// The disks that it leaves out.
    pub fn left_out(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(|disk| disk.usage != DiskUse::Include)
    }

    /// Looks for what cannot be meant.
    ///
    /// # Errors
    /// [`HostError::Definition`].
    pub fn check(&self) -> Result<(), HostError> {
        let mut names = HashSet::new();
        if let Some(twice) = self.disks.iter().find(|disk| !names.insert(&disk.name)) {
            return Err(self.refuse(format!("two disks are called {}", twice.name)));
        }
        if let Some(nowhere) = self.disks.iter().find(|disk| disk.source.is_empty()) {
            return Err(self.refuse(format!("the disk {} has no source", nowhere.name)));
        }
        if self.included().next().is_none() {
            return Err(self.refuse("no disk of it is backed up; give one with --disk NAME=SOURCE".to_owned()));
        }
        if let Some(level) = self.compression.filter(|level| !(1..=19).contains(level)) {
            return Err(self.refuse(format!("compression is {level}, expected a zstd level from 1 to 19")));
        }
        if let Some(percent) = self.verify_hints_percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
            return Err(self.refuse(format!("verify_hints_percent is {percent}, expected 0 to 100")));
        }
        if let Some(options) = &self.consistency {
            options.check(self.keep_clone).map_err(|error| self.refuse(error.to_string()))?;
        }
        match self.configs.iter().find(|path| path.file_name().is_some_and(|name| name == KEPT_NAME)) {
            Some(path) => Err(self.refuse(format!("'{}' has the name under which this definition itself is kept", path.display()))),
            None => Ok(()),
        }
    }

    fn refuse(&self, why: String) -> HostError {
        HostError::Definition { machine: self.name.clone(), why }
    }
}

/// Names of machines and disks as texts that are checked.
mod name_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::units::MachineName;

    pub(super) fn serialize<S: Serializer>(name: &MachineName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<MachineName, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::host) const TEXT: &str = r#"
name = "web01"
tags = ["nightly"]
configs = ["/etc/libvirt/qemu/web01.xml"]
keep_clone = true

[[disk]]
name = "vda"
source = "qcow2:/srv/web01.qcow2"

[[disk]]
name = "vdb"
source = "/dev/vg0/scratch"
use = "temporary"
"#;

    #[test]
    fn a_text_that_a_person_wrote_is_understood_and_written_alike() {
        let machine = Machine::parse(TEXT).unwrap();
        machine.check().unwrap();
        assert_eq!(machine.included().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["vda"]);
        assert_eq!(machine.left_out().map(|disk| (disk.name.as_str(), disk.usage.word())).collect::<Vec<_>>(), [("vdb", "temporary")]);
        let scheduled = Machine { schedule: Some("daily 04:00".parse().unwrap()), ..machine.clone() };
        assert_eq!(Machine::parse(&scheduled.to_text().unwrap()).unwrap(), scheduled);
        let frozen = Machine { consistency: Some(Options { freeze: vec!["/srv".into()], ..Options::default() }), ..machine.clone() };
        assert_eq!(Machine::parse(&frozen.to_text().unwrap()).unwrap(), frozen);
        assert_eq!(machine.to_text().unwrap(), TEXT.trim_start());
        assert_eq!(Machine::parse(&machine.to_text().unwrap()).unwrap(), machine);
    }

    #[test]
    fn what_cannot_be_understood_says_where() {
        for (text, expected) in [
            ("name = \"web 01\"", "line 1"),
            ("name = \"a\"\nschedule = \"sometimes\"", "sometimes"),
            ("name = \"a\"\nspeed = 3", "unknown field `speed`"),
            ("tags = []", "missing field `name`"),
            ("name = \"a\"\n[[disk]]\nname = \"x\"\nsource = \"y\"\nuse = \"maybe\"", "unknown variant `maybe`"),
        ] {
            let why = Machine::parse(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let why = |change: fn(&mut Machine)| {
            let mut machine = Machine::parse(TEXT).unwrap();
            change(&mut machine);
            machine.check().unwrap_err().to_string()
        };
        assert!(why(|machine| machine.disks[1].name = machine.disks[0].name.clone()).contains("two disks are called vda"));
        assert!(why(|machine| machine.disks[0].source.clear()).contains("vda has no source"));
        assert!(why(|machine| machine.disks[0].usage = DiskUse::Exclude).contains("no disk of it is backed up"));
        assert!(why(|machine| machine.compression = Some(20)).contains("compression is 20"));
        assert!(why(|machine| machine.verify_hints_percent = Some(f64::NAN)).contains("verify_hints_percent is NaN"));
        assert!(why(|machine| machine.configs.push("/x/cairn-machine.toml".into())).contains("has the name under which"));
    }
}
