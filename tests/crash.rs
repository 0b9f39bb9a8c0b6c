//! The real program, ended by signals at any moment and run many times at once: what was published stays, and the next backup succeeds.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::backend::LocalDirectory;
use cairn::catalogue::points::{Listing, Points};
use cairn::crypt::slot::Unlock;
use cairn::jobs::restore::{RestoreRequest, restore};
use cairn::jobs::verify::{VerifyRequest, verify};
use cairn::monitor::Silent;
use cairn::store::Vault;
use cairn::units::PointId;
use rustix::process::{Pid, Signal, kill_process};

const IMAGE_BYTES: usize = 12 << 20;

/// When a backup is ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// At once when this can be seen in the vault.
    Seen(Sign),
    /// After this part of the time that a whole backup takes.
    Part(f64),
}

/// What tells how far a backup has come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    Lease,
    UnfinishedPack,
    Pack,
    Manifest,
    Verdict,
}

/// Noise that is the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A vault, one image, and what must be in the vault.
struct Scene {
    directory: tempfile::TempDir,
    image: Vec<u8>,
    points: BTreeMap<PointId, Vec<u8>>,
    /// What was in the vault when the backup under way began: objects by kind.
    before: BTreeMap<&'static str, usize>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scene = Self { directory, image: noise(0, IMAGE_BYTES), points: BTreeMap::new(), before: BTreeMap::new() };
        let status = scene.cairn(&["init", "--encryption", "none", "--compression", "1"]).status().unwrap();
        assert!(status.success(), "{status}");
        scene.write_image();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn cairn(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(arguments).env("CAIRN_VAULT", self.path("vault")).env("HOME", self.directory.path());
        command.env("CAIRN_STATE_DIR", self.path("state")).env("CAIRN_CONFIG_DIR", self.path("configuration"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn backup(&self, machine: &str, image: &str) -> Child {
        let disk = format!("vda={}", self.path(image).display());
        let mut command = self.cairn(&["--quiet", "backup", machine, "--disk", &disk]);
        // As from hosts of their own: one host does not back up a machine twice at a time.
        command.env("CAIRN_STATE_DIR", self.path(&format!("state-of-{image}"))).spawn().unwrap()
    }

    fn write_image(&self) {
        fs::write(self.path("image"), &self.image).unwrap();
    }

    /// Changes a quarter of the image.
    fn change(&mut self, seed: u64) {
        let length = IMAGE_BYTES / 4;
        let at = (seed as usize * 1_234_567) % (IMAGE_BYTES - length);
        self.image[at..at + length].copy_from_slice(&noise(seed, length));
        let file = File::options().write(true).open(self.path("image")).unwrap();
        file.write_all_at(&self.image[at..at + length], at as u64).unwrap();
    }

    fn vault(&self) -> Arc<Vault> {
        let backend = LocalDirectory::open(&self.path("vault")).unwrap();
        Arc::new(Vault::open(Arc::new(backend), &Unlock::Nothing, self.directory.path()).unwrap())
    }

    fn listing(&self) -> Listing {
        let vault = self.vault();
        let listing = Points::new(vault.backend().as_ref(), vault.keys()).list().unwrap();
        assert!(listing.problems.is_empty(), "{:?}", listing.problems);
        listing
    }

    /// Takes note of a point that was published, which can be one at most; whether there was one.
    fn take_note(&mut self) -> bool {
        let listing = self.listing();
        let new: Vec<PointId> = listing.points.iter().map(|point| point.point()).filter(|id| !self.points.contains_key(id)).collect();
        assert!(new.len() <= 1, "{new:?}");
        assert_eq!(listing.points.len(), self.points.len() + new.len(), "a point is gone");
        self.points.extend(new.iter().map(|id| (*id, self.image.clone())));
        !new.is_empty()
    }

    /// A backup that nobody disturbs.
    fn back_up(&mut self) {
        self.before = self.counts();
        let output = self.backup("web01", "image").wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        assert!(self.take_note(), "a backup that succeeded published nothing");
    }

    /// What a point restores.
    fn restored(&self, point: PointId) -> Vec<u8> {
        let to = self.path("restored");
        let request = RestoreRequest {
            point,
            disk: Some("vda".parse().unwrap()),
            to: to.clone(),
            overwrite: false,
            dry_run: false,
            read_back: false,
            sync: false,
            skip_damaged: false,
        };
        restore(&self.vault(), &request, &Silent).unwrap();
        let bytes = fs::read(&to).unwrap();
        fs::remove_file(to).unwrap();
        bytes
    }

    fn assert_restores(&self, point: PointId) {
        assert!(self.restored(point) == self.points[&point], "{point} restores other bytes");
    }

    fn assert_whole(&self) {
        let request = VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None };
        let report = verify(&self.vault(), &request, &Silent).unwrap();
        assert!(report.is_whole() && report.points.len() == self.points.len(), "{report:?}");
    }

    /// Files of the vault by kind, unfinished ones too.
    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for path in files(&self.path("vault")) {
            let text = path.to_str().unwrap();
            let directory = ["leases", "packs", "points", "verdicts"].into_iter().find(|name| text.contains(&format!("/{name}/")));
            let kind = match (directory, text.contains("/.tmp-")) {
                (Some("packs"), true) => Some("unfinished pack"),
                (directory, false) => directory,
                _ => None,
            };
            *counts.entry(kind.unwrap_or("other")).or_insert(0) += 1;
        }
        counts
    }

    fn sees(&self, sign: Sign) -> bool {
        let kind = match sign {
            Sign::Lease => "leases",
            Sign::UnfinishedPack => "unfinished pack",
            Sign::Pack => "packs",
            Sign::Manifest => "points",
            Sign::Verdict => "verdicts",
        };
        self.counts().get(kind) > self.before.get(kind)
    }

    /// Sends the signal at the moment, unless the backup has ended before.
    fn end(&self, mut child: Child, moment: Moment, signal: Signal, whole: Duration) -> ExitStatus {
        let begun = Instant::now();
        let pid = Pid::from_child(&child);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            let now = match moment {
                Moment::Seen(sign) => self.sees(sign),
                Moment::Part(part) => begun.elapsed() >= whole.mul_f64(part),
            };
            if now {
                kill_process(pid, signal).unwrap();
                return child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        // What is listed may be gone by now: a backup is at work.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

fn moments() -> Vec<Moment> {
    let signs = [Sign::Lease, Sign::UnfinishedPack, Sign::Pack, Sign::Manifest, Sign::Verdict];
    let parts = noise(2026, 6).into_iter().map(|byte| Moment::Part(f64::from(byte) / 256.0));
    signs.into_iter().map(Moment::Seen).chain(parts).collect()
}

/// Ends backups by a signal at all moments; how they ended.
fn end_at_all_moments(scene: &mut Scene, signal: Signal, mut ended: impl FnMut(&mut Scene, ExitStatus, bool)) {
    let begun = Instant::now();
    scene.back_up();
    let whole = begun.elapsed();
    for (round, moment) in (1..).zip(moments()) {
        scene.change(round);
        scene.before = scene.counts();
        let status = scene.end(scene.backup("web01", "image"), moment, signal, whole);
        let published = scene.take_note();
        assert!(published || !status.success(), "{moment:?}: a backup that succeeded published nothing");
        ended(scene, status, published);
        let latest = *scene.listing().points.last().map(|point| &point.manifest.point).unwrap();
        scene.assert_restores(latest);
        scene.change(round + 100);
        scene.back_up();
    }
    scene.assert_whole();
    let points: Vec<PointId> = scene.points.keys().copied().collect();
    points.into_iter().for_each(|point| scene.assert_restores(point));
}

#[test]
fn a_killed_backup_harms_nothing() {
    let mut scene = Scene::new();
    let mut killed = 0;
    end_at_all_moments(&mut scene, Signal::KILL, |_, status, _| {
        assert!(status.success() || status.signal() == Some(9), "{status}");
        killed += u32::from(!status.success());
    });
    assert!(killed >= 3, "only {killed} backups were killed before their end: the test looks at nothing");
}

#[test]
fn a_terminated_backup_leaves_nothing_half_made() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut scene = Scene::new();
        let mut interrupted = 0;
        end_at_all_moments(&mut scene, signal, |scene, status, published| {
            match status.code() {
                Some(130) => interrupted += 1,
                Some(0) => assert!(published),
                // Before the program can listen to signals they end it as they end any program.
                _ => assert_eq!(status.signal(), Some(signal.as_raw()), "{status}"),
            }
            if status.code().is_some() {
                let counts = scene.counts();
                assert_eq!((counts.get("leases"), counts.get("unfinished pack")), (None, None), "{status}");
                assert!(scene.listing().pending.is_empty(), "{status}: a pending point is left");
            }
        });
        assert!(interrupted >= 3, "only {interrupted} backups were interrupted: the test looks at nothing");
    }
}

#[test]
fn backups_at_the_same_time_lose_nothing() {
    let scene = Scene::new();
    let contents: Vec<Vec<u8>> = (0..4)
        .map(|n| {
            let mut bytes = scene.image.clone();
            bytes[n * 100_000..n * 100_000 + 2_000_000].copy_from_slice(&noise(50 + n as u64, 2_000_000));
            bytes
        })
        .collect();
    for (n, bytes) in contents.iter().enumerate() {
        fs::write(scene.path(&format!("image-{n}")), bytes).unwrap();
    }
    // Two of them are of one machine.
    let machines = ["a", "b", "c", "c"];
    for _ in 0..3 {
        let started = machines.iter().enumerate().map(|(n, machine)| scene.backup(machine, &format!("image-{n}")));
        let children: Vec<Child> = started.collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
    }
    let listing = scene.listing();
    assert_eq!(listing.points.len(), 12);
    let mut found: Vec<usize> = vec![0; contents.len()];
    for point in &listing.points {
        let bytes = scene.restored(point.point());
        let content = contents.iter().position(|content| *content == bytes).expect("a point restores what nobody backed up");
        assert!(point.manifest.machine.as_str() == machines[content], "a point restores another machine's disk");
        found[content] += 1;
    }
    assert_eq!(found, [3; 4]);
    let vault = scene.vault();
    let report = verify(&vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert!(vault.backend().list("leases/").unwrap().is_empty());
}

/// Copies and mirrors that are killed leave both vaults valid, and the next run completes them.
#[test]
fn a_killed_copy_or_mirror_harms_neither_vault() {
    let mut scene = Scene::new();
    scene.back_up();
    scene.change(1);
    scene.back_up();
    let mut killed = 0;
    for command in ["copy", "mirror"] {
        let start = |place: &str| {
            let to = scene.path(place);
            let to = to.to_str().unwrap();
            if command == "copy" && !scene.path(place).exists() {
                assert!(scene.cairn(&["init", to, "--encryption", "none"]).env_remove("CAIRN_VAULT").status().unwrap().success());
            }
            scene.cairn(&["--quiet", command, "--to", to]).spawn().unwrap()
        };
        let check = |place: &str, points: Option<usize>| {
            // Without a header there is no vault yet.
            let Ok(backend) = LocalDirectory::open(&scene.path(place)) else { return };
            let Ok(vault) = Vault::open(Arc::new(backend), &Unlock::Nothing, scene.directory.path()) else { return };
            let vault = Arc::new(vault);
            let listing = Points::new(vault.backend().as_ref(), vault.keys()).list().unwrap();
            assert!(listing.problems.is_empty(), "{command}: {:?}", listing.problems);
            let report = verify(&vault, &VerifyRequest { points: Vec::new(), sample_percent: 100.0, seed: None }, &Silent).unwrap();
            assert!(report.is_whole() && points.is_none_or(|points| report.points.len() == points), "{command}: {report:?}");
        };
        let begun = Instant::now();
        assert!(start(&format!("{command}-whole")).wait().unwrap().success());
        let whole = begun.elapsed();
        for (round, byte) in noise(2027, 6).into_iter().enumerate() {
            let place = format!("{command}-{round}");
            let child = start(&place);
            let status = scene.end(child, Moment::Part(f64::from(byte) / 256.0), Signal::KILL, whole);
            killed += u32::from(status.signal() == Some(9));
            check(&place, None);
            assert!(start(&place).wait().unwrap().success(), "{command} was not completed");
            check(&place, Some(2));
        }
    }
    assert!(killed >= 3, "only {killed} were killed before their end: the test looks at nothing");
    scene.assert_whole();
}
