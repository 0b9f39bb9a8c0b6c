//! `cairn cp`: files and directories out of a recovery point.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use cairn::jobs::recover::{Existing, ExtractOptions, Extracted, Source, extract};
use cairn::monitor::Monitor as _;
use cairn::tree::Spot;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::look::{Location, LocationParser, Look, LookArgs, LossDocument};
use super::super::output::to_stderr;
use super::super::progress::{Ended, Warning};
use super::super::render::{duration, rate, safe, size};

/// Options of `cairn cp`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The target is a directory that is there, or for one source also a new name. Nothing is ever written outside of it: links in it are not
followed, nor are those that are copied. A file in a directory that cannot be read, or that is there already, is a warning, and the others
are copied (exit code 3); one that was named and is not copied is a failure (exit code 1).
Without -a a file keeps its contents, mode (but for setuid) and time; with -a all that this user may set. Holes stay holes.

Examples:
  cairn cp web01@latest:/etc/fstab .
  cairn cp -a web01@2026-11-21:/home/anna /srv/restored
  cairn cp -r --overwrite web01@latest:/srv/www /srv
  cairn cp web01@latest:disks/vda.raw /srv/vda.raw")]
pub(crate) struct CpArgs {
    /// What to copy, all of one point, and where to
    #[arg(value_names = ["POINT:PATH", "TARGET"], num_args = 2.., required = true)]
    paths: Vec<std::ffi::OsString>,

    /// Keep owners, modes, times, extended attributes, ACLs, hard links and special files; implies -r
    #[arg(short, long)]
    archive: bool,

    /// Copy directories with everything in them
    #[arg(short, long)]
    recursive: bool,

    /// Let files that are there be replaced; without it a terminal is asked, and else they stay
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    look: LookArgs,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct CpDocument {
    point: String,
    target: String,
    files: u64,
    directories: u64,
    links: u64,
    hard_links: u64,
    special_files: u64,
    size_bytes: u64,
    written_bytes: u64,
    not_kept: Vec<LossDocument>,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// Copies.
pub(crate) fn run(context: &Context, args: &CpArgs) -> anyhow::Result<Exit> {
    let Some((target, named)) = args.paths.split_last() else { return Err(usage("nothing to copy is named")) };
    let target = PathBuf::from(target);
    let locations = named.iter().map(|named| LocationParser::of(named.clone()).map_err(usage)).collect::<anyhow::Result<Vec<_>>>()?;
    let Some(first) = locations.first() else { return Err(usage("nothing to copy is named")) };
    if let Some(other) = locations.iter().find(|location| location.point != first.point) {
        return Err(usage(format!("'{}' and '{}' are two points; copy from one at a time", first.point, other.point)));
    }
    let look = Look::open(context, &args.look, &first.point)?;
    let sources = locations.iter().map(|location| source(&look, location, args)).collect::<anyhow::Result<Vec<_>>>()?;
    let ask = |path: &Path| look.monitor.aside(|| ask(path));
    let existing = match args.overwrite {
        true => Existing::Replace,
        false if io::stdin().is_terminal() && io::stderr().is_terminal() => Existing::Ask(&ask),
        false => Existing::Keep,
    };
    let options = ExtractOptions { archive: args.archive, recursive: args.recursive || args.archive, existing };
    look.monitor.step("copying");
    let mut extracted = extract(&look.tree, &sources, &target, &options, &look.monitor)?;
    let ended = look.monitor.finish();
    let exit = Exit::done(ended.warning_count);
    let left_out = std::mem::take(&mut extracted.left_out);
    let document = document(&look.name, &target, extracted, ended);
    if left_out.is_empty() {
        context.output.result(&document, || text(&document))?;
        return Ok(exit);
    }
    // Of the others a person is told; a script gets the error alone, as from every command that fails.
    if !context.output.is_json() && left_out.len() < sources.len() {
        context.output.text(&text(&document))?;
    }
    anyhow::bail!("not copied: {}", left_out.join(", "))
}

fn source(look: &Look, location: &Location, args: &CpArgs) -> anyhow::Result<Source<Spot>> {
    // As cp does: links that are named are followed, unless directories are copied as they are.
    let found = look.find(&location.path, !(args.recursive || args.archive))?;
    let name = found.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    Ok(Source { spot: found.spot, path: look.typed_path(&location.path, &found.path), name })
}

/// Asks whether a file may be replaced.
fn ask(path: &Path) -> bool {
    to_stderr(&format!("replace {}? [y/N] ", safe(&path.to_string_lossy())));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn document(point: &str, target: &Path, extracted: Extracted, ended: Ended) -> CpDocument {
    CpDocument {
        point: point.to_owned(),
        target: target.display().to_string(),
        files: extracted.files,
        directories: extracted.directories,
        links: extracted.links,
        hard_links: extracted.hard_links,
        special_files: extracted.special,
        size_bytes: extracted.size_bytes,
        written_bytes: extracted.written_bytes,
        not_kept: extracted.not_kept.into_iter().map(|(what, files)| LossDocument { what, files }).collect(),
        elapsed_seconds: ended.elapsed.as_secs_f64(),
        warnings: ended.warnings,
        warning_count: ended.warning_count,
    }
}

fn text(document: &CpDocument) -> String {
    let elapsed = std::time::Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    let mut counts = vec![plural(document.files, "file", "files")];
    let others = [
        (document.directories, "directory", "directories"),
        (document.links, "link", "links"),
        (document.hard_links, "hard link", "hard links"),
        (document.special_files, "special file", "special files"),
    ];
    counts.extend(others.iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| plural(*count, one, many)));
    let mut text = format!(
        "Copied {} to {}: {}, {} of data in {}, {}\n",
        counts.join(", "),
        safe(&document.target),
        size(document.size_bytes),
        size(document.written_bytes),
        duration(elapsed),
        rate(document.written_bytes, document.elapsed_seconds)
    );
    for loss in &document.not_kept {
        text.push_str(&format!("Not kept: {} of {}\n", safe(&loss.what), plural(loss.files, "file", "files")));
    }
    text
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
