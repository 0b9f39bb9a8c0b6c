//! `cairn mount`: recovery points as directories.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cairn::catalogue::points::Listing;
use cairn::guestfs;
use cairn::jobs::points;
use cairn::jobs::recover::{Scope, VaultPoints};
use cairn::monitor::Monitor;
use cairn::mount::{MountOptions, Mounted, mount};
use cairn::tree::VaultTree;
use cairn::units::MachineName;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::background;
use super::super::context::Context;
use super::super::exit::Exit;
use super::super::fault::usage;
use super::super::look::LookArgs;
use super::super::render::safe;

/// How often it is looked whether a signal came.
const LOOK: Duration = Duration::from_millis(50);

/// Options of `cairn mount`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Below DIR, read-only:
  MACHINE/POINT/disks/vda.raw   the exact disk as a sparse file; vda.map.json says where it has data
  MACHINE/POINT/files/NAME/     the files of each volume, with owners, modes, times, links and attributes
  MACHINE/POINT/root/           the guest's own tree, where it has an fstab
  MACHINE/POINT/machine/        the manifest and the configuration kept with the point
  MACHINE/latest, MACHINE/2026-11-21   links to the last point, and to the last of a day

It ends with Ctrl-C, with 'umount DIR' as root and 'fusermount3 -u DIR' as another user. Who mounts may read everything; with
--allow-other all other users may read what the guest's owners and modes let them. Absolute links in root/ are the guest's own
and lead out of the mount: cairn cat and cairn cp follow them as the guest would.

Examples:
  cairn mount /mnt/points --all
  cairn mount /mnt/points web01 --background
  cairn mount /mnt/points web01@latest
  cp -a /mnt/points/web01/latest/root/home/anna /home/")]
pub(crate) struct MountArgs {
    /// An empty directory to mount on
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The point to show, or the machine whose points to show; all of all machines if neither is named
    #[arg(value_name = "POINT|MACHINE")]
    what: Option<String>,

    /// Show every point of every machine (as without POINT or MACHINE)
    #[arg(long, conflicts_with = "what")]
    all: bool,

    /// Return when it is mounted, and serve it in the background
    #[arg(long)]
    background: bool,

    /// Where a mount in the background writes what goes wrong [default: cairn-mount.log in the state directory]
    #[arg(long, value_name = "FILE", requires = "background")]
    log: Option<PathBuf>,

    /// Let other users look in too, held to the guest's owners and modes
    #[arg(long)]
    allow_other: bool,

    #[command(flatten)]
    look: LookArgs,
}

/// Mounts, and serves until it is unmounted.
pub(crate) fn run(context: &Context, args: &MountArgs) -> anyhow::Result<Exit> {
    if args.background && !background::is_child() {
        return background::start();
    }
    let vault = context.open_vault()?;
    let monitor = context.monitor()?;
    let listing = context.list_points(&vault, &monitor)?;
    let scope = scope(&listing, args.what.as_deref())?;
    let recovery = args.look.recovery(context, &vault)?;
    let now = guestfs::Timestamp { seconds: Timestamp::now().as_second(), nanoseconds: 0 };
    let points = VaultPoints::new(recovery.clone(), &listing, scope, TimeZone::system());
    // Held until the end: collections keep what is shown.
    let lease = recovery.hold(&points.ids(), "mount")?;
    if lease.is_none() {
        context.output.warning(
            "the vault cannot be written to: a collection cannot be told that its points are mounted, and may remove deleted ones",
        );
    }
    let tree = VaultTree::new(points, now);
    let options = MountOptions { name: context.vault_location()?, allow_other: args.allow_other };
    let output = context.output.clone();
    let mounted = mount(tree, &args.directory, &options, Box::new(move |problem| output.warning(problem)))?;
    let place = safe(&args.directory.to_string_lossy()).into_owned();
    if mounted.cleaned {
        context.output.note(&format!("a mount whose program had died was taken away from {place} first"));
    }
    if args.background {
        let log = args.log.clone().map_or_else(|| context.state_file("cairn-mount.log"), Ok)?;
        background::tell_ready(&log).with_context(|| format!("the log '{}' cannot be written", log.display()))?;
    } else {
        context.output.note(&format!("mounted on {place}; Ctrl-C ends it"));
    }
    let served = serve(context, mounted, monitor);
    drop(lease);
    served
}

/// Serves until it is unmounted. A signal unmounts; who has files open then reads on, until a second signal ends the process.
fn serve(context: &Context, mounted: Mounted, monitor: super::super::progress::TerminalMonitor) -> anyhow::Result<Exit> {
    let unmounter = mounted.unmounter();
    let monitor = Arc::new(monitor);
    let watched = Arc::clone(&monitor);
    let output = context.output.clone();
    std::thread::spawn(move || {
        while !watched.cancelled() {
            std::thread::sleep(LOOK);
        }
        match unmounter.unmount() {
            Ok(()) => output.note("unmounted; waiting for files that are still open (once more ends at once)"),
            Err(error) => output.warning(&format!("it cannot be unmounted: {error}")),
        }
    });
    mounted.wait()?;
    Ok(Exit::Done)
}

/// Which points are meant.
fn scope(listing: &Listing, what: Option<&str>) -> anyhow::Result<Scope> {
    let Some(what) = what else { return Ok(Scope::All) };
    if let Ok(machine) = what.parse::<MachineName>()
        && listing.points.iter().any(|point| point.manifest.machine == machine)
    {
        return Ok(Scope::Machine(machine));
    }
    if !what.contains('@') && !what.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(usage(format!("the vault has no machine '{what}', and it is no point; cairn points lists what it has")));
    }
    Ok(Scope::Point(points::find(listing, what, &TimeZone::system())?.point()))
}
