//! A store that fails at any one operation: an error, no panic, no hang, and nothing that was there is lost.

use super::*;
use crate::backend::{Fault, Faulty};
use crate::store::FramePlace;

const FAULTS: [Fault; 5] = [Fault::Io, Fault::Unclear, Fault::Full, Fault::Denied, Fault::Missing];

/// What a small session does: some blocks are known, some are new, two nodes.
fn work(vault: &Arc<Vault>) -> Result<(Vec<Stored>, Address), StoreError> {
    let (lease, mut session) = begin(vault, &HashSet::new())?;
    let mut account = DiskAccount::default();
    let mut stored = Vec::new();
    for numbers in [0..64, 32..96, 200..264] {
        stored.push(put(vault, &mut session, &chunk(numbers), &mut account)?);
    }
    session.store_node(b"leaf")?;
    let root = session.store_node(b"root")?;
    session.flush()?;
    let vanished = session.vanished()?;
    assert_eq!(vanished, [], "packs that nobody touched");
    lease.check()?;
    session.finish()?;
    Ok((stored, root))
}

/// Asserts that every pack that can be seen is whole.
fn assert_packs_are_whole(vault: &Vault) {
    let reader = reader(vault);
    for (pack, _) in crate::store::lists::all_packs(vault).unwrap() {
        let info = reader.info(pack).unwrap();
        for frame in 0..info.toc.frames.len() as u32 {
            reader.load_frame(FramePlace { pack, frame }).unwrap();
        }
    }
}

/// Runs the work on a copy of the vault that fails as `fault` says; whether it failed, and the operations that it asked for.
fn run(kit: &Kit, before: &[Stored], fault: impl Fn(Arc<dyn Backend>) -> Faulty) -> (bool, u64) {
    let sound: Arc<dyn Backend> = copy_of(kit.backend().as_ref());
    let index = tempfile::tempdir().unwrap();
    let open = |backend| Vault::open(backend, &unlock(kit.place), index.path()).map(Arc::new);
    let faulty = Arc::new(fault(Arc::clone(&sound)));
    let result = open(Arc::clone(&faulty) as Arc<dyn Backend>).and_then(|vault| work(&vault));
    let vault = open(sound).unwrap();
    assert_reads(&reader(&vault), before);
    assert_packs_are_whole(&vault);
    if let Ok((stored, root)) = &result {
        assert_reads(&reader(&vault), stored);
        assert_eq!(reader(&vault).read_node(*root).unwrap().to_vec(), b"root");
    }
    let (stored, _) = work(&vault).unwrap();
    assert_reads(&reader(&vault), &stored);
    (result.is_err(), faulty.operations())
}

#[test]
fn any_one_failing_operation_ends_in_an_error_or_does_no_harm() {
    for place in [Place::Memory, Place::LocalEncrypted] {
        let kit = Kit::new(place);
        let before = kit.store(&[chunk(0..64)]);
        let (failed, operations) = run(&kit, &before, |store| Faulty::nth(store, u64::MAX, Fault::Io));
        assert!(!failed && operations > 20, "{operations} operations");
        for fault in FAULTS {
            let mut failures = 0;
            for nth in 1..=operations {
                failures += u64::from(run(&kit, &before, |store| Faulty::nth(store, nth, fault)).0);
            }
            assert!(failures > operations / 2, "{fault:?}: only {failures} of {operations} failing operations were noticed");
        }
    }
}

#[test]
fn a_store_that_is_lost_in_mid_session_is_noticed() {
    let kit = Kit::new(Place::Memory);
    let before = kit.store(&[chunk(0..64)]);
    let (_, operations) = run(&kit, &before, |store| Faulty::nth(store, u64::MAX, Fault::Io));
    // The last operations give the lease back; nobody needs to know that this failed.
    for nth in 1..=operations - 2 {
        assert!(run(&kit, &before, |store| Faulty::from_nth(store, nth, Fault::Io)).0, "lost from operation {nth} on");
    }
}

#[test]
fn a_failed_write_is_told_by_its_own_error_and_latches() {
    let kit = Kit::new(Place::Memory);
    let full = |_: u64, operation: crate::backend::Operation, name: &str| {
        (operation == crate::backend::Operation::Write && name.starts_with("packs/")).then_some(Fault::Full)
    };
    let vault = kit.behind(Arc::new(Faulty::new(Arc::clone(kit.backend()), full)));
    let (_lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
    let mut account = DiskAccount::default();
    let mut results = (0..200).map(|n| put(&vault, &mut session, &chunk(n * 16..n * 16 + 16), &mut account).map(drop));
    let error = results.find_map(Result::err).unwrap();
    assert!(matches!(error, StoreError::Backend(crate::backend::BackendError::Full { .. })), "{error}");
    assert!(results.all(|result| result.is_err()), "the first failure latches");
    drop(results);
    assert!(session.flush().is_err());
    drop(session);
    assert_eq!(kit.packs(), []);
}
