//! Running the pre- and the post-script: again after a failure, for real; never again after their time was over.

use std::time::{Duration, Instant};

use super::QuiesceError;
use super::account::ScriptAccount;
use super::config::{Script, ScriptsConfig};
use super::error::{ScriptFault, ScriptProblem};
use super::permit::{Denied, open_script};
use super::program;
use super::run::{Helper, run};
use super::supervise::{End, Report};
use crate::monitor::Monitor;

/// How much of what a script wrote is kept with the point and shown in messages: its end.
const KEPT_CHARS: usize = 1000;
/// How often a pause looks whether somebody asked for the end.
const TICK: Duration = Duration::from_millis(100);

/// What became of a script.
pub(super) struct Outcome {
    pub(super) account: ScriptAccount,
    pub(super) problem: Option<ScriptProblem>,
}

impl Script {
    /// Looks whether the script can be run; the command that runs it.
    pub(super) fn look(&self) -> Result<Vec<std::ffi::OsString>, ScriptProblem> {
        if !self.path.is_absolute() {
            return Err(self.problem(ScriptFault::NotFound));
        }
        let file = open_script(&self.path).map_err(|denied| {
            self.problem(match denied {
                Denied::NotFound => ScriptFault::NotFound,
                Denied::Why(why) => ScriptFault::Permission { why },
            })
        })?;
        let unreadable = |error: std::io::Error| ScriptFault::Permission { why: format!("it cannot be read ({error})") };
        program::command(&file, &self.path, &self.arguments).map_err(|error| self.problem(unreadable(error)))
    }

    /// Runs the script, and again as often as its file says while it fails. Without a monitor nothing ends it but its time.
    ///
    /// # Errors
    /// [`QuiesceError::Cancelled`] and [`QuiesceError::Run`].
    pub(super) fn run(&self, config: &ScriptsConfig, helper: &Helper, monitor: Option<&dyn Monitor>) -> Result<Outcome, QuiesceError> {
        let start = Instant::now();
        let mut outcome = Outcome { account: ScriptAccount::default(), problem: None };
        loop {
            let command = match self.look() {
                Ok(command) => command,
                Err(problem) => {
                    outcome.problem = Some(problem);
                    return Ok(outcome);
                }
            };
            let report = run(helper, &command, config.timeout, monitor)?;
            outcome.account.tries = outcome.account.tries.saturating_add(1);
            outcome.account.output = said(&report);
            outcome.problem = self.fault(&report.end, config, &outcome.account.output).map(|fault| self.problem(fault));
            outcome.account.succeeded = outcome.problem.is_none();
            outcome.account.elapsed_seconds = start.elapsed().as_secs_f64();
            let failed = matches!(&outcome.problem, Some(ScriptProblem { fault: ScriptFault::Failed { .. }, .. }));
            if !failed || outcome.account.tries > self.retries {
                return Ok(outcome);
            }
            pause(config.poll, monitor)?;
        }
    }

    fn problem(&self, fault: ScriptFault) -> ScriptProblem {
        ScriptProblem { which: self.which, path: self.path.clone(), fault }
    }

    fn fault(&self, end: &End, config: &ScriptsConfig, output: &str) -> Option<ScriptFault> {
        let output = output.to_owned();
        match ending(end) {
            None => None,
            Some(_) if *end == End::TimedOut => Some(ScriptFault::Timeout { seconds: config.timeout.as_secs().max(1), output }),
            Some(end) => Some(ScriptFault::Failed { end, output }),
        }
    }
}

/// How a program failed, for a person; `None` where it did not.
pub(super) fn ending(end: &End) -> Option<String> {
    match end {
        End::Exited(0) => None,
        End::Exited(code) => Some(format!("ended with code {code}")),
        End::Signal(signal) => Some(format!("was ended by signal {signal}")),
        End::TimedOut => Some("did not end in time and was killed with its children".to_owned()),
        End::Abandoned => Some("was killed".to_owned()),
        End::NotStarted(why) => Some(format!("could not be started ({why})")),
    }
}

/// The end of what a program wrote: its errors, behind what else it said.
pub(super) fn said(report: &Report) -> String {
    let all = [report.stdout.as_str(), report.stderr.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    let surplus = all.chars().count().saturating_sub(KEPT_CHARS);
    all.chars().skip(surplus).collect()
}

fn pause(length: Duration, monitor: Option<&dyn Monitor>) -> Result<(), QuiesceError> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        if monitor.is_some_and(Monitor::cancelled) {
            return Err(QuiesceError::Cancelled);
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let report = |stdout: &str, stderr: &str| Report { end: End::Exited(0), stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        assert_eq!(said(&report("", "")), "");
        assert_eq!(said(&report("one", "two")), "one\ntwo");
        let long = said(&report(&"a".repeat(2000), "the end"));
        assert!(long.len() == KEPT_CHARS && long.ends_with("the end"));
    }
}
