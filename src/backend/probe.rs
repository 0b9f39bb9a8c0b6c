//! Whether a store keeps the one promise that everything shared rests on.

use super::{Backend, BackendError, Created};

/// Tries whether the store's create-if-absent is one: puts a marker under a random name `probe/<32 hex digits>`, puts another one
/// there, and looks whether the second was refused and the first is unchanged. `Ok(false)`: the store overwrites, and several
/// writers at once would lose data; some S3 servers ignore the condition silently.
///
/// The marker is removed again, unless the credentials may only append.
///
/// # Errors
/// [`BackendError`], also where the store says that it cannot do this.
pub fn probe_create_if_absent(store: &dyn Backend) -> Result<bool, BackendError> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random)
        .map_err(|_| BackendError::Unsupported { location: store.location(), reason: "the system gives no random numbers".to_owned() })?;
    let name = format!("probe/{:032x}", u128::from_le_bytes(random));
    let kept = try_twice(store, &name);
    match store.delete(&name) {
        Ok(()) | Err(BackendError::Denied { .. }) => kept,
        Err(error) => kept.and(Err(error)),
    }
}

fn try_twice(store: &dyn Backend, name: &str) -> Result<bool, BackendError> {
    const FIRST: &[u8] = b"the first marker";
    let first = store.create(name, FIRST)?;
    let second = store.create(name, b"another marker")?;
    Ok(first == Created::New && second == Created::Exists && store.get(name)? == FIRST)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Fault, Faulty, MemoryBackend, Operation};

    #[test]
    fn a_store_that_keeps_the_promise_passes_and_is_left_clean() {
        let store = MemoryBackend::new();
        assert!(probe_create_if_absent(&store).unwrap());
        assert!(store.list("").unwrap().is_empty());
    }

    #[test]
    fn credentials_that_may_only_append_pass() {
        let judge = |_, operation, _: &str| (operation == Operation::Delete).then_some(Fault::Denied);
        assert!(probe_create_if_absent(&Faulty::new(Arc::new(MemoryBackend::new()), judge)).unwrap());
    }

    #[test]
    fn a_failure_is_no_answer() {
        for nth in 1..=4 {
            let store = MemoryBackend::new();
            let faulty = Faulty::nth(Arc::new(store.clone()), nth, Fault::Unclear);
            assert!(probe_create_if_absent(&faulty).is_err(), "operation {nth}");
            assert!(store.list("").unwrap().is_empty(), "operation {nth}");
        }
    }
}
