//! Leases: what lets writers and collectors work side by side.
//!
//! A lease is put, durable, before its holder looks at what the vault has. A thread renews it: collectors take a lease for abandoned
//! when its number has not moved for some minutes of their own clock, and take its objects away. A renewal creates the next number and
//! then looks whether the last one is still there: who was stopped for too long finds it gone. A lease that is lost freezes its holder:
//! nothing may be published under it (docs/decisions/0010-collection.md, D).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;

use crate::backend::{Backend, BackendError, Created};
use crate::crypt::{VaultKeys, random};
use crate::format::control;
use crate::format::envelope::ObjectKind;
use crate::format::names::{COLLECTIONS, LEASES, ObjectName};
use crate::store::{StoreError, Vault, object};
use crate::units::{LeaseId, PointId};

/// How often a lease is renewed. Collectors wait for ten times as long before they take it for abandoned.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// The collection that readers name: no collection is later, so none waits for them.
const OF_READERS: u64 = u64::MAX;

/// A lease that is being kept alive; dropped, it is given back.
pub struct Lease {
    id: LeaseId,
    collection: u64,
    keeper: Option<(Sender<()>, JoinHandle<()>)>,
    held: Arc<Held>,
}

/// What the holder and the thread that renews share.
struct Held {
    backend: Arc<dyn Backend>,
    keys: Arc<VaultKeys>,
    state: Mutex<State>,
}

struct State {
    lease: control::Lease,
    /// Why it is lost, if it is.
    lost: Option<String>,
}

impl Lease {
    /// Takes a lease, durable when this returns. `base_points` are kept alive by it, if they are still there afterwards: the caller looks.
    /// `holder` says who it is, for a person.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place.
    pub fn take(vault: &Vault, base_points: &[PointId], holder: &str) -> Result<Self, StoreError> {
        Self::take_renewing(vault, base_points, holder, RENEW_EVERY)
    }

    /// [`Lease::take`] with another pace of renewal.
    pub(crate) fn take_renewing(vault: &Vault, base_points: &[PointId], holder: &str, every: Duration) -> Result<Self, StoreError> {
        Self::take_seeing(vault, newest_number(vault)?, base_points, holder, every)
    }

    /// A lease for who only reads points: every collection keeps what they name, and waits for nothing. `None` where the vault cannot be
    /// written: reading goes on, but a collection may take away what is read.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place.
    pub fn take_to_read(vault: &Vault, points: &[PointId], holder: &str) -> Result<Option<Self>, StoreError> {
        match Self::take_seeing(vault, OF_READERS, points, holder, RENEW_EVERY) {
            Ok(lease) => Ok(Some(lease)),
            Err(StoreError::Backend(BackendError::Denied { .. } | BackendError::Full { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take_seeing(vault: &Vault, collection: u64, base_points: &[PointId], holder: &str, every: Duration) -> Result<Self, StoreError> {
        let lease = control::Lease {
            lease: LeaseId(random()?),
            number: 0,
            collection,
            base_points: base_points.to_vec(),
            holder: holder.to_owned(),
            time: Timestamp::now(),
        };
        put(vault.backend().as_ref(), vault.keys(), &lease)?;
        let id = lease.lease;
        let state = Mutex::new(State { lease, lost: None });
        let held = Arc::new(Held { backend: Arc::clone(vault.backend()), keys: Arc::clone(vault.keys()), state });
        let (stop, stopped) = bounded(0);
        let keeper = {
            let held = Arc::clone(&held);
            std::thread::spawn(move || {
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    held.renew();
                }
                // What cannot be removed now expires, and collection removes it.
                let _ = give_back(held.backend.as_ref(), &id);
            })
        };
        Ok(Self { id, collection, keeper: Some((stop, keeper)), held })
    }

    /// The lease's id.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The newest collection when it was taken, 0 for none.
    pub fn collection(&self) -> u64 {
        self.collection
    }

    /// Checks that the lease has always been renewed.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub fn check(&self) -> Result<(), StoreError> {
        self.held.check()
    }

    /// Renews the lease now, and checks that nobody has taken it away: asked before anything is published or deleted.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub fn confirm(&self) -> Result<(), StoreError> {
        self.held.renew();
        self.held.check()
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), StoreError> {
        let state = self.state();
        match &state.lost {
            None => Ok(()),
            Some(reason) => Err(StoreError::LeaseLost { lease: state.lease.lease, reason: reason.clone() }),
        }
    }

    /// Renews the lease, or takes note that it is lost.
    fn renew(&self) {
        let mut state = self.state();
        match renew(self.backend.as_ref(), &self.keys, &mut state.lease) {
            Ok(true) => {}
            Ok(false) => drop(state.lost.get_or_insert("a collection took it for abandoned".to_owned())),
            Err(error) => drop(state.lost.get_or_insert(error.to_string())),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((stop, keeper)) = self.keeper.take() {
            drop(stop);
            let _ = keeper.join();
        }
    }
}

fn put(backend: &dyn Backend, keys: &VaultKeys, lease: &control::Lease) -> Result<(), StoreError> {
    let name = ObjectName::Lease(lease.lease, lease.number).to_string();
    match object::create(backend, keys, ObjectKind::Lease, &name, &lease.encode())? {
        Created::New => Ok(()),
        Created::Exists => Err(StoreError::Taken { name }),
    }
}

/// Puts the next number, then removes the one before it; false where that was gone.
///
/// Who takes the lease for abandoned deletes its numbers and then looks for new ones: one of both sees the other.
fn renew(backend: &dyn Backend, keys: &VaultKeys, lease: &mut control::Lease) -> Result<bool, StoreError> {
    let old = ObjectName::Lease(lease.lease, lease.number).to_string();
    lease.number += 1;
    lease.time = Timestamp::now();
    put(backend, keys, lease)?;
    let was_there = backend.size_bytes(&old)?.is_some();
    backend.delete(&old)?;
    Ok(was_there)
}

fn give_back(backend: &dyn Backend, lease: &LeaseId) -> Result<(), StoreError> {
    for object in backend.list(&format!("{LEASES}{lease}/"))? {
        backend.delete(&object.name)?;
    }
    Ok(())
}

/// The number of the newest collection, 0 for none.
pub(super) fn newest_number(vault: &Vault) -> Result<u64, StoreError> {
    let numbers = vault.backend().list(COLLECTIONS)?;
    let number = |name: &str| if let Some(ObjectName::Collection(number)) = ObjectName::parse(name) { Some(number) } else { None };
    Ok(numbers.iter().rev().find_map(|object| number(&object.name)).unwrap_or(0))
}
