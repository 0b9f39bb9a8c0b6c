//! Collections and writers at the same time: one runs to any operation, then the other, then the first to its end.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::kit::{World, blocks, every, impatient, sparse_world, thorough};
use crate::catalogue::points::Points;
use crate::jobs::backup::backup;
use crate::jobs::gc::gc;
use crate::monitor::Silent;
use crate::store::collect::take_lease_away;
use crate::store::{Lease, Vault};

/// What the writer's disk has: blocks of the deleted point, of its base, and new ones.
fn changed() -> Vec<u8> {
    blocks((0..100).chain(130..150).chain(3000..3040))
}

/// Runs something once, at an operation of somebody else.
struct Once(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Once {
    fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(work))))
    }

    fn run(&self) {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work();
        }
    }
}

/// The vault as seen by somebody in whose operation `at` something else happens.
fn interrupted(world: &World, at: u64, work: impl FnOnce() + Send + 'static) -> Arc<Vault> {
    let once = Once::new(work);
    world.judged(Box::new(move |number, _, _| {
        if number == at {
            once.run();
        }
        None
    }))
}

fn counted(world: &World, work: impl Fn(&World, &Arc<Vault>)) -> u64 {
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let copy = world.copy();
    let vault = copy.judged(Box::new(move |number, _, _| {
        counted.store(number, std::sync::atomic::Ordering::SeqCst);
        None
    }));
    work(&copy, &vault);
    count.load(std::sync::atomic::Ordering::SeqCst)
}

fn writer_operations(world: &World) -> u64 {
    counted(world, |copy, vault| drop(backup(vault, &copy.request("web01", &changed()), &Silent).unwrap()))
}

fn collector_operations(world: &World) -> u64 {
    counted(world, |_, vault| drop(gc(vault, &thorough(), &impatient(), &Silent).unwrap()))
}

fn check_after(mut world: World, when: &str) {
    world.learn(&changed());
    world.check(when);
    world.gc();
    world.check(&format!("{when}, and another collection"));
    world.assert_clean(when);
}

/// A writer is stopped at any operation; a collection takes it for dead and runs to its end; the writer goes on.
#[test]
fn a_writer_stopped_for_a_whole_collection_loses_nothing() {
    let world = sparse_world();
    for at in (1..=writer_operations(&world)).step_by(every(3)) {
        let copy = world.copy();
        let other = copy.copy_of_handle();
        let vault = interrupted(&copy, at, move || drop(gc(&other, &thorough(), &impatient(), &Silent).unwrap()));
        let when = format!("the writer was stopped at its operation {at}");
        let published = backup(&vault, &copy.request("web01", &changed()), &Silent);
        assert!(published.is_ok(), "{when}: {}", published.unwrap_err());
        drop(vault);
        check_after(copy, &when);
    }
}

/// A collection is stopped at any operation; a backup runs to its end; the collection goes on.
#[test]
fn a_backup_within_a_collection_loses_nothing() {
    let world = sparse_world();
    for at in (1..=collector_operations(&world)).step_by(every(5)) {
        let copy = world.copy();
        let (other, request) = (copy.copy_of_handle(), copy.request("web01", &changed()));
        let vault = interrupted(&copy, at, move || drop(backup(&other, &request, &Silent).unwrap()));
        let when = format!("a backup at operation {at} of a collection");
        gc(&vault, &thorough(), &impatient(), &Silent).unwrap();
        drop(vault);
        check_after(copy, &when);
    }
}

/// A collection is stopped at any operation; another takes it for dead and runs to its end; the first goes on.
#[test]
fn a_collection_stopped_for_a_whole_other_one_loses_nothing() {
    let world = sparse_world();
    for at in (1..=collector_operations(&world)).step_by(every(5)) {
        let mut copy = world.copy();
        let other = copy.copy_of_handle();
        let vault = interrupted(&copy, at, move || drop(gc(&other, &thorough(), &impatient(), &Silent).unwrap()));
        let when = format!("another collection at operation {at} of one");
        let _ = gc(&vault, &thorough(), &impatient(), &Silent);
        drop(vault);
        copy.check(&when);
        copy.backup("web01", &changed());
        check_after(copy, &when);
    }
}

/// Both are stopped: the collection at one operation, the writer that begins then at another; the collection ends first, then the writer.
fn both(world: &World, collector_at: u64, writer_at: u64) {
    let copy = world.copy();
    let when = format!("the collection at its operation {collector_at}, the writer at its operation {writer_at}");
    let (stopped, is_stopped): (Sender<()>, Receiver<()>) = channel();
    let (go_on, may_go_on): (Sender<()>, Receiver<()>) = channel();
    let ended = stopped.clone();
    let may_go_on = Mutex::new(may_go_on);
    let writer_vault = interrupted(&copy, writer_at, move || {
        let _ = stopped.send(());
        let _ = may_go_on.lock().unwrap_or_else(PoisonError::into_inner).recv();
    });
    let request = copy.request("web01", &changed());
    let (begin, begins): (Sender<()>, Receiver<()>) = channel();
    let writer = std::thread::spawn(move || {
        let _ = begins.recv();
        let done = backup(&writer_vault, &request, &Silent).map(drop);
        let _ = ended.send(());
        done
    });
    let collector_vault = interrupted(&copy, collector_at, move || {
        let _ = begin.send(());
        let _ = is_stopped.recv();
    });
    // Two processes share no threads: one that waits must not hold up the other.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let collected = threads.install(|| gc(&collector_vault, &thorough(), &impatient(), &Silent).map(drop));
    assert!(collected.is_ok(), "{when}: {}", collected.unwrap_err());
    drop(collector_vault);
    drop(go_on);
    let done = writer.join().unwrap();
    assert!(done.is_ok(), "{when}: {}", done.unwrap_err());
    check_after(copy, &when);
}

/// Pairs of operations drawn from all, the same in every run.
#[test]
fn a_collection_and_a_writer_stopped_anywhere_lose_nothing() {
    let world = sparse_world();
    let (collector, writer) = (collector_operations(&world), writer_operations(&world));
    for collector_at in (1..=collector).step_by(every(23)) {
        for writer_at in (1 + collector_at % 5..=writer).step_by(every(9)) {
            both(&world, collector_at, writer_at);
        }
    }
}

/// All pairs.
#[test]
#[ignore = "takes minutes: every pair of operations of a collection and a writer"]
fn a_collection_and_a_writer_stopped_everywhere_lose_nothing() {
    let world = sparse_world();
    let (collector, writer) = (collector_operations(&world), writer_operations(&world));
    for collector_at in 1..=collector {
        for writer_at in 1..=writer {
            both(&world, collector_at, writer_at);
        }
    }
}

/// A point is brought back at any operation of its removal, or removed at any operation of its return: who is told that it is back has it.
#[test]
fn a_point_that_is_brought_back_is_not_removed() {
    let mut world = World::new();
    let point = world.backup("web01", &blocks(0..10));
    world.delete(point);
    let bring_back = move |vault: &Vault| {
        let points = Points::new(vault.backend().as_ref(), vault.keys());
        points.change_state(point, Timestamp::now(), |state| {
            state.deleted = None;
            Ok(())
        })
    };
    let remove = move |vault: &Vault| {
        let points = Points::new(vault.backend().as_ref(), vault.keys());
        points.remove(point, Timestamp::now(), |state| state.deleted.is_some())
    };
    let mut both = (0, 0);
    for (at, removed_within) in (1..20).flat_map(|at| [(at, true), (at, false)]) {
        let copy = world.copy();
        let (other, told) = (copy.copy_of_handle(), Arc::new(Mutex::new(None)));
        let tell = Arc::clone(&told);
        let vault = interrupted(&copy, at, move || {
            let is_back = if removed_within { remove(&other).map(|_| false) } else { bring_back(&other).map(|_| true) };
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_back);
        });
        let outer = if removed_within { bring_back(&vault).map(|_| true) } else { remove(&vault).map(|_| false) };
        let inner = told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let told_back = [Some(outer), inner].into_iter().flatten().any(|told| matches!(told, Ok(true)));
        let state = copy.api().state(point).unwrap().unwrap().1;
        let is_there = copy.api().read(point).is_ok() && state.deleted.is_none();
        assert!(!told_back || is_there, "at operation {at}, removed within: {removed_within}: told that it is back, and it is gone");
        both = (both.0 + u32::from(told_back), both.1 + u32::from(!is_there));
    }
    assert!(both.0 > 3 && both.1 > 3, "{both:?}: the test looks at one of both only");
}

/// A lease is renewed at any operation of its being taken away: either its holder hears of it, or it is not taken away.
#[test]
fn a_lease_that_is_renewed_in_time_is_not_taken_away() {
    for at in 1..6 {
        let world = World::new();
        let lease = Arc::new(Lease::take(&world.vault, &[], "a writer").unwrap());
        let (renewing, renewed) = (Arc::clone(&lease), Arc::new(Mutex::new(None)));
        let tell = Arc::clone(&renewed);
        let vault = interrupted(&world, at, move || {
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(renewing.confirm().is_ok());
        });
        let taken = take_lease_away(&vault, lease.id(), 0).unwrap();
        let renewed = renewed.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(!(taken && renewed == Some(true)), "at operation {at}: both believe that they have it");
        assert!(!taken || lease.confirm().is_err(), "at operation {at}: the holder does not notice");
    }
}

/// A writer's base is removed by a collection before its lease is put: it begins again, with another base.
#[test]
fn a_base_that_is_removed_before_the_lease_is_not_built_on() {
    let mut world = World::new();
    let base = world.backup("web01", &blocks(0..100));
    world.delete(base);
    for at in (1..=writer_operations(&world)).step_by(every(3)) {
        let copy = world.copy();
        let other = copy.copy_of_handle();
        let vault = interrupted(&copy, at, move || drop(gc(&other, &thorough(), &impatient(), &Silent).unwrap()));
        backup(&vault, &copy.request("web01", &changed()), &Silent).unwrap();
        drop(vault);
        check_after(copy, &format!("the only point was removed at operation {at} of the next backup"));
    }
}
