//! Passphrases and key files: where they come from, in which order they are asked for.
//!
//! An option goes before the environment, the environment before the prompt; the prompt needs a terminal, so that a job without
//! one fails at once instead of waiting for somebody. A passphrase never stands on the command line, where `ps` shows it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use cairn::crypt::SecretBytes;
use cairn::crypt::slot::Unlock;
use cairn::jobs::keys;
use zeroize::Zeroizing;

/// The options that say where a secret comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SecretArgs {
    /// Read the passphrase from the first line of FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = "Unlocking", conflicts_with_all = ["passphrase_command", "key_file"])]
    passphrase_file: Option<PathBuf>,

    /// Read the passphrase from the first line that COMMAND prints (run by sh)
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Unlocking", conflicts_with = "key_file")]
    passphrase_command: Option<OsString>,

    /// Unlock with the bytes of FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = "Unlocking")]
    key_file: Option<PathBuf>,
}

impl SecretArgs {
    /// The same options as they are typed.
    pub(crate) fn options(&self) -> Vec<OsString> {
        let file = self.passphrase_file.iter().flat_map(|path| ["--passphrase-file".into(), path.clone().into_os_string()]);
        let command = self.passphrase_command.iter().flat_map(|command| ["--passphrase-command".into(), command.clone()]);
        let key = self.key_file.iter().flat_map(|path| ["--key-file".into(), path.clone().into_os_string()]);
        file.chain(command).chain(key).collect()
    }
}

/// The options that say where the secret of a new key slot comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NewSecretArgs {
    /// Read the new passphrase from the first line of FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_passphrase_command", "new_key_file"])]
    new_passphrase_file: Option<PathBuf>,

    /// Read the new passphrase from the first line that COMMAND prints (run by sh)
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_key_file")]
    new_passphrase_command: Option<OsString>,

    /// Let the bytes of FILE unlock the vault; it is made if there is none
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

impl From<NewSecretArgs> for SecretArgs {
    fn from(args: NewSecretArgs) -> Self {
        let NewSecretArgs { new_passphrase_file, new_passphrase_command, new_key_file } = args;
        Self { passphrase_file: new_passphrase_file, passphrase_command: new_passphrase_command, key_file: new_key_file }
    }
}

/// The options that say where the secret of the vault comes from that is copied to.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ToSecretArgs {
    /// Read the other vault's passphrase from the first line of FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_passphrase_command", "to_key_file"])]
    to_passphrase_file: Option<PathBuf>,

    /// Read the other vault's passphrase from the first line that COMMAND prints (run by sh)
    #[arg(long, value_name = "COMMAND", conflicts_with = "to_key_file")]
    to_passphrase_command: Option<OsString>,

    /// Unlock the other vault with the bytes of FILE
    #[arg(long, value_name = "FILE")]
    to_key_file: Option<PathBuf>,
}

impl From<ToSecretArgs> for SecretArgs {
    fn from(args: ToSecretArgs) -> Self {
        let ToSecretArgs { to_passphrase_file, to_passphrase_command, to_key_file } = args;
        Self { passphrase_file: to_passphrase_file, passphrase_command: to_passphrase_command, key_file: to_key_file }
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// The variable of this name.
    Variable(&'static str),
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a command prints.
    Command(OsString),
    /// The bytes of a file.
    KeyFile(PathBuf),
    /// A person at the terminal.
    Prompt,
}

/// The names of the variables that may hold a passphrase, or the path of a file or a command that gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variables {
    passphrase: &'static str,
    passphrase_file: &'static str,
    passphrase_command: &'static str,
    key_file: &'static str,
}

/// For the secret that opens a vault.
pub(crate) const UNLOCK: Variables = Variables {
    passphrase: "CAIRN_PASSPHRASE",
    passphrase_file: "CAIRN_PASSPHRASE_FILE",
    passphrase_command: "CAIRN_PASSPHRASE_COMMAND",
    key_file: "CAIRN_KEY_FILE",
};

/// For the secret of a new key slot.
pub(crate) const NEW: Variables = Variables {
    passphrase: "CAIRN_NEW_PASSPHRASE",
    passphrase_file: "CAIRN_NEW_PASSPHRASE_FILE",
    passphrase_command: "CAIRN_NEW_PASSPHRASE_COMMAND",
    key_file: "CAIRN_NEW_KEY_FILE",
};

/// For the secret of the vault that is copied to.
pub(crate) const TO: Variables = Variables {
    passphrase: "CAIRN_TO_PASSPHRASE",
    passphrase_file: "CAIRN_TO_PASSPHRASE_FILE",
    passphrase_command: "CAIRN_TO_PASSPHRASE_COMMAND",
    key_file: "CAIRN_TO_KEY_FILE",
};

/// Longest passphrase that a file or a command may give.
const MAX_PASSPHRASE_BYTES: u64 = 4096;
/// Largest key file.
const MAX_KEY_FILE_BYTES: u64 = 1 << 20;

impl SecretSource {
    /// The source that the options and the environment name; the prompt where they name none.
    pub(crate) fn resolve(args: &SecretArgs, variables: Variables, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        if let Some(path) = &args.passphrase_file {
            return Self::File(path.clone());
        }
        if let Some(command) = &args.passphrase_command {
            return Self::Command(command.clone());
        }
        if let Some(path) = &args.key_file {
            return Self::KeyFile(path.clone());
        }
        if environment(variables.passphrase).is_some() {
            return Self::Variable(variables.passphrase);
        }
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        if let Some(path) = set(variables.passphrase_file) {
            return Self::File(path.into());
        }
        if let Some(command) = set(variables.passphrase_command) {
            return Self::Command(command);
        }
        set(variables.key_file).map_or(Self::Prompt, |path| Self::KeyFile(path.into()))
    }

    /// Fetches the secret. `prompt` is what a person is asked: "Passphrase for /srv/vault".
    pub(crate) fn fetch(&self, prompt: &str) -> anyhow::Result<Unlock> {
        match self {
            Self::KeyFile(path) => Ok(Unlock::KeyFile(key_file(path)?)),
            _ => Ok(passphrase(&self.passphrase(prompt)?)),
        }
    }

    /// Fetches a new secret: a person types it twice, and a key file is made where there is none.
    pub(crate) fn fetch_new(&self, prompt: &str) -> anyhow::Result<Unlock> {
        if let Self::KeyFile(path) = self {
            keys::make_key_file(path)?;
            return Ok(Unlock::KeyFile(key_file(path)?));
        }
        let first = self.passphrase(prompt)?;
        if *self == Self::Prompt && first != ask("The same again")? {
            bail!("the two passphrases differ; nothing was changed");
        }
        Ok(passphrase(&first))
    }

    fn passphrase(&self, prompt: &str) -> anyhow::Result<Zeroizing<String>> {
        match self {
            Self::Variable(name) => variable(name),
            Self::File(path) | Self::KeyFile(path) => {
                let named = || format!("the passphrase file '{}'", path.display());
                first_line(&read_limited(path, MAX_PASSPHRASE_BYTES).with_context(named)?).with_context(named)
            }
            Self::Command(command) => from_command(command),
            Self::Prompt => ask(prompt),
        }
    }
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

fn variable(name: &str) -> anyhow::Result<Zeroizing<String>> {
    let value = std::env::var_os(name).unwrap_or_default().into_string();
    let value = value.map(Zeroizing::new).map_err(|_| anyhow::anyhow!("{name} is not UTF-8; use --key-file for arbitrary bytes"))?;
    if value.is_empty() {
        bail!("{name} is set but empty; set it to the passphrase or unset it");
    }
    Ok(value)
}

fn first_line(bytes: &[u8]) -> anyhow::Result<Zeroizing<String>> {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("its first line is empty, and an empty passphrase protects nothing");
    }
    let text = std::str::from_utf8(line).context("its first line is not UTF-8; use --key-file for arbitrary bytes")?;
    Ok(Zeroizing::new(text.to_owned()))
}

pub(crate) fn read_limited(path: &Path, limit_bytes: u64) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).context("it cannot be opened")?;
    file.take(limit_bytes + 1).read_to_end(&mut bytes).context("it cannot be read")?;
    if bytes.len() as u64 > limit_bytes {
        bail!("it has more than {limit_bytes} bytes; is it the right file?");
    }
    Ok(bytes)
}

fn key_file(path: &Path) -> anyhow::Result<SecretBytes> {
    let mut bytes = read_limited(path, MAX_KEY_FILE_BYTES).with_context(|| format!("the key file '{}'", path.display()))?;
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

fn from_command(command: &OsString) -> anyhow::Result<Zeroizing<String>> {
    let named = || format!("the passphrase command '{}'", command.to_string_lossy());
    let mut child = Command::new("/bin/sh");
    child.arg("-c").arg(command).stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = child.spawn().and_then(std::process::Child::wait_with_output).with_context(named)?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        bail!("{} failed ({})", named(), output.status);
    }
    first_line(&bytes).with_context(|| format!("the output of {}", named()))
}

fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!(
            "a passphrase is needed, and there is no terminal to ask on; \
             give --passphrase-file, --passphrase-command or --key-file, or set CAIRN_PASSPHRASE"
        );
    }
    let typed =
        Zeroizing::new(rpassword::prompt_password(format!("{prompt}: ")).context("the passphrase cannot be read from the terminal")?);
    if typed.is_empty() {
        bail!("the passphrase is empty, and an empty passphrase protects nothing");
    }
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: SecretArgs, variables: &[(&str, &str)]) -> SecretSource {
        SecretSource::resolve(&args, UNLOCK, |name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn options_go_before_the_environment_and_that_before_the_prompt() {
        let key_file = SecretArgs { key_file: Some("k".into()), ..SecretArgs::default() };
        assert_eq!(resolve(key_file, &[("CAIRN_PASSPHRASE", "x")]), SecretSource::KeyFile("k".into()));
        let all = [("CAIRN_PASSPHRASE", "x"), ("CAIRN_PASSPHRASE_FILE", "f"), ("CAIRN_KEY_FILE", "k")];
        assert_eq!(resolve(SecretArgs::default(), &all), SecretSource::Variable("CAIRN_PASSPHRASE"));
        assert_eq!(resolve(SecretArgs::default(), &all[1..]), SecretSource::File("f".into()));
        assert_eq!(resolve(SecretArgs::default(), &all[2..]), SecretSource::KeyFile("k".into()));
        assert_eq!(resolve(SecretArgs::default(), &[("CAIRN_KEY_FILE", "")]), SecretSource::Prompt);
    }

    #[test]
    fn a_passphrase_is_the_first_line() {
        assert_eq!(first_line(b"two words \r\nrest").unwrap().as_str(), "two words ");
        assert_eq!(first_line(b"no line feed").unwrap().as_str(), "no line feed");
        assert!(first_line(b"\nsecond").is_err());
        assert!(first_line(b"\xff\n").is_err());
    }

    #[test]
    fn a_command_gives_its_first_line_or_its_failure() {
        assert_eq!(from_command(&"echo 'pass word'; echo more".into()).unwrap().as_str(), "pass word");
        let failed = from_command(&"echo x; exit 3".into()).map(|_| ()).unwrap_err();
        assert_eq!(failed.to_string(), "the passphrase command 'echo x; exit 3' failed (exit status: 3)");
    }
}
