//! Where things lie when nobody says where: the vault, the cache of what can be fetched or built again, what is remembered.

use std::path::{Path, PathBuf};

/// The directories of whoever runs this.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    root: bool,
    home: Option<PathBuf>,
    data_home: Option<PathBuf>,
    cache_home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl Homes {
    /// As the environment says. A relative path in a variable counts as unset, as the XDG base directory specification has it.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            root: rustix::process::geteuid().is_root(),
            home: variable("HOME"),
            data_home: variable("XDG_DATA_HOME"),
            cache_home: variable("XDG_CACHE_HOME"),
            state_home: variable("XDG_STATE_HOME"),
            state: variable("CAIRN_STATE_DIR"),
        }
    }

    /// The vault where none is named: root's for the whole machine, anyone else's in their data directory.
    pub(crate) fn vault(&self) -> Option<PathBuf> {
        self.place("/var/lib/cairn/vault", self.data_home.as_deref(), ".local/share", "cairn/vault")
    }

    /// The cache.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        self.place("/var/cache/cairn", self.cache_home.as_deref(), ".cache", "cairn")
    }

    /// What this computer remembers of vaults. It is kept apart from them: whoever rolls one back does not roll this back.
    pub(crate) fn memory(&self) -> Option<PathBuf> {
        Some(self.state()?.join("seen"))
    }

    /// What this computer keeps of what it did: the memory, and notes of what must be undone.
    pub(crate) fn state(&self) -> Option<PathBuf> {
        self.state.clone().or_else(|| self.place("/var/lib/cairn", self.state_home.as_deref(), ".local/state", "cairn"))
    }

    fn place(&self, of_root: &str, base: Option<&Path>, below_home: &str, name: &str) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from(of_root));
        }
        let base = base.map(Path::to_owned).or_else(|| self.home.as_ref().map(|home| home.join(below_home)))?;
        Some(base.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_places_depend_on_who_asks() {
        let root = Homes { root: true, home: Some("/root".into()), data_home: Some("/d".into()), ..Homes::default() };
        assert_eq!(root.vault(), Some("/var/lib/cairn/vault".into()));
        assert_eq!(root.cache(), Some("/var/cache/cairn".into()));
        assert_eq!(root.memory(), Some("/var/lib/cairn/seen".into()));
        let told = Homes { state: Some("/s".into()), ..root };
        assert_eq!((told.state(), told.memory()), (Some("/s".into()), Some("/s/seen".into())));
        let user = Homes { home: Some("/home/a".into()), ..Homes::default() };
        assert_eq!(user.vault(), Some("/home/a/.local/share/cairn/vault".into()));
        assert_eq!(user.cache(), Some("/home/a/.cache/cairn".into()));
        assert_eq!(user.memory(), Some("/home/a/.local/state/cairn/seen".into()));
        let moved = Homes { data_home: Some("/d".into()), cache_home: Some("/c".into()), state_home: Some("/s".into()), ..user };
        assert_eq!(moved.vault(), Some("/d/cairn/vault".into()));
        assert_eq!(moved.cache(), Some("/c/cairn".into()));
        assert_eq!(moved.memory(), Some("/s/cairn/seen".into()));
        assert_eq!(Homes::default().vault(), None);
    }
}
