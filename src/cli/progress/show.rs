//! The four ways to show progress.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::super::output::Output;
use super::super::render::{duration, rate, safe, safe_json, size};
use super::counts::Snapshot;
use super::{Counts, ProgressChoice, Warning};

/// How often a bar is drawn.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// How often a JSON event tells the counters.
const JSON_INTERVAL: Duration = Duration::from_secs(1);
/// How often a plain line tells the counters: seldom enough for a log.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Once it is known how much there is to do.
const MEASURED: &str =
    "{prefix:.bold} {wide_bar:.cyan/dim} {percent:>3}%  {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}";
/// Before that.
const UNMEASURED: &str = "{prefix:.bold} ...";

enum Way {
    Bar(ProgressBar),
    Lines,
    Json,
    Off,
}

/// What shows the progress of one job.
pub(super) struct Show {
    way: Way,
    output: Output,
    step: String,
}

/// One line with `--progress json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Step {
        name: &'a str,
    },
    Progress {
        #[serde(flatten)]
        counts: Snapshot,
        elapsed_seconds: f64,
    },
    Warning(&'a Warning),
}

impl Show {
    /// Resolves "auto" by what standard error is.
    pub(super) fn new(choice: ProgressChoice, output: Output) -> Self {
        let way = match choice {
            ProgressChoice::Auto if output.is_quiet() => Way::Off,
            ProgressChoice::Auto if io::stderr().is_terminal() => bar(),
            ProgressChoice::Auto | ProgressChoice::Lines => Way::Lines,
            ProgressChoice::Bar => bar(),
            ProgressChoice::Json => Way::Json,
            ProgressChoice::Off => Way::Off,
        };
        Self { way, output, step: String::new() }
    }

    /// How often [`Show::tick`] is wanted; `None` for never.
    pub(super) fn interval(&self) -> Option<Duration> {
        match self.way {
            Way::Bar(_) => Some(BAR_INTERVAL),
            Way::Lines => Some(LINE_INTERVAL),
            Way::Json => Some(JSON_INTERVAL),
            Way::Off => None,
        }
    }

    /// Shows the counters.
    pub(super) fn tick(&mut self, counts: &Counts) {
        let now = counts.snapshot();
        match &self.way {
            Way::Bar(bar) => {
                if now.planned_bytes > 0 && bar.length() == Some(0) {
                    bar.set_style(style(MEASURED));
                }
                bar.set_length(now.planned_bytes);
                bar.set_position(now.done_bytes.min(now.planned_bytes));
                bar.set_message(added(&now));
            }
            Way::Lines => {
                let line = line(&self.step, &now, counts.elapsed());
                if !line.is_empty() {
                    self.output.note(&line);
                }
            }
            Way::Json => self.event(&Event::Progress { counts: now, elapsed_seconds: counts.elapsed().as_secs_f64() }),
            Way::Off => {}
        }
    }

    /// A step begins.
    pub(super) fn step(&mut self, name: &str) {
        self.step = safe(name).into_owned();
        match &self.way {
            Way::Bar(bar) => bar.set_prefix(self.step.clone()),
            Way::Json => self.event(&Event::Step { name }),
            Way::Lines if self.output.is_verbose() => self.output.note(name),
            Way::Lines | Way::Off => {}
        }
    }

    /// A problem that does not end the job.
    pub(super) fn warning(&mut self, warning: &Warning) {
        if matches!(self.way, Way::Json) {
            self.event(&Event::Warning(warning));
        }
        let text = format!("{}: {}", warning.subject, warning.message);
        self.above(|output| output.warning(&text));
    }

    /// A remark in between.
    pub(super) fn note(&mut self, message: &str) {
        self.above(|output| output.note(message));
    }

    /// Takes the bar away.
    pub(super) fn clear(&mut self) {
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
    }

    /// Writes a line above the bar, if there is one.
    fn above(&self, write: impl FnOnce(&Output)) {
        match &self.way {
            Way::Bar(bar) => bar.suspend(|| write(&self.output)),
            _ => write(&self.output),
        }
    }

    /// Does something on the terminal where the bar is.
    pub(super) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.way {
            Way::Bar(bar) => bar.suspend(act),
            _ => act(),
        }
    }

    fn event(&self, event: &Event<'_>) {
        // An event that cannot be written is no reason to end the job; the final document will fail the same way and say so.
        if let Ok(line) = serde_json::to_string(event) {
            let _ = self.output.text(&format!("{}\n", safe_json(&line)));
        }
    }
}

fn bar() -> Way {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    bar.set_style(style(UNMEASURED));
    Way::Bar(bar)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("#>-")
}

/// What a job adds; nothing for one that only reads.
fn added(now: &Snapshot) -> String {
    if now.new_bytes == 0 && now.written_bytes == 0 {
        return String::new();
    }
    format!("{} new, {} written", size(now.new_bytes), size(now.written_bytes))
}

/// "scanning vda: 12.0 GiB of 40.0 GiB (30%), 310 MiB/s, 1 min 32 s left, 1.1 GiB new, 410 MiB written".
fn line(step: &str, now: &Snapshot, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let mut parts = Vec::new();
    if now.planned_bytes > 0 {
        let done = now.done_bytes.min(now.planned_bytes);
        let percent = u128::from(done) * 100 / u128::from(now.planned_bytes);
        parts.push(format!("{} of {} ({percent}%)", size(done), size(now.planned_bytes)));
        parts.push(rate(done, seconds));
        if let Some(left) = left(done, now.planned_bytes, elapsed) {
            parts.push(format!("{} left", duration(left)));
        }
    }
    parts.extend(Some(added(now)).filter(|added| !added.is_empty()));
    match parts.is_empty() {
        true => step.to_owned(),
        false if step.is_empty() => parts.join(", "),
        false => format!("{step}: {}", parts.join(", ")),
    }
}

/// Time left at the mean rate so far; `None` before anything is done.
fn left(done: u64, planned: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * (planned - done) as f64 / done as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_line_tells_bytes_rate_time_left_and_what_is_new() {
        let now = Snapshot { planned_bytes: 40 * GIB, done_bytes: 10 * GIB, new_bytes: GIB, written_bytes: GIB / 2, ..Snapshot::default() };
        assert_eq!(
            line("scanning vda", &now, Duration::from_secs(20)),
            "scanning vda: 10.0 GiB of 40.0 GiB (25%), 512 MiB/s, 1 min 00 s left, 1.0 GiB new, 512 MiB written"
        );
    }

    #[test]
    fn a_line_before_the_plan_is_known_has_no_share() {
        assert_eq!(line("listing", &Snapshot::default(), Duration::ZERO), "listing");
        let nothing_done = Snapshot { planned_bytes: GIB, ..Snapshot::default() };
        assert_eq!(line("reading", &nothing_done, Duration::ZERO), "reading: 0 B of 1.0 GiB (0%), -");
    }

    #[test]
    fn an_event_is_one_line_with_its_kind() {
        let warning = Warning { subject: "vda".into(), message: "two\nlines".into() };
        let event = serde_json::to_string(&Event::Warning(&warning)).unwrap();
        assert_eq!(event, r#"{"event":"warning","subject":"vda","message":"two\nlines"}"#);
        let event = serde_json::to_string(&Event::Progress { counts: Snapshot::default(), elapsed_seconds: 1.5 }).unwrap();
        assert!(event.starts_with(r#"{"event":"progress","planned_bytes":0,"#) && event.ends_with(r#""elapsed_seconds":1.5}"#), "{event}");
    }
}
