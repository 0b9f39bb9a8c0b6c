//! What is remembered of points: a listing with it and one without are the same, and it saves the reading.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::backend::{Fault, Faulty, MemoryBackend, Operation, Recording};
use crate::catalogue::CatalogueError;
use crate::catalogue::testkit::{LEASE, Vault, id, ids, manifest, time};
use crate::format::names::ObjectName;

/// A vault, and a file to remember it in.
struct Client {
    vault: Vault,
    directory: TempDir,
}

impl Client {
    fn new(vault: Vault) -> Self {
        Self { vault, directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("cache").join("points")
    }

    /// Lists with and without memory; both must say the same.
    fn check(&self) {
        let known = self.vault.points().list_known(&self.file()).expect("memory");
        assert_eq!(format!("{known:?}"), format!("{:?}", self.vault.list()));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Publish(u8),
    Revoke(u8),
    Pin(u8),
    Delete(u8),
    /// A collection takes a manifest away.
    Collect(u8),
    List,
    /// Another process brings back an older file.
    OlderFile,
    CutFile(usize),
    FlipFile(usize),
    RemoveFile,
}

fn step() -> impl Strategy<Value = Step> {
    let point = 0..4_u8;
    prop_oneof![
        3 => point.clone().prop_map(Step::Put),
        3 => point.clone().prop_map(Step::Publish),
        1 => point.clone().prop_map(Step::Revoke),
        2 => point.clone().prop_map(Step::Pin),
        1 => point.clone().prop_map(Step::Delete),
        1 => point.prop_map(Step::Collect),
        4 => Just(Step::List),
        1 => Just(Step::OlderFile),
        1 => any::<usize>().prop_map(Step::CutFile),
        1 => any::<usize>().prop_map(Step::FlipFile),
        1 => Just(Step::RemoveFile),
    ]
}

/// What steps leave for later ones.
#[derive(Default)]
struct Past {
    older_file: Option<Vec<u8>>,
    /// Ids are drawn at random: nobody puts a point under one that was used.
    collected: HashSet<u8>,
}

/// Most steps are refused where they make no sense, such as publishing what is not there; that is no matter here.
fn take(client: &Client, step: &Step, past: &mut Past) {
    let (points, file) = (client.vault.points(), client.file());
    let change_file = |change: &dyn Fn(&mut Vec<u8>)| {
        if let Ok(mut bytes) = fs::read(&file) {
            change(&mut bytes);
            fs::write(&file, bytes).expect("a file");
        }
    };
    match step {
        Step::Put(number) if past.collected.contains(number) => {}
        Step::Put(number) => drop(points.put(&manifest("web01", *number + 1))),
        Step::Publish(number) => drop(points.publish(id(*number + 1), LEASE, time(1))),
        Step::Revoke(number) => drop(points.revoke(id(*number + 1), LEASE, time(1))),
        Step::Pin(number) => drop(points.change_state(id(*number + 1), time(2), |state| {
            state.pinned = !state.pinned;
            Ok(())
        })),
        Step::Delete(number) => drop(points.delete_point(id(*number + 1), time(3))),
        Step::Collect(number) => {
            past.collected.insert(*number);
            client.vault.backend.delete(&ObjectName::Point(id(*number + 1)).to_string()).expect("memory");
        }
        Step::List => client.check(),
        Step::OlderFile => match past.older_file.take() {
            Some(bytes) => change_file(&|file| file.clone_from(&bytes)),
            None => past.older_file = fs::read(&file).ok(),
        },
        Step::CutFile(at) => change_file(&|bytes| bytes.truncate(at % (bytes.len() + 1))),
        Step::FlipFile(at) => change_file(&|bytes| {
            let at = at % bytes.len().max(1);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
        }),
        Step::RemoveFile => drop(fs::remove_file(&file)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn listings_with_and_without_memory_are_the_same(sealed: bool, steps in prop::collection::vec(step(), 1..60)) {
        let client = Client::new(if sealed { Vault::new() } else { Vault::open() });
        let mut past = Past::default();
        for step in &steps {
            take(&client, step, &mut past);
        }
        client.check();
        client.check();
    }
}

/// So many published points, and what is asked of the vault.
fn recorded(points: u8) -> (Client, Arc<Recording>) {
    let recording = Arc::new(Recording::new(Arc::new(MemoryBackend::new())));
    let client = Client::new(Vault::on(recording.clone()));
    for number in 1..=points {
        client.vault.publish(&manifest("web01", number));
    }
    (client, recording)
}

/// Objects that one listing reads.
fn reads(client: &Client, recording: &Recording) -> usize {
    recording.forget();
    client.vault.points().list_known(&client.file()).expect("memory");
    assert_eq!(recording.count(Operation::List), 3);
    recording.count(Operation::Get)
}

#[test]
fn only_what_is_new_is_read() {
    let (client, recording) = recorded(10);
    assert_eq!(reads(&client, &recording), 20);
    assert_eq!(reads(&client, &recording), 0);
    client.vault.publish(&manifest("web01", 11));
    assert_eq!(reads(&client, &recording), 2, "the new point's manifest and verdict");
    let pin = |state: &mut crate::format::point::PointState| {
        state.pinned = true;
        Ok(())
    };
    for pins in 1..=2 {
        client.vault.points().change_state(id(3), time(5), pin).expect("memory");
        assert_eq!(reads(&client, &recording), 1, "the state, the {pins}. time");
    }
    client.vault.points().revoke(id(12), LEASE, time(1)).expect("memory");
    assert_eq!(reads(&client, &recording), 1, "a revoked point's verdict");
    assert_eq!(reads(&client, &recording), 0);
    fs::write(client.file(), b"damaged").expect("a file");
    assert_eq!(reads(&client, &recording), 24);
    assert_eq!(reads(&client, &recording), 0, "the file was made anew");
}

/// Writing the file costs as much as all points; it waits until enough of them are new.
#[test]
fn a_little_news_in_a_large_vault_is_not_worth_a_new_file() {
    let (client, recording) = recorded(200);
    assert_eq!(reads(&client, &recording), 400);
    let written = fs::read(client.file()).expect("a file");
    for news in 1..=5 {
        client.vault.publish(&manifest("web01", 200 + news));
        assert_eq!(reads(&client, &recording), 2 * usize::from(news));
        assert_eq!(fs::read(client.file()).expect("a file"), written);
    }
    client.vault.publish(&manifest("web01", 206));
    assert_eq!((reads(&client, &recording), reads(&client, &recording)), (12, 0));
}

/// A file that somebody else has sealed, or that was sealed as another object, is not believed.
#[test]
fn a_file_of_another_vault_is_not_believed() {
    let (client, _) = recorded(3);
    let other = Client::new(Vault::on(Arc::new(MemoryBackend::new())));
    let foreign = crate::crypt::VaultKeys::new(
        crate::units::VaultId([7; 16]),
        crate::format::vault::Cipher::Aes256Gcm,
        &crate::crypt::MasterKey::from_bytes([8; 32]),
    );
    let foreign = Vault { backend: other.vault.backend.clone(), keys: foreign };
    for number in 1..=3 {
        foreign.publish(&manifest("evil", number));
    }
    foreign.points().list_known(&client.file()).expect("memory");
    client.check();
    assert_eq!(client.vault.points().list_known(&client.file()).expect("memory").points[0].manifest.machine.as_str(), "web01");
}

/// What was read before it was damaged is still shown, but a listing without memory finds it.
#[test]
fn damage_is_found_by_reading_again() {
    let (client, _) = recorded(3);
    client.check();
    client.vault.damage(ObjectName::Point(id(2)));
    let known = client.vault.points().list_known(&client.file()).expect("memory");
    assert_eq!((ids(&known.points).len(), known.problems.len()), (3, 0));
    assert_eq!(client.vault.list().problems.len(), 1);
    // One that is cut short, or gone, is noticed by its size.
    client.vault.overwrite(ObjectName::Point(id(2)), b"short");
    client.check();
    client.vault.backend.delete(&ObjectName::Point(id(2)).to_string()).expect("memory");
    client.check();
}

#[test]
fn a_place_that_cannot_be_written_is_done_without() {
    let (client, recording) = recorded(3);
    fs::write(client.directory.path().join("cache"), b"a file where a directory should be").expect("a file");
    client.check();
    assert_eq!(reads(&client, &recording), 6);
}

/// Damage and failures are no news: they are told of each time.
#[test]
fn what_cannot_be_read_is_not_remembered() {
    let (client, recording) = recorded(3);
    client.vault.damage(ObjectName::Verdict(id(1)));
    client.check();
    assert_eq!(reads(&client, &recording), 1);
    client.check();
    let fail = |_, operation, name: &str| (operation == Operation::Get && name.starts_with("points/")).then_some(Fault::Io);
    let failing = Vault::on(Arc::new(Faulty::new(recording, fail)));
    client.vault.publish(&manifest("web01", 4));
    assert!(matches!(failing.points().list_known(&client.file()), Err(CatalogueError::Backend(_))));
    client.check();
}
