//! The command line of Cairn. Thin: what was typed ([`args`]), what it means ([`context`]), one call of the library in each of
//! [`commands`], the result rendered ([`render`], [`output`]), an exit code ([`exit`]).
//!
//! Nothing here knows a format, a key or a store; what a command does beyond showing belongs into the library's `jobs`.

mod args;
mod background;
mod commands;
mod context;
mod definition;
mod exit;
mod fault;
mod homes;
mod json;
mod kept;
mod look;
mod moment;
mod output;
mod progress;
mod protection;
mod quiesce;
mod rate;
mod recording;
mod render;
mod secret;
mod signals;
mod size;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use context::Context;
use exit::Exit;
use output::to_stderr;

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = cairn::quiesce::helper_main(&arguments) {
        return code.into();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let context = Context::new(cli.globals);
    let verifies = matches!(cli.command, Command::Verify(_));
    let (exit, errors) = match dispatch(&context, cli.command) {
        Ok(exit) => (exit, Vec::new()),
        Err(error) => fail(&context, &error, verifies),
    };
    context.end_job(exit, &errors);
    exit.into()
}

fn dispatch(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => commands::init::run(context, &args),
        Command::Backup(args) => commands::backup::run(context, args),
        Command::Points(args) => commands::points::run(context, args),
        Command::Show(args) => commands::show::run(context, &args),
        Command::Diff(args) => commands::diff::run(context, &args),
        Command::Restore(args) => commands::restore::run(context, &args),
        Command::Mount(args) => commands::mount::run(context, &args),
        Command::Ls(args) => commands::ls::run(context, &args),
        Command::Stat(args) => commands::stat::run(context, &args),
        Command::Cat(args) => commands::cat::run(context, &args),
        Command::Find(args) => commands::find::run(context, &args),
        Command::Cp(args) => commands::cp::run(context, &args),
        Command::Tar(args) => commands::tar::run(context, &args),
        Command::Volumes(args) => commands::volumes::run(context, &args),
        Command::Versions(args) => commands::versions::run(context, &args),
        Command::Machine(args) => commands::machine::run(context, args),
        Command::Status(args) => commands::status::run(context, &args),
        Command::Jobs(args) => commands::jobs::run(context, args),
        Command::Run(args) => commands::run::run(context, &args),
        Command::SystemdUnit(args) => commands::systemd_unit::run(context, &args),
        Command::Verify(args) => commands::verify::run(context, &args),
        Command::Copy(args) => commands::copy::run(context, args),
        Command::Mirror(args) => commands::mirror::run(context, &args),
        Command::Repair(args) => commands::repair::run(context, &args),
        Command::Gc(args) => commands::gc::run(context, &args),
        Command::Policy(args) => commands::policy::run(context, args),
        Command::Prune(args) => commands::prune::run(context, &args),
        Command::Immutability(args) => commands::immutability::run(context, &args),
        Command::Stats(args) => commands::stats::run(context, &args),
        Command::Key(args) => commands::key::run(context, args),
        Command::Index(args) => commands::index::run(context, &args),
        Command::Bench(args) => commands::bench::run(context, args),
        Command::Completions(args) => commands::completions::run(context, &args),
        Command::Man(args) => commands::man::run(context, &args),
    }
}

/// Shows what clap has to say: help, the version, or what is wrong with the command line.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let hostile = |argument: &OsString| matches!(render::safe(&argument.to_string_lossy()), std::borrow::Cow::Owned(_));
    if error.use_stderr() && arguments.iter().any(hostile) {
        // clap repeats arguments as they are, and a script may have taken them from anywhere.
        let text = error.render().to_string();
        let lines: Vec<_> = text.lines().map(render::safe).collect();
        to_stderr(&format!("{}\n", lines.join("\n")));
    } else {
        // A reader that went away is no failure.
        let _ = error.print();
    }
    match error.exit_code() {
        0 => Exit::Done.into(),
        _ => Exit::Usage.into(),
    }
}

fn fail(context: &Context, error: &anyhow::Error, verifies: bool) -> (Exit, Vec<String>) {
    let exit = fault::exit(error);
    let mut messages = match exit {
        Exit::Interrupted => vec![fault::interrupted(error).to_owned()],
        _ => fault::messages(error),
    };
    if let Some(outermost) = messages.first_mut().filter(|_| exit == Exit::Damage && !verifies) {
        outermost.push_str("; ");
        outermost.push_str(fault::ADVICE);
    }
    context.output.error(&messages);
    if context.output.is_json() {
        // The text on standard error has said it already; where standard output fails too, nothing is left to do.
        let _ = context.output.result(&fault::ErrorDocument::new(&messages, exit), String::new);
    }
    (exit, messages)
}
