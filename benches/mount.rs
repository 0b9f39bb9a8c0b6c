//! A mount against the least that a FUSE server can do: a tree with one file of zeros, with the same options, in the same run.
//!
//! `cargo bench --bench mount` measures on a made-up disk of 1 GiB; `cargo bench --bench mount -- IMAGE` on a real one. Needs FUSE. Each
//! figure is the best of three.
#![expect(clippy::print_stdout, reason = "its table is what it is for")]

#[path = "kit/data.rs"]
mod data;

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::backend::LocalDirectory;
use cairn::crypt::slot::{PassphraseCost, Unlock};
use cairn::format::point::Consistency;
use cairn::format::vault::{DedupScope, Writers};
use cairn::guestfs::{Attributes, FileData, FileKind, GuestError, GuestResult, Place, Run, Timestamp};
use cairn::io::ReadAt;
use cairn::jobs::backup::{BackupRequest, DiskRequest, backup};
use cairn::jobs::points;
use cairn::jobs::recover::{RecoverOptions, Recovery, Scope, VaultPoints};
use cairn::monitor::Silent;
use cairn::mount::{MountOptions, Mounted, mount};
use cairn::source::Format;
use cairn::store::{NewVault, Vault};
use cairn::tree::{Tree, TreeEntry, TreeOptions, VaultTree};
use jiff::tz::TimeZone;
use rayon::prelude::*;

/// Bytes that are read again and again: they stay in the default cache.
const CACHED_BYTES: u64 = 192 << 20;
/// Bytes of a sequential read.
const PIECE: usize = 1 << 20;
const RANDOM_READS: u64 = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--test") || !Path::new("/dev/fuse").exists() {
        println!("the mount bench needs FUSE and a minute; run it by itself");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let image = arguments.first().map_or_else(|| made_up(directory.path()), PathBuf::from);
    let vault = backed_up(directory.path(), &image);
    let size_bytes = fs::metadata(&image).expect("the image").len();
    let place = |name: &str| {
        let place = directory.path().join(name);
        fs::create_dir(&place).expect("a directory");
        place
    };
    let zeros_place = place("zeros");
    let zeros = mounted(Zeros(size_bytes), &zeros_place);
    let zeros_file = zeros_place.join("zeros");
    let empty = best(|| sequential(&zeros_file, CACHED_BYTES));
    let whole_empty = best(|| sequential(&zeros_file, size_bytes));
    let empty_random = best(|| random(&zeros_file, CACHED_BYTES));

    let point_place = place("points");
    let (points, disk) = mounted_points(&vault, &point_place);
    sequential(&disk, CACHED_BYTES);
    let cached = best(|| sequential(&disk, CACHED_BYTES));
    let cached_random = best(|| random(&disk, CACHED_BYTES));
    end(points);
    let cold = best(|| {
        let (points, disk) = mounted_points(&vault, &point_place);
        let time = sequential(&disk, size_bytes);
        end(points);
        time
    });
    let limit = best(|| decoded(&vault, size_bytes));
    end(zeros);

    let rate = |bytes: u64, time: Duration| bytes as f64 / time.as_secs_f64() / f64::from(1 << 20);
    println!("an empty server, {:>5} MiB in order    {:>7.0} MiB/s", CACHED_BYTES >> 20, rate(CACHED_BYTES, empty));
    println!(
        "a disk, decoded before              {:>7.0} MiB/s   {:.2} of it (target 0.80)",
        rate(CACHED_BYTES, cached),
        empty.as_secs_f64() / cached.as_secs_f64()
    );
    println!("an empty server, the whole disk     {:>7.0} MiB/s", rate(size_bytes, whole_empty));
    println!("reading the disk on all cores, no mount {:>3.0} MiB/s", rate(size_bytes, limit));
    println!(
        "a disk, nothing decoded             {:>7.0} MiB/s   {:.2} of that (target 0.70)",
        rate(size_bytes, cold),
        limit.as_secs_f64() / cold.as_secs_f64()
    );
    let each = |time: Duration| time.as_secs_f64() * 1e6 / RANDOM_READS as f64;
    println!("an empty server, 4 KiB at random    {:>7.1} us", each(empty_random));
    println!(
        "a disk, decoded before              {:>7.1} us      {:.2} times as long (target 1.50)",
        each(cached_random),
        cached_random.as_secs_f64() / empty_random.as_secs_f64()
    );
}

fn best(mut measure: impl FnMut() -> Duration) -> Duration {
    (0..3).map(|_| measure()).min().unwrap_or_default()
}

fn made_up(directory: &Path) -> PathBuf {
    let path = directory.join("disk.raw");
    let part = data::half_text(64 << 20);
    let mut bytes = Vec::with_capacity(1 << 30);
    for number in 0..16_u8 {
        // Others than before, so that no part is a copy of another.
        bytes.extend(part.iter().map(|byte| byte ^ number));
    }
    fs::write(&path, bytes).expect("a file");
    path
}

fn backed_up(directory: &Path, image: &Path) -> Arc<Vault> {
    let new = NewVault { compression_level: 2, frame_blocks: 256, dedup_scope: DedupScope::Vault, writers: Writers::Many };
    let backend = Arc::new(LocalDirectory::create(&directory.join("vault")).expect("a directory"));
    let vault = Vault::create(backend, new, &Unlock::Nothing, PassphraseCost::default(), &directory.join("cache")).expect("a vault");
    let vault = Arc::new(vault);
    let source = cairn::source::open(image, Format::Raw).expect("the image");
    let request = BackupRequest {
        machine: "bench".parse().expect("a name"),
        disks: vec![DiskRequest { name: "disk".parse().expect("a name"), source, hints: None, keep_clone: None, spec: None }],
        tags: Vec::new(),
        consistency: Consistency::Crash,
        quiesce: None,
        time: None,
        retain_until: None,
        configs: Vec::new(),
        verify_hints_percent: 0.0,
        compression_level: None,
        dry_run: false,
    };
    backup(&vault, &request, &Silent).expect("a backup");
    vault
}

fn recovery(vault: &Arc<Vault>) -> Recovery {
    let options = RecoverOptions { cache_bytes: 256 << 20, tree: TreeOptions::default(), describe: |_| Vec::new() };
    Recovery::new(Arc::clone(vault), options, None)
}

fn mounted<T: Tree + 'static>(tree: T, place: &Path) -> Mounted
where
    T::Spot: 'static,
{
    let options = MountOptions { name: "bench".to_owned(), allow_other: false };
    mount(tree, place, &options, Box::new(|problem| println!("{problem}"))).expect("a mount")
}

/// Mounts the vault's points with nothing cached; gives the mount and the disk's file.
fn mounted_points(vault: &Arc<Vault>, place: &Path) -> (Mounted, PathBuf) {
    let listing = points::list(vault, place.parent().expect("a directory"), &Silent).expect("a listing");
    let points = VaultPoints::new(recovery(vault), &listing, Scope::All, TimeZone::UTC);
    let mounted = mounted(VaultTree::new(points, Timestamp::default()), place);
    (mounted, place.join("bench/latest/disks/disk.raw"))
}

fn end(mounted: Mounted) {
    mounted.unmounter().unmount().expect("it is mounted");
    mounted.wait().expect("it ends");
}

/// Drops what the kernel has of a file.
fn forget(file: &File) {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("an advice");
}

fn sequential(path: &Path, length: u64) -> Duration {
    let file = File::open(path).expect("the file");
    forget(&file);
    let mut piece = vec![0; PIECE];
    let started = Instant::now();
    let mut at = 0;
    while at < length {
        let want = usize::try_from((length - at).min(PIECE as u64)).expect("a piece");
        file.read_exact_at(&mut piece[..want], at).expect("the file");
        at += want as u64;
    }
    started.elapsed()
}

fn random(path: &Path, within: u64) -> Duration {
    let file = File::open(path).expect("the file");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).expect("an advice");
    forget(&file);
    let mut block = [0; 4096];
    let started = Instant::now();
    for number in 0..RANDOM_READS {
        file.read_exact_at(&mut block, (number * 7919) % (within / 4096) * 4096).expect("the file");
    }
    started.elapsed()
}

/// Reads the disk without a mount, on all cores.
fn decoded(vault: &Arc<Vault>, size_bytes: u64) -> Duration {
    let listing = points::list(vault, Path::new("/nonexistent"), &Silent).expect("a listing");
    let tree = recovery(vault).point(listing.points[0].point()).expect("the point");
    let image = &tree.disks()[0].image;
    let started = Instant::now();
    let pieces = size_bytes.div_ceil(PIECE as u64);
    (0..pieces).into_par_iter().for_each_init(
        || vec![0; PIECE],
        |piece, number| {
            let at = number * PIECE as u64;
            let want = usize::try_from((size_bytes - at).min(PIECE as u64)).expect("a piece");
            image.read_at(at, &mut piece[..want]).expect("the disk");
        },
    );
    started.elapsed()
}

/// A tree with one file of zeros.
struct Zeros(u64);

impl ReadAt for Zeros {
    fn size_bytes(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(0);
        Ok(())
    }
}

impl FileData for Zeros {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        Ok(Run { length_bytes: self.0.saturating_sub(offset_bytes), place: Place::Computed })
    }
}

impl Tree for Zeros {
    type Spot = bool;

    fn top(&self) -> bool {
        true
    }

    fn attributes(&self, top: &bool) -> GuestResult<Attributes> {
        let time = Timestamp::default();
        Ok(Attributes {
            kind: if *top { FileKind::Directory } else { FileKind::Regular },
            size_bytes: if *top { 0 } else { self.0 },
            allocated_bytes: self.0,
            mode: 0o555,
            uid: 0,
            gid: 0,
            links: 1,
            device: None,
            modified: time,
            changed: None,
            accessed: None,
            created: None,
        })
    }

    fn lookup(&self, _: &bool, name: &[u8]) -> GuestResult<Option<bool>> {
        Ok((name == b"zeros").then_some(false))
    }

    fn entries(&self, _: &bool, visit: &mut dyn FnMut(TreeEntry<bool>) -> ControlFlow<()>) -> GuestResult<()> {
        let _ = visit(TreeEntry { name: b"zeros".to_vec(), spot: false, kind: None });
        Ok(())
    }

    fn link_target(&self, _: &bool) -> GuestResult<Vec<u8>> {
        Err(GuestError::unsupported("a link"))
    }

    fn extended_attributes(&self, _: &bool) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn open(&self, _: &bool) -> GuestResult<Arc<dyn FileData>> {
        Ok(Arc::new(Self(self.0)))
    }

    fn is_settled(&self, _: &bool) -> bool {
        true
    }

    fn base_of(&self, _: &bool) -> bool {
        true
    }
}
