//! `cairn cat`: the contents of files of a recovery point to standard output.

use std::io::{self, Write};

use anyhow::Context as _;
use cairn::monitor::Monitor;
use cairn::tree::Tree;

use super::super::context::Context;
use super::super::exit::Exit;
use super::super::look::{Location, LocationParser, Look, LookArgs, at, shown};

/// Bytes read and written at a time: several are decoded at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Options of `cairn cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn cat web01@latest:/etc/fstab
  cairn cat web01@2026-11-21:/var/lib/app/state.db > state.db
  cairn cat web01@latest:disks/vda.raw | ssh other 'cat > vda.raw'")]
pub(crate) struct CatArgs {
    /// The point and the path of a file in it
    #[arg(value_name = "POINT:PATH", value_parser = LocationParser)]
    location: Location,

    #[command(flatten)]
    look: LookArgs,
}

/// Writes it.
pub(crate) fn run(context: &Context, args: &CatArgs) -> anyhow::Result<Exit> {
    let look = Look::open(context, &args.look, &args.location.point)?;
    let found = look.find(&args.location.path, true)?;
    let file = look.tree.open(&found.spot).map_err(|error| at(&found.path, error))?;
    let mut stdout = io::stdout().lock();
    let mut piece = Vec::new();
    let mut offset = 0;
    while offset < file.size_bytes() {
        if look.monitor.cancelled() {
            return Ok(Exit::Interrupted);
        }
        let length = (file.size_bytes() - offset).min(PIECE_BYTES);
        // A piece at most, so the cast cannot cut.
        piece.resize(length as usize, 0);
        let read = file.read_at(offset, &mut piece);
        read.with_context(|| format!("{}, bytes {offset} to {}", shown(&found.path), offset + length))?;
        match stdout.write_all(&piece) {
            // A reader that went away has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written.context("the file cannot be written to standard output")?,
        }
        offset += length;
    }
    Ok(Exit::done(look.monitor.finish().warning_count))
}
