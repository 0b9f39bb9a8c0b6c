//! Frames for a reader that knows what it will read next: kept while they will be used soon, dropped when they will not.
//!
//! A disk is restored in an order that its map tells long before. So what is dropped is the frame whose next use is farthest away (Belady, "A
//! study of replacement algorithms for a virtual-storage computer", 1966), which a cache that looks only at the past cannot know. On disks
//! whose blocks were first seen on another machine that halves the frames that are decompressed more than once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::buffer::Frame;
use super::reader::{FramePlace, PackReader};
use crate::format::map::Run;
use crate::store::StoreError;

/// A reader of chunks that were announced, step by step, before they are read.
pub struct ForeseenFrames<'a> {
    packs: &'a PackReader,
    capacity_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: HashMap<FramePlace, Entry>,
    steps: HashMap<u64, Vec<FramePlace>>,
    held_bytes: usize,
}

/// A frame that will be used.
#[derive(Default)]
struct Entry {
    /// The steps that will use it, ascending.
    uses: VecDeque<u64>,
    value: Arc<Mutex<Option<Arc<Frame>>>>,
    bytes: usize,
}

impl State {
    /// Drops the frames that will be used last until the rest fits.
    fn fit(&mut self, capacity_bytes: usize) {
        while self.held_bytes > capacity_bytes {
            let held = self.frames.values_mut().filter(|entry| entry.bytes > 0);
            let Some(last) = held.max_by_key(|entry| entry.uses.front().copied()) else { return };
            self.held_bytes -= std::mem::take(&mut last.bytes);
            // Whoever reads it right now keeps its own reference.
            last.value = Arc::default();
        }
    }
}

impl<'a> ForeseenFrames<'a> {
    /// A reader that holds frames of at most `capacity_bytes`; those in use come on top.
    pub fn new(packs: &'a PackReader, capacity_bytes: usize) -> Self {
        Self { packs, capacity_bytes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces what a step will read. Steps are announced in ascending order.
    pub fn announce(&self, step: u64, runs: &[Run]) {
        for run in runs {
            let Run::Blocks { address, blocks } = *run else { continue };
            // What cannot be found is told by the reading itself, which knows what for.
            let Ok(pieces) = self.packs.locate(address, u32::from(blocks)) else { continue };
            let mut state = self.state();
            for piece in pieces {
                let uses = &mut state.frames.entry(piece.place).or_default().uses;
                if uses.back() != Some(&step) {
                    uses.push_back(step);
                    state.steps.entry(step).or_default().push(piece.place);
                }
            }
        }
    }

    /// Says that a step has read all that it will.
    pub fn done(&self, step: u64) {
        let mut state = self.state();
        for place in state.steps.remove(&step).unwrap_or_default() {
            let Some(entry) = state.frames.get_mut(&place) else { continue };
            entry.uses.retain(|&other| other != step);
            if entry.uses.is_empty() {
                let bytes = entry.bytes;
                state.frames.remove(&place);
                state.held_bytes -= bytes;
            }
        }
    }

    /// Bytes of the frames that are held.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.state().held_bytes
    }

    /// Fills a chunk from its runs, as [`PackReader::read_runs`] does.
    ///
    /// # Errors
    /// As there.
    pub fn read_runs(&self, runs: &[Run], chunk: &mut [u8]) -> Result<(), StoreError> {
        self.packs.runs_from(runs, chunk, |place| self.frame(place))
    }

    /// A frame, loaded by the first who asks; others wait for it.
    fn frame(&self, place: FramePlace) -> Result<Arc<Frame>, StoreError> {
        let foreseen = self.state().frames.get(&place).map(|entry| Arc::clone(&entry.value));
        let Some(slot) = foreseen else { return self.packs.load_frame(place).map(Arc::new) };
        let frame = {
            let mut value = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(frame) = value.as_ref() {
                return Ok(Arc::clone(frame));
            }
            let frame = Arc::new(self.packs.load_frame(place)?);
            *value = Some(Arc::clone(&frame));
            frame
        };
        let mut state = self.state();
        if let Some(entry) = state.frames.get_mut(&place).filter(|entry| Arc::ptr_eq(&entry.value, &slot)) {
            entry.bytes = frame.held_bytes();
            state.held_bytes += frame.held_bytes();
            state.fit(self.capacity_bytes);
        }
        Ok(frame)
    }
}
