//! A collection that ends at any operation: everything is whole, and the next backup and collection succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kit::{World, blocks, every, impatient, sparse_world, thorough};
use crate::backend::Fault;
use crate::jobs::gc::gc;
use crate::monitor::Silent;

/// How many operations a collection of this vault takes.
fn operations(world: &World) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let vault = world.copy().judged(Box::new(move |number, _, _| {
        counted.store(number, Ordering::SeqCst);
        None
    }));
    gc(&vault, &thorough(), &impatient(), &Silent).unwrap();
    count.load(Ordering::SeqCst)
}

fn check_after(world: &mut World, when: &str) {
    world.check(when);
    world.backup("web01", &blocks((0..64).chain(9000..9010)));
    world.check(&format!("{when}, and a backup"));
    world.gc();
    world.check(&format!("{when}, and a collection"));
    world.assert_clean(when);
}

/// The store is lost from an operation on; the operation itself is done or not.
#[test]
fn a_collection_killed_at_any_operation_harms_nothing() {
    let world = sparse_world();
    let all = operations(&world);
    assert!(all > 60, "{all}: the test looks at nothing");
    let mut failed = 0;
    for last in (1..=all).step_by(every(7)) {
        for fault in [Fault::Io, Fault::Unclear] {
            let mut copy = world.copy();
            let vault = copy.judged(Box::new(move |number, _, _| match number {
                number if number < last => None,
                number if number == last => Some(fault),
                _ => Some(Fault::Io),
            }));
            failed += u64::from(gc(&vault, &thorough(), &impatient(), &Silent).is_err());
            drop(vault);
            check_after(&mut copy, &format!("killed at operation {last} of {all}, {fault:?}"));
        }
    }
    assert!(failed * every(7) as u64 > all, "only {failed} collections failed");
}

/// One operation fails, and the collection goes on or ends: in either case nothing is lost.
#[test]
fn any_one_operation_may_fail() {
    let world = sparse_world();
    for nth in (1..=operations(&world)).step_by(every(11)) {
        for fault in [Fault::Io, Fault::Unclear, Fault::Missing] {
            let mut copy = world.copy();
            let vault = copy.judged(Box::new(move |number, _, _| (number == nth).then_some(fault)));
            let _ = gc(&vault, &thorough(), &impatient(), &Silent);
            drop(vault);
            check_after(&mut copy, &format!("operation {nth} failed, {fault:?}"));
        }
    }
}
