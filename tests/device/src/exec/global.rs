//! Global memory: allocations, what of them is initialised, and what is wrong with an address.
use super::violation::Wrong;
use std::collections::BTreeMap;

/// What is known of a byte.
const UNKNOWN: u8 = 0;
const KNOWN: u8 = 1;
/// Written by the launch that runs.
const FRESH: u8 = 2;

/// Allocations begin at multiples of this, as on devices.
const ALIGN: u64 = 512;
/// Bytes between allocations: what runs past one end never lands in the next.
const GAP: u64 = 1 << 20;
/// Far from the windows of shared and local memory and from pointers of the host.
const FIRST: u64 = 0x0300_0000_0000;

/// One allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    base: u64,
    bytes: Vec<u8>,
    known: Vec<u8>,
    fresh: bool,
}

impl Allocation {
    /// Where `bytes` from `address` lie, if all are inside.
    fn offset(&self, address: u64, bytes: u64) -> Option<usize> {
        let offset = address.checked_sub(self.base)?;
        (offset.checked_add(bytes)? <= self.bytes.len() as u64).then_some(offset as usize)
    }

    /// Bytes to read, checked.
    pub(crate) fn read(&self, address: u64, bytes: u64, non_coherent: bool) -> Option<Result<&[u8], Wrong>> {
        let at = self.offset(address, bytes)?;
        let known = &self.known[at..at + bytes as usize];
        Some(if known.contains(&UNKNOWN) {
            Err(Wrong::Uninitialised)
        } else if non_coherent && known.contains(&FRESH) {
            Err(Wrong::NotCoherent)
        } else {
            Ok(&self.bytes[at..at + bytes as usize])
        })
    }

    /// Bytes that a kernel writes.
    pub(crate) fn write(&mut self, address: u64, bytes: u64) -> Option<&mut [u8]> {
        let at = self.offset(address, bytes)?;
        self.fresh = true;
        self.known[at..at + bytes as usize].fill(FRESH);
        Some(&mut self.bytes[at..at + bytes as usize])
    }
}

/// All allocations, and those that were.
#[derive(Debug)]
pub(crate) struct Memory {
    live: BTreeMap<u64, Allocation>,
    freed: BTreeMap<u64, u64>,
    next: u64,
    used: u64,
    pub(crate) capacity: u64,
    /// Bytes copied to the host that nobody had written.
    pub(crate) unknown_copied: u64,
}

impl Memory {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            live: BTreeMap::new(),
            freed: BTreeMap::new(),
            next: FIRST,
            used: 0,
            capacity,
            unknown_copied: 0,
        }
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// None: out of memory.
    pub(crate) fn allocate(&mut self, bytes: u64) -> Option<u64> {
        if bytes == 0 || bytes > self.free_bytes() {
            return None;
        }
        let base = self.next;
        self.next = (base + bytes + GAP).next_multiple_of(ALIGN);
        self.used += bytes;
        let (bytes, known) = (vec![0xa5; bytes as usize], vec![UNKNOWN; bytes as usize]);
        self.live.insert(base, Allocation { base, bytes, known, fresh: false });
        Some(base)
    }

    /// False: no allocation begins at `base`.
    pub(crate) fn free(&mut self, base: u64) -> bool {
        let Some(gone) = self.live.remove(&base) else { return false };
        self.used -= gone.bytes.len() as u64;
        self.freed.insert(base, gone.bytes.len() as u64);
        true
    }

    pub(crate) fn allocations(&self) -> u64 {
        self.live.len() as u64
    }

    /// Base and size of the allocation that holds `address`.
    pub(crate) fn range(&self, address: u64) -> Option<(u64, u64)> {
        let (base, a) = self.live.range(..=address).next_back()?;
        a.offset(address, 1).map(|_| (*base, a.bytes.len() as u64))
    }

    /// The allocation that holds all `bytes` from `address`.
    pub(crate) fn find(&mut self, address: u64, bytes: u64) -> Option<&mut Allocation> {
        let (_, a) = self.live.range_mut(..=address).next_back()?;
        a.offset(address, bytes).map(|_| a)
    }

    /// What is wrong with `bytes` from `address`, in words.
    pub(crate) fn explain(&self, address: u64, bytes: u64) -> String {
        let head = format!("{bytes} bytes at {address:#x}");
        let place =
            |base: u64, size: u64| format!("byte {} of the {size} bytes at {base:#x}", address - base);
        if let Some((base, a)) = self.live.range(..=address).next_back() {
            let size = a.bytes.len() as u64;
            if address - base < size + GAP {
                return format!("{head}: {}", place(*base, size));
            }
        }
        if let Some((base, size)) = self.freed.range(..=address).next_back()
            && address - base < *size
        {
            return format!("{head}: {}, which are freed", place(*base, *size));
        }
        format!("{head}, in no allocation")
    }

    /// Copies from the host; what is copied is known. False: not in one allocation.
    pub(crate) fn copy_in(&mut self, to: u64, bytes: &[u8]) -> bool {
        let Some(a) = self.find(to, bytes.len() as u64) else { return false };
        let Some(at) = a.offset(to, bytes.len() as u64) else { return false };
        a.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        a.known[at..at + bytes.len()].fill(KNOWN);
        true
    }

    /// Copies to the host. False: not in one allocation.
    pub(crate) fn copy_out(&mut self, from: u64, bytes: &mut [u8]) -> bool {
        let Some(a) = self.find(from, bytes.len() as u64) else { return false };
        let Some(at) = a.offset(from, bytes.len() as u64) else { return false };
        bytes.copy_from_slice(&a.bytes[at..at + bytes.len()]);
        let unknown = a.known[at..at + bytes.len()].iter().map(|k| u64::from(*k == UNKNOWN)).sum::<u64>();
        self.unknown_copied += unknown;
        true
    }

    /// Copies within the device; what was unknown stays so.
    pub(crate) fn copy_within(&mut self, to: u64, from: u64, bytes: u64) -> bool {
        let Some(a) = self.find(from, bytes) else { return false };
        let Some(at) = a.offset(from, bytes) else { return false };
        let range = at..at + bytes as usize;
        let (data, known) = (a.bytes[range.clone()].to_vec(), a.known[range].to_vec());
        let Some(a) = self.find(to, bytes) else { return false };
        let Some(at) = a.offset(to, bytes) else { return false };
        a.bytes[at..at + data.len()].copy_from_slice(&data);
        a.known[at..at + data.len()].copy_from_slice(&known);
        true
    }

    /// What a launch wrote is from now on like anything else.
    pub(crate) fn settle(&mut self) {
        for a in self.live.values_mut().filter(|a| a.fresh) {
            a.fresh = false;
            for known in &mut a.known {
                *known = (*known).min(KNOWN);
            }
        }
    }
}
