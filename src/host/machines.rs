//! The directory of definitions: one file a machine, `NAME.toml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files;
use super::machine::Machine;
use super::{HostError, lock};
use crate::io::sync_directory;
use crate::units::MachineName;

/// How names of definitions end.
const ENDING: &str = ".toml";

/// The machines that this host knows.
#[derive(Debug, Clone)]
pub struct Machines {
    directory: PathBuf,
}

/// What a directory of definitions holds.
#[derive(Debug, Default)]
pub struct Known {
    /// The machines, by name.
    pub machines: Vec<Machine>,
    /// Files that are not followed, and why. The others are as good as ever.
    pub problems: Vec<HostError>,
}

impl Machines {
    /// Those below the configuration directory.
    pub fn below(configuration: &Path) -> Self {
        Self { directory: configuration.join("machines") }
    }

    /// The file of a machine.
    pub fn path(&self, name: &MachineName) -> PathBuf {
        self.directory.join(format!("{name}{ENDING}"))
    }

    /// A machine; `None` where none is called so.
    ///
    /// # Errors
    /// [`HostError`] where its file cannot be read, followed or understood.
    pub fn find(&self, name: &MachineName) -> Result<Option<Machine>, HostError> {
        let path = self.path(name);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let refuse = |why: String| HostError::Text { path: path.clone(), why };
        let machine = Machine::parse(&text).map_err(refuse)?;
        if machine.name != *name {
            return Err(refuse(format!("it says that its name is {}, expected that of the file, {name}", machine.name)));
        }
        machine.check()?;
        Ok(Some(machine))
    }

    /// All of them. One that cannot be followed does not keep the others from it.
    ///
    /// # Errors
    /// [`HostError::File`] where the directory cannot be read.
    pub fn all(&self) -> Result<Known, HostError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::default()),
            other => other.map_err(HostError::file(&self.directory, "read"))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(HostError::file(&self.directory, "read"))?.file_name();
            // Files of editors and unfinished ones start with a dot, which names of machines do not.
            names.extend(name.to_str().and_then(|name| name.strip_suffix(ENDING)).and_then(|name| name.parse::<MachineName>().ok()));
        }
        names.sort();
        let mut known = Known::default();
        for name in names {
            match self.find(&name) {
                Ok(machine) => known.machines.extend(machine),
                Err(error) => known.problems.push(error),
            }
        }
        Ok(known)
    }

    /// Writes a machine that must be new.
    ///
    /// # Errors
    /// [`HostError::MachineExists`]; [`HostError::Definition`]; what the system says.
    pub fn add(&self, machine: &Machine) -> Result<(), HostError> {
        machine.check()?;
        let _one_at_a_time = self.lock()?;
        if self.path(&machine.name).exists() {
            return Err(HostError::MachineExists { machine: machine.name.clone() });
        }
        files::write(&self.path(&machine.name), &machine.to_text()?)
    }

    /// Changes a machine by a function. Comments in its file would be lost by that, so a file with some is left alone.
    ///
    /// # Errors
    /// [`HostError::NoMachine`]; [`HostError::Text`] where the file has comments; [`HostError::Definition`]; what `change` and the system
    /// say.
    pub fn change<E: From<HostError>>(&self, name: &MachineName, change: impl FnOnce(&mut Machine) -> Result<(), E>) -> Result<Machine, E> {
        let _one_at_a_time = self.lock()?;
        let mut machine = self.find(name)?.ok_or_else(|| HostError::NoMachine { machine: name.clone() })?;
        let path = self.path(name);
        if files::read(&path)?.is_some_and(|text| text.lines().any(|line| line.trim_start().starts_with('#'))) {
            let why = format!("it has comments, which an edit by options would lose; `cairn machine edit {name}` opens it in an editor");
            return Err(HostError::Text { path, why }.into());
        }
        change(&mut machine)?;
        machine.check()?;
        files::write(&path, &machine.to_text()?)?;
        Ok(machine)
    }

    /// Puts a text in the place of a machine's file, if it is a definition of this machine.
    ///
    /// # Errors
    /// [`HostError::Text`] and [`HostError::Definition`]; what the system says.
    pub fn replace(&self, name: &MachineName, text: &str) -> Result<Machine, HostError> {
        let path = self.path(name);
        let refuse = |why: String| HostError::Text { path: path.clone(), why };
        let machine = Machine::parse(text).map_err(refuse)?;
        if machine.name != *name {
            return Err(refuse(format!("it says that its name is {}, expected {name}", machine.name)));
        }
        machine.check()?;
        let _one_at_a_time = self.lock()?;
        files::write(&path, text)?;
        Ok(machine)
    }

    /// Forgets a machine. Its recovery points stay.
    ///
    /// # Errors
    /// [`HostError::NoMachine`]; what the system says.
    pub fn remove(&self, name: &MachineName) -> Result<(), HostError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HostError::NoMachine { machine: name.clone() }),
            other => {
                other.map_err(HostError::file(&path, "removed"))?;
                sync_directory(&self.directory).map_err(HostError::file(&self.directory, "made durable"))
            }
        }
    }

    /// Two commands that change definitions go one after the other.
    fn lock(&self) -> Result<lock::FileLock, HostError> {
        files::make_directory(&self.directory)?;
        lock::FileLock::wait(&self.directory.join(".lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::TEXT;
    use super::*;

    fn name(text: &str) -> MachineName {
        text.parse().unwrap()
    }

    #[test]
    fn machines_come_and_change_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let machines = Machines::below(directory.path());
        assert!(machines.all().unwrap().machines.is_empty());
        let machine = Machine::parse(TEXT).unwrap();
        machines.add(&machine).unwrap();
        assert!(matches!(machines.add(&machine), Err(HostError::MachineExists { .. })), "a definition was replaced");
        assert_eq!(machines.find(&machine.name).unwrap(), Some(machine.clone()));
        let changed = machines.change::<HostError>(&machine.name, |machine| {
            machine.tags.push("more".into());
            Ok(())
        });
        assert_eq!(changed.unwrap().tags, ["nightly", "more"]);
        assert_eq!(machines.all().unwrap().machines[0].tags, ["nightly", "more"]);
        machines.remove(&machine.name).unwrap();
        assert!(matches!(machines.remove(&machine.name), Err(HostError::NoMachine { .. })));
        assert!(machines.find(&machine.name).unwrap().is_none());
    }

    #[test]
    fn one_bad_file_does_not_hide_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let machines = Machines::below(directory.path());
        machines.add(&Machine::parse(TEXT).unwrap()).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join("machines").join(name), text).unwrap();
        write("bad.toml", "name = 3");
        write("other.toml", TEXT);
        write(".web02.toml.swp", "x");
        write("README", "x");
        let known = machines.all().unwrap();
        assert_eq!(known.machines.len(), 1);
        let problems: Vec<String> = known.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].contains("its name is web01, expected that of the file, other"), "{problems:?}");
    }

    #[test]
    fn comments_are_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let machines = Machines::below(directory.path());
        machines.add(&Machine::parse(TEXT).unwrap()).unwrap();
        let commented = format!("# ask Anna\n{TEXT}");
        machines.replace(&name("web01"), &commented).unwrap();
        let refused = machines.change::<HostError>(&name("web01"), |_| Ok(())).unwrap_err().to_string();
        assert!(refused.contains("it has comments"), "{refused}");
        assert_eq!(fs::read_to_string(machines.path(&name("web01"))).unwrap(), commented);
        assert!(machines.replace(&name("web02"), TEXT).is_err(), "a definition of another machine was taken");
    }
}
