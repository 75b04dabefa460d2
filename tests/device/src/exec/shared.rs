//! Shared memory of a block, and who touched which byte since the last barrier.
use super::violation::Wrong;

/// Accesses of one byte between two barriers of the block.
#[derive(Debug, Clone, Copy, Default)]
struct Touched {
    known: bool,
    /// Barriers of the block that had passed at the last access.
    at: u32,
    writer: Option<Toucher>,
    /// The last reader, and whether another warp read as well.
    reader: Option<Toucher>,
    readers: Readers,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Readers {
    #[default]
    One,
    OfAWarp,
    Many,
}

/// Who touches a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Toucher {
    pub(crate) thread: u32,
    /// Barriers of the warp that had passed: they order the lanes of one warp.
    pub(crate) warp_barriers: u32,
    pub(crate) atomic: bool,
}

impl Toucher {
    fn warp(self) -> u32 {
        self.thread / 32
    }

    /// Whether nothing orders the two.
    fn races(self, other: Self) -> bool {
        let one_thread = self.thread == other.thread;
        let of_a_warp = self.warp() == other.warp() && self.warp_barriers != other.warp_barriers;
        let both_atomic = self.atomic && other.atomic;
        ![one_thread, of_a_warp, both_atomic].contains(&true)
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    bytes: Vec<u8>,
    touched: Vec<Touched>,
    barriers: u32,
}

impl Shared {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0x5a; bytes], touched: vec![Touched::default(); bytes], barriers: 0 }
    }

    /// That of another block.
    pub(crate) fn renew(&mut self) {
        self.bytes.fill(0x5a);
        self.touched.fill(Touched::default());
        self.barriers = 0;
    }

    /// All threads of the block met.
    pub(crate) fn barrier(&mut self) {
        self.barriers += 1;
    }

    /// Checks and notes a read. The other thread of a race comes with it.
    pub(crate) fn read(
        &mut self,
        address: u64,
        bytes: u64,
        by: Toucher,
    ) -> Result<&[u8], (Wrong, Option<u32>)> {
        let range = self.range(address, bytes)?;
        let barriers = self.barriers;
        for t in &mut self.touched[range.clone()] {
            if !t.known {
                return Err((Wrong::Uninitialised, None));
            }
            t.renew(barriers);
            if let Some(writer) = t.writer.filter(|w| w.races(by)) {
                return Err((Wrong::Race, Some(writer.thread)));
            }
            t.readers = match t.reader {
                None => Readers::One,
                Some(r) if r.warp() != by.warp() || t.readers == Readers::Many => Readers::Many,
                Some(r) if r.warp_barriers != by.warp_barriers || r.thread == by.thread => Readers::One,
                Some(_) => Readers::OfAWarp,
            };
            t.reader = Some(by);
        }
        Ok(&self.bytes[range])
    }

    /// Checks and notes a write.
    pub(crate) fn write(
        &mut self,
        address: u64,
        bytes: u64,
        by: Toucher,
    ) -> Result<&mut [u8], (Wrong, Option<u32>)> {
        let range = self.range(address, bytes)?;
        let barriers = self.barriers;
        for t in &mut self.touched[range.clone()] {
            t.renew(barriers);
            if let Some(writer) = t.writer.filter(|w| w.races(by)) {
                return Err((Wrong::Race, Some(writer.thread)));
            }
            if let Some(reader) = t.reader {
                let apart = match t.readers {
                    Readers::One => reader.races(by),
                    // One of the two readers at least is another thread.
                    Readers::OfAWarp => {
                        reader.warp() != by.warp() || reader.warp_barriers == by.warp_barriers
                    }
                    Readers::Many => true,
                };
                if apart && !(reader.atomic && by.atomic) {
                    return Err((Wrong::Race, Some(reader.thread)));
                }
            }
            t.writer = Some(by);
            t.known = true;
        }
        Ok(&mut self.bytes[range])
    }

    /// Checks that there is something to update.
    pub(crate) fn known(&self, address: u64, bytes: u64) -> Result<(), (Wrong, Option<u32>)> {
        let range = self.range(address, bytes)?;
        if self.touched[range].iter().all(|t| t.known) { Ok(()) } else { Err((Wrong::Uninitialised, None)) }
    }

    fn range(&self, address: u64, bytes: u64) -> Result<std::ops::Range<usize>, (Wrong, Option<u32>)> {
        match address.checked_add(bytes) {
            Some(end) if end <= self.bytes.len() as u64 => Ok(address as usize..end as usize),
            _ => Err((Wrong::IllegalAddress, None)),
        }
    }
}

impl Touched {
    /// Forgets what lies before the last barrier.
    fn renew(&mut self, barriers: u32) {
        if self.at != barriers {
            *self = Self { known: self.known, at: barriers, ..Self::default() };
        }
    }
}
