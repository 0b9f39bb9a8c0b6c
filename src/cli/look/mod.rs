//! What the commands that look into points share: which point and path is meant, how its disks are opened, how a guest's names are shown.

mod document;
mod location;
mod names;

pub(crate) use document::{FileDocument, LossDocument, kind, long_line, moment};
pub(crate) use location::{Location, LocationParser};
pub(crate) use names::{mode_letters, shown};

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use cairn::catalogue::points::Listing;
use cairn::format::point::Manifest;
use cairn::guestfs::GuestError;
use cairn::image::{ImageError, OnDamage};
use cairn::jobs::points;
use cairn::jobs::recover::{DEFAULT_CACHE_BYTES, RecoverOptions, Recovery};
use cairn::monitor::Monitor as _;
use cairn::store::Vault;
use cairn::tree::{PointTree, Resolved, Spot, Tree, TreeOptions, resolve};
use cairn::units::Extent;
use cairn::volume::luks::Secret;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::context::Context;
use super::fault::usage;
use super::json::PointDocument;
use super::progress::TerminalMonitor;
use super::secret::read_limited;

/// Largest key file of an encrypted volume.
const MOST_KEY_BYTES: u64 = 8 << 20;

/// Options of every command that looks into disks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Looking into disks")]
pub(crate) struct LookArgs {
    /// Open encrypted volumes (LUKS) with the passphrase on the first line of FILE; may be given several times
    ///
    /// Or CAIRN_GUEST_PASSPHRASE in the environment.
    #[arg(long, value_name = "FILE")]
    guest_passphrase_file: Vec<PathBuf>,

    /// Open encrypted volumes (LUKS) with the bytes of FILE; may be given several times
    #[arg(long, value_name = "FILE")]
    guest_key_file: Vec<PathBuf>,

    /// Show filesystems as they lie on the disk, without what their journals still hold
    #[arg(long)]
    no_replay: bool,

    /// Memory for data that was read, with K, M or G for KiB to GiB [default: 256M]
    #[arg(long, value_name = "SIZE", value_parser = super::rate::parse)]
    cache: Option<std::num::NonZeroU64>,
}

impl LookArgs {
    fn secrets(&self) -> anyhow::Result<Vec<Secret>> {
        let mut secrets = Vec::new();
        if let Some(passphrase) = std::env::var_os("CAIRN_GUEST_PASSPHRASE") {
            secrets.push(Secret::Passphrase(Zeroizing::new(passphrase.into_encoded_bytes())));
        }
        for path in &self.guest_passphrase_file {
            let bytes = read_limited(path, MOST_KEY_BYTES).with_context(|| format!("the passphrase file '{}'", path.display()))?;
            let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
            secrets.push(Secret::Passphrase(Zeroizing::new(line.to_vec())));
        }
        for path in &self.guest_key_file {
            let bytes = read_limited(path, MOST_KEY_BYTES).with_context(|| format!("the key file '{}'", path.display()))?;
            secrets.push(Secret::Passphrase(Zeroizing::new(bytes.to_vec())));
        }
        Ok(secrets)
    }

    /// The vault's points as trees. Ranges that cannot be read are warnings.
    pub(crate) fn recovery(&self, context: &Context, vault: &Arc<Vault>) -> anyhow::Result<Recovery> {
        let cache_bytes = match self.cache {
            Some(bytes) => usize::try_from(bytes.get()).map_err(|_| usage("the cache is larger than memory can be"))?,
            None => DEFAULT_CACHE_BYTES,
        };
        let tree = TreeOptions { no_replay: self.no_replay, secrets: self.secrets()? };
        let output = context.output.clone();
        let on_damage: Arc<OnDamage> = Arc::new(move |_: Extent, error: &ImageError| output.warning(&error.to_string()));
        Ok(Recovery::new(Arc::clone(vault), RecoverOptions { cache_bytes, tree, describe }, Some(on_damage)))
    }
}

/// A manifest as the JSON that stands in `machine/manifest.json`: as `points --json` has it.
fn describe(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&PointDocument::new(manifest, None)).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A point that is looked into.
pub(crate) struct Look {
    pub(crate) tree: PointTree,
    /// The point's name, for messages.
    pub(crate) name: String,
    pub(crate) monitor: TerminalMonitor,
}

impl Look {
    /// Opens the point that a name means.
    pub(crate) fn open(context: &Context, args: &LookArgs, point: &str) -> anyhow::Result<Self> {
        let vault = context.open_vault()?;
        let monitor = context.monitor()?;
        let listing = context.list_points(&vault, &monitor)?;
        Self::of_listing(context, args, &vault, &listing, point, monitor)
    }

    fn of_listing(
        context: &Context,
        args: &LookArgs,
        vault: &Arc<Vault>,
        listing: &Listing,
        point: &str,
        monitor: TerminalMonitor,
    ) -> anyhow::Result<Self> {
        let found = points::find(listing, point, &TimeZone::system())?;
        let tree = args.recovery(context, vault)?.point(found.point())?;
        Ok(Self { tree, name: found.name(), monitor })
    }

    /// What a path means: an absolute one the guest's own, others the point's directory as a mount has it.
    pub(crate) fn find(&self, path: &[u8], follow_last: bool) -> anyhow::Result<Resolved<Spot>> {
        let from = if path.starts_with(b"/") { self.guest_top()? } else { self.tree.top() };
        let found = resolve(&self.tree, &from, path, follow_last);
        found.with_context(|| self.name.clone())
    }

    /// The path of something that was found, as it would be typed: with a slash at its start where that was typed.
    pub(crate) fn typed_path(&self, typed: &[u8], found: &[u8]) -> Vec<u8> {
        let start: &[u8] = if typed.starts_with(b"/") { b"/" } else { b"" };
        [start, found].concat()
    }

    /// Whether somebody asked for the end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.monitor.cancelled()
    }

    /// Where the guest's own paths begin.
    fn guest_top(&self) -> anyhow::Result<Spot> {
        if let Some(top) = self.tree.guest_top() {
            return Ok(top);
        }
        let names: Vec<_> = self.tree.volumes().iter().filter_map(|volume| volume.name.clone()).collect();
        let problem = match names.as_slice() {
            [] => "no filesystem that Cairn can read was found on its disks".to_owned(),
            _ => {
                let paths: Vec<_> = names.iter().map(|name| format!("{}:files/{name}", self.name)).collect();
                format!("it has several volumes and no table of its own that puts them together; name one: {}", paths.join(", "))
            }
        };
        let closed: Vec<_> = self.tree.closed().iter().map(|closed| closed.error.to_string()).collect();
        let closed = if closed.is_empty() { String::new() } else { format!(" ({})", closed.join("; ")) };
        anyhow::bail!("{}: {problem}{closed}; 'cairn volumes {}' tells more", self.name, self.name)
    }
}

/// A failure to read a file of a guest, with its path.
pub(crate) fn at(path: &[u8], error: GuestError) -> anyhow::Error {
    anyhow::Error::new(error).context(shown(path))
}
