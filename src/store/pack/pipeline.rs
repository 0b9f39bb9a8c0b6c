//! The way of new blocks into data packs: gathered on the caller's thread, compressed and sealed by workers, written in order by a
//! thread of its own (`order.rs`), made durable by two more, so that no step waits for the disk's fsync.
//!
//! The number of frames under way is bounded by the raw buffers that circulate; the caller waits for a free one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::frame;
use super::order::{Close, FrameArrival, Message, WriterThread};
use super::writer::{FinishedPack, add_birth, new_sealer};
use crate::crypt::PackSealer;
use crate::format::pack::{BirthRange, PackKind};
use crate::store::{StoreError, Vault};
use crate::units::{Address, BLOCK_BYTES, Fingerprint, PackId};

/// Stored bytes at which a pack is closed. Frames under way come on top: about 64 MiB, a few more at most.
const PACK_BYTES: u64 = 60 << 20;
/// Slots at which a pack is closed, however well they compress: bounds its fingerprint table at 1 MiB.
const PACK_SLOTS: u32 = 1 << 16;
/// The pack that is being filled.
struct OpenPack {
    id: PackId,
    ordinal: u64,
    sealer: PackSealer,
    fingerprints: Vec<Fingerprint>,
    births: Vec<BirthRange>,
    frames: u32,
    stored: Arc<AtomicU64>,
}

/// Takes blocks, gives addresses.
pub(crate) struct DataPipeline {
    vault: Arc<Vault>,
    level: i32,
    frame_bytes: usize,
    pack: Option<OpenPack>,
    packs_opened: u64,
    raw: Vec<u8>,
    buffers: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    messages: Option<Sender<Message>>,
    failed: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl DataPipeline {
    pub(crate) fn new(vault: &Arc<Vault>, level: i32) -> Self {
        let frame_bytes = usize::from(vault.header().frame_blocks) * BLOCK_BYTES;
        let buffers = unbounded();
        for _ in 0..2 * rayon::current_num_threads() + 3 {
            // The receiver lives in `self`, so the send cannot fail.
            let _ = buffers.0.send(Vec::with_capacity(frame_bytes));
        }
        let (messages, inbox) = unbounded();
        let failed = Arc::new(AtomicBool::new(false));
        let writer = {
            let thread = WriterThread::new(Arc::clone(vault), Arc::clone(&failed), buffers.0.clone());
            std::thread::spawn(move || thread.run(&inbox))
        };
        Self {
            vault: Arc::clone(vault),
            level,
            frame_bytes,
            pack: None,
            packs_opened: 0,
            raw: Vec::with_capacity(frame_bytes),
            buffers,
            messages: Some(messages),
            failed,
            writer: Some(writer),
        }
    }

    /// Takes a block of 4 KiB; the address where it will lie. `stored` is where the frame's stored bytes are counted.
    pub(crate) fn push(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        fingerprint: Fingerprint,
        stored: &Arc<AtomicU64>,
    ) -> Result<Address, StoreError> {
        if self.pack.is_none() {
            self.open_pack()?;
        }
        let Some(pack) = self.pack.as_mut() else { return Err(StoreError::Worker("pack writer")) };
        let address = Address { pack: pack.id, slot: pack.fingerprints.len() as u32 };
        pack.fingerprints.push(fingerprint);
        self.raw.extend_from_slice(block);
        if self.raw.len() >= self.frame_bytes {
            self.end_frame(stored)?;
        }
        Ok(address)
    }

    /// Takes a block that was born elsewhere.
    pub(crate) fn push_moved(
        &mut self,
        block: &[u8; BLOCK_BYTES],
        fingerprint: Fingerprint,
        birth: Address,
        stored: &Arc<AtomicU64>,
    ) -> Result<Address, StoreError> {
        if self.pack.is_none() {
            self.open_pack()?;
        }
        // Noted first: pushing may fill the pack and close it.
        if let Some(pack) = self.pack.as_mut() {
            add_birth(&mut pack.births, pack.fingerprints.len() as u32, birth);
        }
        self.push(block, fingerprint, stored)
    }

    /// Sends the blocks gathered so far on their way as one frame, and closes the pack when it is large enough.
    pub(crate) fn end_frame(&mut self, stored: &Arc<AtomicU64>) -> Result<(), StoreError> {
        let Some(pack) = self.pack.as_mut().filter(|_| !self.raw.is_empty()) else { return Ok(()) };
        if self.failed.load(Ordering::Acquire) {
            return Err(self.failure());
        }
        let next = self.buffers.1.recv().map_err(|_| StoreError::Worker("pack writer"))?;
        let raw = std::mem::replace(&mut self.raw, next);
        let Some(messages) = self.messages.clone() else { return Err(StoreError::Worker("pack writer")) };
        let (sealer, level) = (pack.sealer.next_frame()?, self.level);
        let number = sealer.number();
        let counters = [Arc::clone(stored), Arc::clone(&pack.stored)];
        let ordinal = pack.ordinal;
        pack.frames += 1;
        rayon::spawn_fifo(move || {
            let stored = frame::store(&raw, level, sealer);
            if let Ok(frame) = &stored {
                for counter in counters {
                    counter.fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
                }
            }
            let slots = (raw.len() / BLOCK_BYTES) as u32;
            // The writer is gone when the job has failed; then nobody wants the frame.
            let _ = messages.send(Message::Frame(FrameArrival { ordinal, number, slots, raw, stored }));
        });
        let full = pack.stored.load(Ordering::Relaxed) >= PACK_BYTES || pack.fingerprints.len() as u32 >= PACK_SLOTS;
        if full { self.close_pack() } else { Ok(()) }
    }

    fn open_pack(&mut self) -> Result<(), StoreError> {
        let (id, sealer) = new_sealer(&self.vault, PackKind::Data)?;
        let ordinal = self.packs_opened;
        self.packs_opened += 1;
        self.send(Message::Open(id))?;
        self.pack = Some(OpenPack { id, ordinal, sealer, fingerprints: Vec::new(), births: Vec::new(), frames: 0, stored: Arc::default() });
        Ok(())
    }

    fn close_pack(&mut self) -> Result<(), StoreError> {
        match self.pack.take() {
            None => Ok(()),
            Some(OpenPack { frames, sealer, fingerprints, births, .. }) => {
                self.send(Message::Close(Close { frames, sealer, fingerprints, births }))
            }
        }
    }

    /// Returns when all blocks are durable: the packs written since the last flush.
    pub(crate) fn flush(&mut self, stored: &Arc<AtomicU64>) -> Result<Vec<FinishedPack>, StoreError> {
        self.end_frame(stored)?;
        self.close_pack()?;
        let (sender, answer) = bounded(1);
        self.send(Message::Flush(sender))?;
        answer.recv().map_err(|_| StoreError::Worker("pack writer"))?
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        let messages = self.messages.as_ref().ok_or(StoreError::Worker("pack writer"))?;
        messages.send(message).map_err(|_| StoreError::Worker("pack writer"))
    }

    /// The first failure of the writer thread.
    fn failure(&self) -> StoreError {
        let (sender, answer) = bounded(1);
        match self.send(Message::Flush(sender)).map(|()| answer.recv()) {
            Ok(Ok(Err(error))) => error,
            _ => StoreError::Worker("pack writer"),
        }
    }
}

impl Drop for DataPipeline {
    fn drop(&mut self) {
        // Without senders the writer thread ends and drops its unfinished pack, which leaves nothing.
        self.messages = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
