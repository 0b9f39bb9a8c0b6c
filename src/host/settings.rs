//! `host.toml`: what this host does besides its machines' backups: whom it tells how jobs end, and when it keeps its vault in order.

use std::path::Path;

use serde::Deserialize;

use super::hooks::Hook;
use super::record::JobKind;
use super::{HostError, files};
use crate::policy::Schedule;

/// Name of the file in the configuration directory.
const NAME: &str = "host.toml";

/// What the file says; nothing, where there is none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who is told how jobs end.
    #[serde(rename = "hook", default)]
    pub hooks: Vec<Hook>,
    /// When the scheduler keeps the vault in order.
    #[serde(default)]
    pub upkeep: Upkeep,
}

/// When the scheduler keeps the vault in order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upkeep {
    /// When points are deleted that no policy keeps.
    #[serde(default, with = "super::schedule_text")]
    pub prune: Option<Schedule>,
    /// When is taken away what no point needs.
    #[serde(default, with = "super::schedule_text")]
    pub gc: Option<Schedule>,
    /// When a sample of the vault is verified.
    #[serde(default, with = "super::schedule_text")]
    pub verify: Option<Schedule>,
}

impl Upkeep {
    /// What is to be done when.
    pub fn schedules(&self) -> impl Iterator<Item = (JobKind, &Schedule)> {
        let all = [(JobKind::Prune, &self.prune), (JobKind::Collection, &self.gc), (JobKind::Verify, &self.verify)];
        all.into_iter().filter_map(|(kind, schedule)| Some((kind, schedule.as_ref()?)))
    }
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// [`HostError`] where the file cannot be read, followed or understood.
    pub fn read(configuration: &Path) -> Result<Self, HostError> {
        let path = configuration.join(NAME);
        let Some(text) = files::read(&path)? else { return Ok(Self::default()) };
        let refuse = |why: String| HostError::Text { path: path.clone(), why };
        let settings: Self = toml::from_str(&text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
        settings.hooks.iter().try_for_each(Hook::check).map_err(refuse)?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        files::write(&directory.path().join(NAME), text).unwrap();
        Settings::read(directory.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_optional_and_checked() {
        let nothing = Settings::read(Path::new("/nonexistent")).unwrap();
        assert_eq!((nothing.hooks.len(), nothing.upkeep.schedules().count()), (0, 0));
        let both = read(
            "[[hook]]\non = [\"failure\"]\ncommand = [\"/bin/true\"]\n[upkeep]\nverify = \"weekly sun 05:00\"\nprune = \"daily 06:00\"",
        )
        .unwrap();
        assert_eq!(
            (both.hooks.len(), both.upkeep.schedules().map(|(kind, _)| kind).collect::<Vec<_>>()),
            (1, vec![JobKind::Prune, JobKind::Verify])
        );
        for (text, expected) in [
            ("[upkeep]\nverify = \"sometimes\"", "sometimes"),
            ("[upkeep]\nvreify = \"daily 05:00\"", "unknown field `vreify`"),
            ("[[hook]]\non = [\"failure\"]", "names neither a command nor a url"),
            ("[[hook]]\non = []\nurl = \"http://x\"", "names nothing to tell"),
            ("[[hook]]\non = [\"success\"]\nurl = \"ftp://x\"", "no http address"),
            ("[[hook]]\non = [\"success\"]\nurl = \"http://x\"\ncommand = [\"/bin/true\"]", "both a command and a url"),
            ("[[hook]]\non = [\"success\"]\ncommand = [\"tell\"]", "no absolute path"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
