//! Hooks: a program is started or an address is posted to when a job has ended, with the job as a JSON document.
//!
//! A hook that fails or takes too long is a warning: what it was to tell of has happened all the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use super::HostError;
use super::document::JobDetailsDocument;
use super::record::{JobDetails, JobKind, JobState};

/// How often it is looked whether a program has ended.
const POLL: Duration = Duration::from_millis(20);

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// A job did what it was asked for.
    Success,
    /// The same, with warnings.
    Warning,
    /// It did not.
    Failure,
    /// Somebody ended it.
    Cancelled,
}

/// Who is told of what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// What they are told of.
    on: Vec<HookEvent>,
    /// Only of these machines; of all, if empty.
    #[serde(default)]
    machines: Vec<String>,
    /// Only of these kinds of jobs; of all, if empty.
    #[serde(default)]
    kinds: Vec<String>,
    /// A program and its arguments; the document is on its standard input. No shell takes part.
    command: Option<Vec<String>>,
    /// An address that the document is posted to.
    url: Option<String>,
    /// Headers of the request, for a token say.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How long it may take.
    #[serde(default = "thirty")]
    timeout_seconds: u64,
}

fn thirty() -> u64 {
    30
}

/// What hooks are given.
#[derive(Debug, Serialize)]
struct HookDocument {
    event: HookEvent,
    host: String,
    job: JobDetailsDocument,
}

impl HookEvent {
    /// What the end of a job is; nothing, while it runs.
    fn of(state: JobState) -> Option<Self> {
        match state {
            JobState::InProgress => None,
            JobState::Completed => Some(Self::Success),
            JobState::CompletedWithWarnings => Some(Self::Warning),
            JobState::Failed => Some(Self::Failure),
            JobState::Cancelled => Some(Self::Cancelled),
        }
    }
}

impl Hook {
    /// Looks for what cannot be meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let unknown = |kind: &&String| kind.parse::<JobKind>().is_err();
        match (&self.command, &self.url) {
            _ if self.on.is_empty() => Err("a hook names nothing to tell of in 'on'".to_owned()),
            (None, None) => Err("a hook names neither a command nor a url".to_owned()),
            (Some(_), Some(_)) => Err("a hook names both a command and a url; write two hooks".to_owned()),
            (None, Some(url)) if !url.starts_with("http://") && !url.starts_with("https://") => Err(format!("'{url}' is no http address")),
            (None, Some(url)) if url.starts_with("https://") && !cfg!(feature = "https") => {
                Err(format!("this program was built without https, which '{url}' needs"))
            }
            (Some(command), None) if command.first().is_none_or(|program| !Path::new(program).is_absolute()) => {
                Err(format!("the program of the hook {command:?} is no absolute path"))
            }
            _ => match self.kinds.iter().find(unknown) {
                Some(kind) => Err(format!("'{kind}' is no kind of job; {}", kind.parse::<JobKind>().err().unwrap_or_default())),
                None => Ok(()),
            },
        }
    }

    fn wants(&self, event: HookEvent, details: &JobDetails) -> bool {
        let machine = details.job.machine.as_ref().map(|machine| machine.as_str());
        self.on.contains(&event)
            && (self.machines.is_empty() || machine.is_some_and(|machine| self.machines.iter().any(|wanted| wanted == machine)))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == details.job.kind.word()))
    }

    fn tell(&self, document: &[u8]) -> Result<(), HostError> {
        let limit = Duration::from_secs(self.timeout_seconds);
        let (hook, done) = match (&self.command, &self.url) {
            (Some(command), _) => (command.join(" "), run(command, document, limit)),
            (None, Some(url)) => (url.clone(), post(url, &self.headers, document, limit)),
            (None, None) => return Ok(()),
        };
        done.map_err(|why| HostError::Hook { hook, why })
    }
}

/// Tells all who want to know how a job ended. Gives what went wrong with that.
pub fn tell(hooks: &[Hook], details: &JobDetails, host: &str) -> Vec<HostError> {
    let Some(event) = HookEvent::of(details.job.state) else { return Vec::new() };
    let document = HookDocument { event, host: host.to_owned(), job: details.into() };
    let wanted: Vec<&Hook> = hooks.iter().filter(|hook| hook.wants(event, details)).collect();
    match serde_json::to_vec(&document) {
        Ok(document) => wanted.iter().filter_map(|hook| hook.tell(&document).err()).collect(),
        Err(error) => vec![HostError::Hook { hook: "all".to_owned(), why: error.to_string() }],
    }
}

fn run(command: &[String], document: &[u8], limit: Duration) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("it names no program")?;
    let mut child = Command::new(program);
    // A group of its own, so that whatever it starts ends with it when it takes too long.
    child.args(arguments).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = child.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let stdin = child.stdin.take();
    let ended = std::thread::scope(|scope| {
        // A program need not read its input; one that does may take its time.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(document)));
        wait(&mut child, limit)
    });
    match ended {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("it ended with {status}")),
        Ok(None) => Err(format!("it took more than {} s and was ended", limit.as_secs())),
        Err(error) => Err(format!("it cannot be waited for: {error}")),
    }
}

/// Waits for a program; `None`: it took too long, and is gone with all that it had started.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended in between: then there is nobody to end.
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    Ok(None)
}

fn post(url: &str, headers: &BTreeMap<String, String>, document: &[u8], limit: Duration) -> Result<(), String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(limit));
    #[cfg(feature = "https")]
    let config = config.tls_config(tls());
    let agent: ureq::Agent = config.build().into();
    let mut request = agent.post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send(document).map(drop).map_err(|error| error.to_string())
}

/// The cipher is the one that vaults are sealed with; whom to trust is what the system says.
#[cfg(feature = "https")]
fn tls() -> ureq::tls::TlsConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = ureq::tls::RootCerts::PlatformVerifier;
    ureq::tls::TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots).build()
}

#[cfg(test)]
mod tests;
