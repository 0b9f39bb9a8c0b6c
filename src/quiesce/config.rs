//! The file that names pre- and post-script: the keys, defaults and limits of `VMSnapshotScriptPluginConfig.json`, so that files
//! written for the modelled service work as they are.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::{ConfigFault, ConfigProblem, Which};
use super::permit::{Denied, open_config};

/// A longer file is none.
const MOST_BYTES: u64 = 64 * 1024;
/// How long a script may run where the file does not say.
const DEFAULT_TIMEOUT_SECONDS: f64 = 10.0;
/// No script may run longer.
const MOST_TIMEOUT_SECONDS: f64 = 1800.0;
/// The pause before a failed script runs again, where the file does not say or says something else than 1 to 5.
const DEFAULT_POLL_SECONDS: i64 = 3;

/// What the file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScriptsConfig {
    pub(super) pre: Script,
    pub(super) post: Script,
    /// How long each try of a script may take.
    pub(super) timeout: Duration,
    /// How long to wait before a script that failed is run again.
    pub(super) poll: Duration,
    /// Whether there is a backup, of a lesser consistency, when something fails.
    pub(super) continue_on_failure: bool,
    /// Whether filesystems are frozen around the snapshot.
    pub(super) freeze_enabled: bool,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) which: Which,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    /// How often it is run again after it failed.
    pub(super) retries: u32,
}

/// The file as it is written. Other keys (`pluginName`, `appName`) mean nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    pre_script_location: PathBuf,
    post_script_location: PathBuf,
    #[serde(default)]
    pre_script_params: Vec<String>,
    #[serde(default)]
    post_script_params: Vec<String>,
    #[serde(default)]
    pre_script_no_of_retries: u32,
    #[serde(default)]
    post_script_no_of_retries: u32,
    #[serde(default = "default_timeout")]
    timeout_in_seconds: f64,
    #[serde(default = "yes")]
    continue_backup_on_failure: bool,
    #[serde(default = "yes")]
    fs_freeze_enabled: bool,
    #[serde(default = "default_poll", rename = "ScriptsExecutionPollTimeSeconds")]
    poll_seconds: i64,
}

fn yes() -> bool {
    true
}

fn default_timeout() -> f64 {
    DEFAULT_TIMEOUT_SECONDS
}

fn default_poll() -> i64 {
    DEFAULT_POLL_SECONDS
}

impl ScriptsConfig {
    /// Reads the file, if only its owner could have written it.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigProblem> {
        let problem = |fault| ConfigProblem { path: path.to_owned(), fault };
        let file = open_config(path).map_err(|denied| {
            problem(match denied {
                Denied::NotFound => ConfigFault::NotFound,
                Denied::Why(why) => ConfigFault::Permission(why),
            })
        })?;
        let mut bytes = Vec::new();
        let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| problem(ConfigFault::Incorrect(format!("it cannot be read ({error})"))))?;
        Self::parse(&bytes).map_err(|why| problem(ConfigFault::Incorrect(why)))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MOST_BYTES {
            return Err(format!("it has more than {MOST_BYTES} bytes"));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let seconds = written.timeout_in_seconds.min(MOST_TIMEOUT_SECONDS);
        let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero());
        let timeout =
            timeout.ok_or_else(|| format!("timeoutInSeconds is {}, where a number above 0 is expected", written.timeout_in_seconds))?;
        let poll = if (1..=5).contains(&written.poll_seconds) { written.poll_seconds } else { DEFAULT_POLL_SECONDS };
        let script = |which, path, arguments, retries| Script { which, path, arguments, retries };
        Ok(Self {
            pre: script(Which::Pre, written.pre_script_location, written.pre_script_params, written.pre_script_no_of_retries),
            post: script(Which::Post, written.post_script_location, written.post_script_params, written.post_script_no_of_retries),
            timeout,
            poll: Duration::from_secs(poll.unsigned_abs()),
            continue_on_failure: written.continue_backup_on_failure,
            freeze_enabled: written.fs_freeze_enabled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"{ "pluginName": "ScriptRunner", "preScriptLocation": "/a", "postScriptLocation": "/b",
        "preScriptParams": ["",""], "postScriptParams": ["x"],
        "preScriptNoOfRetries": 2, "postScriptNoOfRetries": 0,
        "timeoutInSeconds": 30, "continueBackupOnFailure": false, "fsFreezeEnabled": false, "ScriptsExecutionPollTimeSeconds": 5 }"#;

    #[test]
    fn the_template_means_what_it_says() {
        let config = ScriptsConfig::parse(TEMPLATE.as_bytes()).unwrap();
        assert_eq!((config.timeout, config.poll), (Duration::from_secs(30), Duration::from_secs(5)));
        assert_eq!((config.continue_on_failure, config.freeze_enabled), (false, false));
        assert_eq!((config.pre.path.to_str(), config.pre.retries), (Some("/a"), 2));
        assert_eq!((config.pre.arguments, config.post.arguments), (vec![String::new(); 2], vec!["x".to_owned()]));
    }

    #[test]
    fn defaults_and_limits() {
        let parse =
            |more: &str| ScriptsConfig::parse(format!(r#"{{"preScriptLocation":"/a","postScriptLocation":"/b"{more}}}"#).as_bytes());
        let config = parse("").unwrap();
        assert_eq!((config.timeout, config.poll), (Duration::from_secs(10), Duration::from_secs(3)));
        assert_eq!((config.continue_on_failure, config.freeze_enabled, config.pre.retries), (true, true, 0));
        assert_eq!(parse(r#","timeoutInSeconds":1e9"#).unwrap().timeout, Duration::from_secs(1800));
        assert_eq!(parse(r#","timeoutInSeconds":0.5"#).unwrap().timeout, Duration::from_millis(500));
        for poll in [0, 6, -1] {
            assert_eq!(parse(&format!(r#","ScriptsExecutionPollTimeSeconds":{poll}"#)).unwrap().poll, Duration::from_secs(3));
        }
        for wrong in
            [r#","timeoutInSeconds":0"#, r#","timeoutInSeconds":-1"#, r#","preScriptNoOfRetries":-1"#, r#","preScriptParams":"x""#, ","]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(ScriptsConfig::parse(br#"{"preScriptLocation":"/a"}"#).unwrap_err().contains("postScriptLocation"));
        assert!(ScriptsConfig::parse(&vec![b' '; 70_000]).unwrap_err().contains("more than"));
    }
}
