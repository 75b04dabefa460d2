//! What a device keeps between submissions of tensors in host memory: a stream of its own, page-locked memory that their
//! copies go through, and blocks of device memory.
//!
//! All work of submissions is in the order of the one stream: a block that is given back while a kernel still uses it, as
//! after an error, is not written before that kernel is done. What is freed here needs the context to be current.
#![allow(unsafe_code, reason = "the driver's functions")]

use super::{Status, status};
use crate::Error;
use cust::sys::{self, CUevent, CUstream};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Bytes of one of two pieces of page-locked memory: the CPU fills or empties one while the device copies the other.
const PIECE: usize = 4 << 20;
/// `CU_STREAM_NON_BLOCKING`: the default stream, which is everybody's, does not wait for ours.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const WITHOUT_TIME: u32 = 2;

/// A block of device memory.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) address: u64,
    pub(super) bytes: usize,
}

impl Block {
    /// `None` where memory is out.
    fn new(bytes: usize) -> Result<Option<Self>, Error> {
        let mut address = 0;
        // SAFETY: `address` outlives the call.
        match unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes) } {
            Status::CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
            answer => status("cuMemAlloc", answer).map(|()| Some(Self { address, bytes })),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block is the driver's, freed here alone; the driver waits for kernels that use it.
        unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// A stream.
#[derive(Debug)]
struct Stream(CUstream);

impl Stream {
    fn new() -> Result<Self, Error> {
        let mut stream = std::ptr::null_mut();
        // SAFETY: `stream` outlives the call.
        let made = unsafe { sys::cuStreamCreateWithPriority(&raw mut stream, NON_BLOCKING, 0) };
        status("cuStreamCreateWithPriority", made).map(|()| Self(stream))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream was made by the driver and is destroyed here alone; its work goes on to its end.
        unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}

/// Page-locked memory of the host, of [`PIECE`] bytes.
#[derive(Debug)]
struct Locked(*mut c_void);

impl Locked {
    fn new() -> Result<Self, Error> {
        let mut memory = std::ptr::null_mut();
        // SAFETY: `memory` outlives the call.
        let made = unsafe { sys::cuMemAllocHost_v2(&raw mut memory, PIECE) };
        status("cuMemAllocHost", made).map(|()| Self(memory))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: the memory is the driver's, freed here alone, after the device is done with it: `Gpu::drop` waits, and
        // what was made just now nobody has used.
        unsafe { sys::cuMemFreeHost(self.0) };
    }
}

/// A mark in a stream.
#[derive(Debug)]
pub(super) struct Event(CUevent);

impl Event {
    fn new(flags: u32) -> Result<Self, Error> {
        let mut event = std::ptr::null_mut();
        // SAFETY: `event` outlives the call.
        let made = unsafe { sys::cuEventCreate(&raw mut event, flags) };
        status("cuEventCreate", made).map(|()| Self(event))
    }

    pub(super) fn with_time() -> Result<Self, Error> {
        Self::new(0)
    }

    /// From this one to a later, both with time.
    pub(super) fn milliseconds(&self, later: &Self) -> Result<f32, Error> {
        let mut time = 0.0;
        // SAFETY: `time` outlives the call, and both events are alive.
        status("cuEventElapsedTime", unsafe { sys::cuEventElapsedTime(&raw mut time, self.0, later.0) })
            .map(|()| time)
    }

    pub(super) fn record(&self, stream: CUstream) -> Result<(), Error> {
        // SAFETY: event and stream are alive, and of one context.
        status("cuEventRecord", unsafe { sys::cuEventRecord(self.0, stream) })
    }

    /// Waits for it; not at all where it was never recorded.
    fn wait(&self) -> Result<(), Error> {
        // SAFETY: the event is alive.
        status("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event was made by the driver and is destroyed here alone.
        unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}

/// One of two pieces that copies go through.
#[derive(Debug)]
struct Piece {
    memory: Locked,
    /// The device's last copy of it.
    copied: Event,
}

impl Piece {
    fn new() -> Result<Self, Error> {
        Ok(Self { memory: Locked::new()?, copied: Event::new(WITHOUT_TIME)? })
    }
}

#[derive(Debug, Default)]
pub(super) struct Pool {
    stream: OnceLock<Stream>,
    pieces: Mutex<Option<[Piece; 2]>>,
    /// Blocks that nobody uses.
    blocks: Mutex<Vec<Block>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// The stream, made at its first use.
    pub(super) fn stream(&self) -> Result<CUstream, Error> {
        if let Some(stream) = self.stream.get() {
            return Ok(stream.0);
        }
        let stream = Stream::new()?;
        // Where another thread was first, its stream is used, and this one destroyed.
        Ok(self.stream.get_or_init(|| stream).0)
    }

    /// A block of so many bytes at least, at least one, and of less than twice as many; `None` where memory is out.
    pub(super) fn take(&self, bytes: usize) -> Result<Option<Block>, Error> {
        let bytes = bytes.max(1);
        let mut blocks = lock(&self.blocks);
        let fit = |block: &Block| (bytes..bytes.saturating_mul(2)).contains(&block.bytes);
        let smallest = (0..blocks.len()).filter(|&at| fit(&blocks[at])).min_by_key(|&at| blocks[at].bytes);
        if let Some(at) = smallest {
            return Ok(Some(blocks.swap_remove(at)));
        }
        match Block::new(bytes)? {
            // What lies here unused may be what is missing.
            None if !blocks.is_empty() => {
                blocks.clear();
                Block::new(bytes)
            }
            made => Ok(made),
        }
    }

    /// Keeps a block for the next who wants one.
    pub(super) fn give_back(&self, block: Block) {
        lock(&self.blocks).push(block);
    }

    /// Frees the blocks that nobody uses.
    pub(super) fn trim(&self) {
        lock(&self.blocks).clear();
    }

    /// Frees everything; nobody uses any of it.
    pub(super) fn clear(&mut self) {
        self.trim();
        lock(&self.pieces).take();
        self.stream.take();
    }

    /// Copies to device memory in the stream's order. The bytes are read when it returns.
    ///
    /// # Safety
    /// So many bytes of device memory lie at `address` until the stream has come to it.
    pub(super) unsafe fn send(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let stream = self.stream()?;
        let mut pieces = lock(&self.pieces);
        let pieces = both(&mut pieces)?;
        for ((part, piece), to) in
            bytes.chunks(PIECE).zip(pieces.iter().cycle()).zip((address..).step_by(PIECE))
        {
            piece.copied.wait()?;
            let memory = piece.memory.0;
            // SAFETY: the piece holds as much as a part, nobody else has the lock, and the device has copied what was in
            // it.
            unsafe { memory.cast::<u8>().copy_from_nonoverlapping(part.as_ptr(), part.len()) };
            // SAFETY: both sides have so many bytes; the piece stays as it is until the event has come.
            let copied = unsafe { sys::cuMemcpyHtoDAsync_v2(to, memory, part.len(), stream) };
            status("cuMemcpyHtoDAsync", copied)?;
            piece.copied.record(stream)?;
        }
        Ok(())
    }

    /// Copies from device memory, after what is in the stream.
    ///
    /// # Safety
    /// So many bytes of device memory lie at `address`.
    pub(super) unsafe fn receive(&self, address: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let stream = self.stream()?;
        let mut pieces = lock(&self.pieces);
        let pieces = both(&mut pieces)?;
        let parts = bytes.chunks_mut(PIECE).zip(pieces.iter().cycle());
        let mut before: Option<(&mut [u8], &Piece)> = None;
        for ((part, piece), from) in parts.zip((address..).step_by(PIECE)) {
            // SAFETY: both sides have so many bytes; what was in the piece was copied two parts ago, or is read earlier in
            // the stream.
            let copied = unsafe { sys::cuMemcpyDtoHAsync_v2(piece.memory.0, from, part.len(), stream) };
            status("cuMemcpyDtoHAsync", copied)?;
            piece.copied.record(stream)?;
            if let Some((part, piece)) = before.replace((part, piece)) {
                empty(piece, part)?;
            }
        }
        before.map_or(Ok(()), |(part, piece)| empty(piece, part))
    }
}

/// The two pieces, made at their first use.
fn both(pieces: &mut Option<[Piece; 2]>) -> Result<&[Piece; 2], Error> {
    let made = match pieces.take() {
        Some(pieces) => pieces,
        None => [Piece::new()?, Piece::new()?],
    };
    Ok(pieces.insert(made))
}

/// Copies what the device has put into a piece.
fn empty(piece: &Piece, to: &mut [u8]) -> Result<(), Error> {
    piece.copied.wait()?;
    // SAFETY: the piece holds as much as a part, and the device has written so many bytes of it; nobody else has the
    // lock.
    unsafe { piece.memory.0.cast::<u8>().copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
    Ok(())
}
