//! A directory with room for a vault and disk images, and commands on it.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 256 * 1024;

/// A directory with room for a vault, and commands on it.
pub(crate) struct Place {
    directory: TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// A place with a vault that is not encrypted: no key derivation to wait for.
    pub(crate) fn with_vault() -> Self {
        let place = Self::new();
        place.ok(&["init", "--encryption", "none", "--compression", "1"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn vault(&self) -> String {
        self.text_path("vault")
    }

    /// A disk image of this content.
    pub(crate) fn image(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.text_path(name)
    }

    /// The command with nothing but a home directory, in UTC.
    pub(crate) fn command(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("cairn").unwrap();
        command.env_clear().env("HOME", self.directory.path()).env("TZ", "UTC").envs(environment.iter().copied());
        command.envs(self.variables()).args(arguments);
        command
    }

    /// Root's own places are the whole machine's, which no test may touch.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let names = ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "CAIRN_STATE_DIR"];
        names.into_iter().map(|name| (name, self.path(name))).collect()
    }

    /// The same surroundings for a command of the standard library, with the vault named.
    pub(crate) fn environment<'c>(&self, command: &'c mut std::process::Command) -> &'c mut std::process::Command {
        command.env_clear().env("HOME", self.directory.path()).env("TZ", "UTC").env("CAIRN_VAULT", self.vault());
        command.envs(self.variables()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped())
    }

    pub(crate) fn run(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
        Ended::of(&self.command(environment, arguments).output().unwrap())
    }

    /// With the vault named and the passphrase given.
    pub(crate) fn in_vault(&self, passphrase: &str, arguments: &[&str]) -> Ended {
        self.run(&[("CAIRN_VAULT", &self.vault()), ("CAIRN_PASSPHRASE", passphrase)], arguments)
    }

    /// In a vault that needs no passphrase; must end well.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.in_vault("", arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.errors);
        ended.output
    }

    /// The same, for the document.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// A vault that a key file opens: no key derivation to wait for.
    pub(crate) fn with_key_file(&self) -> String {
        let key = self.text_path("vault.key");
        let made = self.run(&[], &["init", &self.vault(), "--encryption", "keyfile", "--key-file", &key]);
        assert_eq!(made.code, Some(0), "{}", made.errors);
        key
    }
}

impl Ended {
    pub(crate) fn of(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), output: text(&output.stdout), errors: text(&output.stderr) }
    }

    #[track_caller]
    pub(crate) fn failed(&self, code: i32, message: &str) {
        assert_eq!((self.code, self.output.as_str()), (Some(code), ""), "{}", self.errors);
        assert!(self.errors.contains(message), "expected {message:?} in: {}", self.errors);
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.errors);
        serde_json::from_str(&self.output).unwrap()
    }
}

/// Noise that no two blocks have in common, the same for the same seed: a small generator is enough.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}
