//! `cairn run`: the scheduler in the foreground.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use cairn::host::{Event, Item, Job, JobKind, Program, Record, Scheduler, Settings, Work};
use cairn::jobs::policies;
use cairn::monitor::{Counter, Monitor, Problem};
use cairn::quiesce::{Options, recover};
use cairn::store::Vault;
use crossbeam_channel::{Receiver, unbounded};
use jiff::tz::TimeZone;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::output::Output;
use super::super::protection;
use super::super::recording::{self, SCHEDULED};
use super::super::secret::SecretSource;

/// Share of the vault that upkeep verifies, drawn anew each time.
const VERIFIED_SHARE: &str = "10%";

/// Options of `cairn run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Backs up the machines defined on this host (`cairn machine`) when their policies say so, each in a process of its own; what was
missed while the host was off is made up for once. A backup that fails is tried again after 5, 10, 20, 40 and 80 minutes, then at
its next time. SIGHUP reads machines, policies and host.toml again, which happens every 5 minutes in any case. SIGTERM ends it, and
cancels what runs cleanly. There is one scheduler on a host, and one backup of a machine at a time, by whomever it was begun.

host.toml, in the same directory as machines/, says who is told how jobs end, and when the vault is kept in order: what policies no longer
keep is deleted, what nothing needs is taken away, a tenth is verified. Of several hosts with one vault one does that:
  [upkeep]
  prune = \"daily 06:00\"
  gc = \"weekly sat 06:30\"
  verify = \"weekly sun 05:00\"

  [[hook]]
  on = [\"failure\", \"warning\"]           # also \"success\", \"cancelled\"
  command = [\"/usr/local/bin/tell-us\"]   # gets the job as JSON on its standard input; no shell takes part

  [[hook]]
  on = [\"failure\"]
  machines = [\"web01\"]                  # all, if left out; so is kinds = [\"backup\"]
  url = \"http://127.0.0.1:8080/cairn\"    # the same JSON is posted there
  headers = { authorization = \"Bearer ...\" }
  timeout_seconds = 10

Examples:
  cairn run
  cairn run --jobs 4 --passphrase-file /etc/cairn/passphrase
  cairn systemd-unit > /etc/systemd/system/cairn.service")]
pub(crate) struct RunArgs {
    /// Jobs that may run at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
}

/// Says what the scheduler does, a line each.
struct Speaks(Output);

impl Monitor for Speaks {
    fn count(&self, _: Counter, _: u64) {}

    fn step(&self, name: &str) {
        self.0.note(name);
    }

    fn problem(&self, problem: Problem) {
        self.0.warning(&problem.to_string());
    }

    fn cancelled(&self) -> bool {
        false
    }
}

/// Runs until it is told to stop.
pub(crate) fn run(context: &Context, args: &RunArgs) -> anyhow::Result<Exit> {
    let found = context.find_vault()?;
    if found.is_encrypted() && context.secret_source() == SecretSource::Prompt {
        return Err(usage(
            "the jobs of a scheduler have nobody to ask for the passphrase; \
             give --passphrase-file, --passphrase-command or --key-file, or set CAIRN_PASSPHRASE",
        ));
    }
    // First of all: a signal that comes before the scheduler is ready must find its handler.
    let events = events()?;
    let vault = context.open_vault()?;
    let (state, configuration) = (context.state_directory()?, context.configuration_directory()?);
    let speaks = Speaks(context.output.clone());
    // Refused now rather than at the first job that ends.
    Settings::read(&configuration)?;
    let plan = Box::new(|| plan(context, &vault, &speaks).map_err(|error| format!("{error:#}")));
    let vanished = Box::new(|job: &Job| tell(&state, configuration.clone(), job, &context.output));
    let mut scheduler = Scheduler::new(&state, program(context)?, usize::try_from(args.jobs)?, plan, vanished, &speaks)?;
    // Only now: two schedulers would not both undo what a killed backup owes.
    let setup = context.quiesce(Options::default())?;
    recover(&setup.ledger, &setup.helper, &speaks)?;
    scheduler.run(&events)?;
    Ok(Exit::Done)
}

/// Signals become events.
fn events() -> anyhow::Result<Receiver<Event>> {
    let (sender, receiver) = unbounded();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("the signal handlers cannot be installed")?;
    let forward = move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            if sender.send(event).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(forward)?;
    Ok(receiver)
}

/// This program again, with what it was told of the vault.
fn program(context: &Context) -> anyhow::Result<Program> {
    let path = std::env::current_exe().context("the program's own file cannot be found")?;
    let mut globals = vec!["--quiet".into(), "--progress".into(), "off".into()];
    globals.extend(context.for_another_process()?);
    let verify = ["verify", "--all", "--sample", VERIFIED_SHARE].map(Into::into).to_vec();
    Ok(Program {
        vault: recording::place(&context.vault_location()?),
        path,
        globals,
        environment: vec![(SCHEDULED.into(), "1".into())],
        commands: vec![(JobKind::Verify, verify), (JobKind::Prune, vec!["prune".into()]), (JobKind::Collection, vec!["gc".into()])],
    })
}

/// What there is to do now: a backup of each machine that is defined here, and upkeep.
fn plan(context: &Context, vault: &Arc<Vault>, speaks: &Speaks) -> anyhow::Result<Vec<Item>> {
    let listing = cairn::jobs::points::list(vault, &context.memory_directory()?, speaks)?;
    let (machines, problems) = protection::all(&context.machines()?, &policies::load(vault)?, &listing)?;
    for problem in problems {
        context.output.warning(&problem);
    }
    let mut items = Vec::new();
    for (name, protected) in machines {
        if let Some(timetable) = protected.timetable().filter(|_| protected.machine.is_some()) {
            let work = Work { kind: JobKind::Backup, machine: Some(name) };
            items.push(Item { work, timetable, last_point: protected.points.last });
        }
    }
    let settings = Settings::read(&context.configuration_directory()?)?;
    items.extend(settings.upkeep.schedules().map(|(kind, schedule)| Item {
        work: Work { kind, machine: None },
        timetable: schedule.timetable(&TimeZone::system()),
        last_point: None,
    }));
    Ok(items)
}

/// A job vanished: its own process cannot tell anybody. Hooks take their time, which the scheduler does not have.
fn tell(state: &std::path::Path, configuration: PathBuf, job: &Job, output: &Output) {
    let details = Record::open(state).and_then(|record| record.job(job.id));
    match details {
        Ok(details) => {
            let output = output.clone();
            drop(std::thread::spawn(move || recording::tell(&configuration, &details, &output)));
        }
        Err(error) => output.warning(&error.to_string()),
    }
}
