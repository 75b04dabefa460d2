//! What is counted of each kernel.

/// Sums over all launches of a kernel since the last reset. A C structure of unsigned 64-bit numbers in this order.
///
/// ```
/// let counters = densekd_device::Counters::default();
/// assert_eq!(counters.launches, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Launches, failed ones included.
    pub launches: u64,
    /// Instructions, one for each thread that executes it.
    pub instructions: u64,
    /// Barriers of a block, one for each time all its threads meet.
    pub barriers: u64,
    /// Bytes that threads read of global memory.
    pub global_read: u64,
    /// Bytes that threads write to global memory.
    pub global_written: u64,
    /// Loads and stores of global memory, one for each warp and instruction.
    pub global_requests: u64,
    /// Sectors of 32 bytes that the requests touch.
    pub sectors: u64,
    /// Fewest sectors that could hold the same bytes.
    pub ideal_sectors: u64,
    /// Accesses of 16 bytes to global memory, one for each thread.
    pub wide_accesses: u64,
    /// Loads and stores of shared memory, one for each warp and instruction.
    pub shared_requests: u64,
    /// Turns that shared requests take beyond the first because banks are asked for several words.
    pub bank_conflicts: u64,
    /// Bytes that threads read from and write to local memory: spills and arrays without a register.
    pub local_bytes: u64,
    /// Atomic operations, one for each thread.
    pub atomics: u64,
}

impl Counters {
    /// Adds what a request of one warp to global memory touches: `addresses` of `bytes` each.
    pub(crate) fn global(&mut self, addresses: &mut [u64], bytes: u64, written: bool) {
        let all = addresses.len() as u64 * bytes;
        *(if written { &mut self.global_written } else { &mut self.global_read }) += all;
        self.global_requests += 1;
        if bytes == 16 {
            self.wide_accesses += addresses.len() as u64;
        }
        if !addresses.is_sorted() {
            addresses.sort_unstable();
        }
        let (mut distinct, mut sectors, mut last, mut sector) = (0, 0, u64::MAX, u64::MAX);
        for &address in &*addresses {
            distinct += u64::from(address != last);
            sectors += u64::from(address / 32 != sector);
            (last, sector) = (address, address / 32);
        }
        self.sectors += sectors;
        self.ideal_sectors += (distinct * bytes).div_ceil(32);
    }

    /// Adds a request to shared memory: as many lanes at a time as ask for 128 bytes, 32 banks of four bytes.
    pub(crate) fn shared(&mut self, addresses: &[u64], bytes: u64) {
        self.shared_requests += 1;
        let lanes = (128 / bytes.max(4)) as usize;
        for turn in addresses.chunks(lanes) {
            let mut words: Vec<u64> =
                turn.iter().flat_map(|a| (0..bytes.div_ceil(4)).map(move |n| a / 4 + n)).collect();
            words.sort_unstable();
            words.dedup();
            let mut banks = [0_u64; 32];
            for word in words {
                banks[(word % 32) as usize] += 1;
            }
            self.bank_conflicts += banks.iter().max().map_or(0, |most| most.saturating_sub(1));
        }
    }
}
