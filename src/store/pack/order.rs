//! The thread that puts frames into their packs in order, whatever order the workers finish them in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::frame::StoredFrame;
use super::writer::{FinishedPack, PackWriter};
use crate::crypt::PackSealer;
use crate::format::pack::{BirthRange, PackKind};
use crate::store::{StoreError, Vault};
use crate::units::{Fingerprint, PackId};

/// Packs that are being made durable while the next is written.
const PACKS_BEING_SYNCED: usize = 2;

/// What the thread is told. Packs are opened and closed in order; frames come in any order.
pub(super) enum Message {
    /// A new pack begins; packs are numbered by the order of this message, from 0.
    Open(PackId),
    /// A worker has done a frame.
    Frame(FrameArrival),
    /// The pack opened last is complete with so many frames.
    Close(Close),
    /// All packs are closed: answer when they are durable.
    Flush(Sender<Result<Vec<FinishedPack>, StoreError>>),
}

/// A frame as a worker hands it over.
pub(super) struct FrameArrival {
    /// Its pack.
    pub(super) ordinal: u64,
    /// Its number in the pack.
    pub(super) number: u32,
    /// Its blocks.
    pub(super) slots: u32,
    /// The raw buffer, to be used again once the frame is written: that is what bounds the frames under way.
    pub(super) raw: Vec<u8>,
    /// The frame, or why there is none.
    pub(super) stored: Result<StoredFrame, StoreError>,
}

/// A pack that is open or waits for the ones before it.
struct Queued {
    id: PackId,
    writer: Option<PackWriter>,
    written: u32,
    close: Option<Close>,
}

/// What completes a pack.
pub(super) struct Close {
    pub(super) frames: u32,
    pub(super) sealer: PackSealer,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) births: Vec<BirthRange>,
}

/// The thread's state. Its first failure latches: from then on it only gives buffers back, and says so when asked to flush.
pub(super) struct WriterThread {
    vault: Arc<Vault>,
    failed: Arc<AtomicBool>,
    failure: Option<StoreError>,
    buffers: Sender<Vec<u8>>,
    packs: VecDeque<Queued>,
    /// Number of the first pack of `packs`.
    ordinal: u64,
    arrived: BTreeMap<(u64, u32), FrameArrival>,
    syncing: VecDeque<JoinHandle<Result<FinishedPack, StoreError>>>,
    durable: Vec<FinishedPack>,
    flush: Option<Sender<Result<Vec<FinishedPack>, StoreError>>>,
}

impl WriterThread {
    pub(super) fn new(vault: Arc<Vault>, failed: Arc<AtomicBool>, buffers: Sender<Vec<u8>>) -> Self {
        Self {
            vault,
            failed,
            failure: None,
            buffers,
            packs: VecDeque::new(),
            ordinal: 0,
            arrived: BTreeMap::new(),
            syncing: VecDeque::new(),
            durable: Vec::new(),
            flush: None,
        }
    }

    /// Runs until nobody can send any more. Packs that are not complete then leave nothing.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        for message in inbox {
            self.take(message);
            if let Err(error) = self.advance() {
                self.fail(error);
            }
            self.answer();
        }
        while let Some(sync) = self.syncing.pop_front() {
            // Nobody asked for these packs: the job has failed, and they are leftovers for collection.
            let _ = sync.join();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Flush(sender) => self.flush = Some(sender),
            Message::Frame(arrival) if self.failure.is_some() => self.give_back(arrival.raw),
            Message::Frame(arrival) => drop(self.arrived.insert((arrival.ordinal, arrival.number), arrival)),
            Message::Open(id) => self.packs.push_back(Queued { id, writer: None, written: 0, close: None }),
            Message::Close(close) => {
                if let Some(last) = self.packs.back_mut() {
                    last.close = Some(close);
                }
            }
        }
    }

    /// Writes what can be written in order.
    fn advance(&mut self) -> Result<(), StoreError> {
        while self.failure.is_none() {
            let Some(pack) = self.packs.front_mut() else { return Ok(()) };
            if let Some(arrival) = self.arrived.remove(&(self.ordinal, pack.written)) {
                let writer = match &mut pack.writer {
                    Some(writer) => writer,
                    None => pack.writer.insert(PackWriter::new(&self.vault, pack.id, PackKind::Data)?),
                };
                let appended = arrival.stored.and_then(|frame| writer.append(&frame, arrival.slots));
                pack.written += 1;
                self.give_back(arrival.raw);
                appended?;
            } else if pack.close.as_ref().is_some_and(|close| close.frames == pack.written) {
                self.finish_front()?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands the first pack, which is complete, to a thread that makes it durable.
    fn finish_front(&mut self) -> Result<(), StoreError> {
        if self.syncing.len() >= PACKS_BEING_SYNCED {
            self.join_one()?;
        }
        self.ordinal += 1;
        let complete = self.packs.pop_front().and_then(|pack| pack.writer.zip(pack.close));
        if let Some((writer, close)) = complete {
            self.syncing.push_back(std::thread::spawn(move || writer.finish(close.sealer, close.fingerprints, close.births)));
        }
        Ok(())
    }

    fn join_one(&mut self) -> Result<(), StoreError> {
        if let Some(sync) = self.syncing.pop_front() {
            self.durable.push(sync.join().map_err(|_| StoreError::Worker("pack writer"))??);
        }
        Ok(())
    }

    /// Answers a flush once all packs are durable, or the failure that makes that impossible.
    fn answer(&mut self) {
        if self.flush.is_none() || (self.failure.is_none() && !self.packs.is_empty()) {
            return;
        }
        while !self.syncing.is_empty() {
            if let Err(error) = self.join_one() {
                self.fail(error);
            }
        }
        let result = match self.failure.replace(StoreError::Worker("pack writer")) {
            Some(error) => Err(error),
            None => {
                self.failure = None;
                Ok(std::mem::take(&mut self.durable))
            }
        };
        if let Some(sender) = self.flush.take() {
            // The caller waits for this answer; if it does not, it has given up.
            let _ = sender.send(result);
        }
    }

    fn fail(&mut self, error: StoreError) {
        self.failed.store(true, Ordering::Release);
        self.failure.get_or_insert(error);
        self.packs.clear();
        for (_, arrival) in std::mem::take(&mut self.arrived) {
            self.give_back(arrival.raw);
        }
    }

    fn give_back(&self, mut raw: Vec<u8>) {
        raw.clear();
        // The pipeline is gone when the job has failed; then nobody wants the buffer.
        let _ = self.buffers.send(raw);
    }
}
