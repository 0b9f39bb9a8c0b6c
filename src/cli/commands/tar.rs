//! `cairn tar`: files and directories of a recovery point as an archive, to a file or a pipe.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use cairn::jobs::JobError;
use cairn::jobs::recover::{ArchiveFile, ArchiveFormat, Compression, Packed, Source, pack};
use cairn::monitor::Monitor as _;
use cairn::tree::Spot;
use serde::Serialize;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::look::{Location, LocationParser, Look, LookArgs, LossDocument};
use super::super::progress::{Ended, Warning};
use super::super::render::{duration, safe, size};

/// Options of `cairn tar`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A tar archive holds owners, modes, times to the nanosecond, extended attributes and ACLs, hard links, device nodes and holes
(GNU tar restores all of it with --xattrs --xattrs-include='*'). A zip archive holds contents, modes, times and links; what it leaves
out is said. What cannot be read is filled with zeros where its size was written already, and is a warning (exit code 3).

Examples:
  cairn tar web01@latest:/etc | ssh other 'tar -xp -C /srv/restored'
  cairn tar web01@latest:/home/anna -o anna.tar.zst --zstd
  cairn tar web01@latest:/srv/www web01@latest:/etc/nginx -o www.tar.gz --gzip
  cairn tar web01@latest:/home/anna/documents -o documents.zip --format zip")]
pub(crate) struct TarArgs {
    /// What to pack, all of one point
    #[arg(value_name = "POINT[:PATH]", value_parser = LocationParser, required = true)]
    locations: Vec<Location>,

    /// The archive; without it standard output, if that is no terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// The archive's format
    #[arg(long, value_enum, default_value_t)]
    format: FormatChoice,

    /// Compress it with zstd
    #[arg(long, conflicts_with = "gzip")]
    zstd: bool,

    /// Compress it with gzip
    #[arg(long)]
    gzip: bool,

    /// Let the file be replaced if it is there
    #[arg(long, requires = "output")]
    overwrite: bool,

    #[command(flatten)]
    look: LookArgs,
}

/// A format, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum FormatChoice {
    /// POSIX tar, with what GNU tar adds for holes
    #[default]
    Tar,
    /// ZIP, for who has no tar
    Zip,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct TarDocument {
    point: String,
    output: String,
    files: u64,
    directories: u64,
    links: u64,
    hard_links: u64,
    special_files: u64,
    size_bytes: u64,
    not_kept: Vec<LossDocument>,
    elapsed_seconds: f64,
    warnings: Vec<Warning>,
    warning_count: u64,
}

/// Packs.
pub(crate) fn run(context: &Context, args: &TarArgs) -> anyhow::Result<Exit> {
    check(context, args)?;
    let Some(first) = args.locations.first() else { return Err(usage("nothing to pack is named")) };
    if let Some(other) = args.locations.iter().find(|location| location.point != first.point) {
        return Err(usage(format!("'{}' and '{}' are two points; pack one at a time", first.point, other.point)));
    }
    let look = Look::open(context, &args.look, &first.point)?;
    let sources = args.locations.iter().map(|location| source(&look, location)).collect::<anyhow::Result<Vec<_>>>()?;
    look.monitor.step("packing");
    let packed = match write(args, &look, &sources) {
        Ok(packed) => packed,
        // A reader that went away has what it wanted.
        Err(JobError::File { source, .. }) if args.output.is_none() && source.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        Err(error) => return Err(error.into()),
    };
    let ended = look.monitor.finish();
    let exit = Exit::done(ended.warning_count);
    let document = document(&look.name, args, packed, ended);
    if args.output.is_some() {
        context.output.result(&document, || text(&document))?;
    } else {
        context.output.note(text(&document).trim_end());
    }
    Ok(exit)
}

fn check(context: &Context, args: &TarArgs) -> anyhow::Result<()> {
    if args.format == FormatChoice::Zip && (args.zstd || args.gzip) {
        return Err(usage("a zip archive compresses each file by itself; leave out --zstd and --gzip"));
    }
    if args.output.is_some() {
        return Ok(());
    }
    if context.output.is_json() {
        return Err(usage("with --json the archive needs a file of its own; give -o FILE"));
    }
    if io::stdout().is_terminal() {
        return Err(usage("an archive is nothing for a terminal; give -o FILE, or a pipe"));
    }
    Ok(())
}

fn source(look: &Look, location: &Location) -> anyhow::Result<Source<Spot>> {
    let found = look.find(&location.path, false)?;
    let name = found.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    Ok(Source { spot: found.spot, path: look.typed_path(&location.path, &found.path), name })
}

fn write(args: &TarArgs, look: &Look, sources: &[Source<Spot>]) -> Result<Packed, JobError> {
    let format = match args.format {
        FormatChoice::Tar => ArchiveFormat::Tar,
        FormatChoice::Zip => ArchiveFormat::Zip,
    };
    let compression = match (args.zstd, args.gzip) {
        (true, _) => Compression::Zstd,
        (_, true) => Compression::Gzip,
        _ => Compression::None,
    };
    let Some(path) = &args.output else {
        return pack(&look.tree, sources, format, compression, io::stdout().lock(), &look.monitor);
    };
    let mut file = ArchiveFile::create(path, args.overwrite)?;
    let packed = pack(&look.tree, sources, format, compression, file.file(), &look.monitor)?;
    file.finish()?;
    Ok(packed)
}

fn document(point: &str, args: &TarArgs, packed: Packed, ended: Ended) -> TarDocument {
    TarDocument {
        point: point.to_owned(),
        output: args.output.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string()),
        files: packed.files,
        directories: packed.directories,
        links: packed.links,
        hard_links: packed.hard_links,
        special_files: packed.special,
        size_bytes: packed.size_bytes,
        not_kept: packed.not_kept.into_iter().map(|(what, files)| LossDocument { what, files }).collect(),
        elapsed_seconds: ended.elapsed.as_secs_f64(),
        warnings: ended.warnings,
        warning_count: ended.warning_count,
    }
}

fn text(document: &TarDocument) -> String {
    let elapsed = std::time::Duration::try_from_secs_f64(document.elapsed_seconds).unwrap_or_default();
    let names = document.files + document.directories + document.links + document.hard_links + document.special_files;
    let mut text =
        format!("Packed {names} names to {}, {} of files in {}\n", safe(&document.output), size(document.size_bytes), duration(elapsed));
    for loss in &document.not_kept {
        let files = if loss.files == 1 { "file" } else { "files" };
        text.push_str(&format!("Not kept: {} of {} {files}\n", safe(&loss.what), loss.files));
    }
    text
}
