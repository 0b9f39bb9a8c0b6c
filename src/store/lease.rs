//! Leases: what lets writers and collectors work side by side.
//!
//! A lease is put, durable, before its holder looks at what the vault has. A thread renews it: collectors take a lease for abandoned
//! when its number has not moved for some minutes of their own clock. A lease that could not be renewed in time freezes its
//! holder: nothing may be published under it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;

use crate::backend::{Backend, Created};
use crate::crypt::{VaultKeys, random};
use crate::format::control;
use crate::format::envelope::ObjectKind;
use crate::format::names::{COLLECTIONS, LEASES, ObjectName};
use crate::store::{StoreError, Vault, object};
use crate::units::{LeaseId, PointId};

/// How often a lease is renewed. Collectors wait for ten times as long before they take it for abandoned.
const RENEW_EVERY: Duration = Duration::from_secs(60);

/// A lease that is being kept alive; dropped, it is given back.
pub struct Lease {
    id: LeaseId,
    collection: u64,
    keeper: Option<(Sender<()>, JoinHandle<()>)>,
    lost: Arc<Mutex<Option<String>>>,
}

impl Lease {
    /// Takes a lease, durable when this returns. `base_points` are kept alive by it; `holder` says who it is, for a person.
    ///
    /// # Errors
    /// [`StoreError`] of the vault's place.
    pub fn take(vault: &Vault, base_points: &[PointId], holder: &str) -> Result<Self, StoreError> {
        Self::take_renewing(vault, base_points, holder, RENEW_EVERY)
    }

    /// [`Lease::take`] with another pace of renewal.
    pub(crate) fn take_renewing(vault: &Vault, base_points: &[PointId], holder: &str, every: Duration) -> Result<Self, StoreError> {
        let collection = newest_collection(vault)?;
        let lease = control::Lease {
            lease: LeaseId(random()?),
            number: 0,
            collection,
            base_points: base_points.to_vec(),
            holder: holder.to_owned(),
            time: Timestamp::now(),
        };
        put(vault.backend().as_ref(), vault.keys(), &lease)?;
        let (id, lost) = (lease.lease, Arc::new(Mutex::new(None)));
        let (stop, stopped) = bounded(0);
        let keeper = {
            let (backend, keys, lost) = (Arc::clone(vault.backend()), Arc::clone(vault.keys()), Arc::clone(&lost));
            std::thread::spawn(move || {
                let mut lease = lease;
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    if let Err(error) = renew(backend.as_ref(), &keys, &mut lease) {
                        lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
                    }
                }
                // What cannot be removed now expires, and collection removes it.
                let _ = give_back(backend.as_ref(), &lease.lease);
            })
        };
        Ok(Self { id, collection, keeper: Some((stop, keeper)), lost })
    }

    /// The lease's id.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The newest collection when it was taken, 0 for none.
    pub fn collection(&self) -> u64 {
        self.collection
    }

    /// Checks that the lease has always been renewed: asked before anything is published.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub fn check(&self) -> Result<(), StoreError> {
        match self.lost.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => Ok(()),
            Some(reason) => Err(StoreError::LeaseLost { lease: self.id, reason: reason.clone() }),
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

/// Puts the next number, then removes the one before it.
fn renew(backend: &dyn Backend, keys: &VaultKeys, lease: &mut control::Lease) -> Result<(), StoreError> {
    let old = ObjectName::Lease(lease.lease, lease.number).to_string();
    lease.number += 1;
    lease.time = Timestamp::now();
    put(backend, keys, lease)?;
    Ok(backend.delete(&old)?)
}

fn give_back(backend: &dyn Backend, lease: &LeaseId) -> Result<(), StoreError> {
    for object in backend.list(&format!("{LEASES}{lease}/"))? {
        backend.delete(&object.name)?;
    }
    Ok(())
}

fn newest_collection(vault: &Vault) -> Result<u64, StoreError> {
    let numbers = vault.backend().list(COLLECTIONS)?;
    let number = |name: &str| if let Some(ObjectName::Collection(number)) = ObjectName::parse(name) { Some(number) } else { None };
    Ok(numbers.iter().rev().find_map(|object| number(&object.name)).unwrap_or(0))
}
