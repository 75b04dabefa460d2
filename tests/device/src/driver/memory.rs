//! Allocations and copies.
use super::Driver;
use super::code::{self, Answer};

impl Driver {
    pub(crate) fn allocate(&mut self, bytes: u64) -> Answer<u64> {
        let context = self.current()?;
        if bytes == 0 {
            return Err(code::INVALID_VALUE);
        }
        let base = self.memory.allocate(bytes).ok_or(code::OUT_OF_MEMORY)?;
        self.owners.insert(base, context);
        Ok(base)
    }

    /// Of the null pointer there is nothing to free.
    pub(crate) fn free(&mut self, base: u64) -> Answer<()> {
        self.current()?;
        if base != 0 && !self.memory.free(base) {
            return Err(code::INVALID_VALUE);
        }
        self.owners.remove(&base);
        Ok(())
    }

    /// Free and total bytes.
    pub(crate) fn memory_info(&self) -> Answer<(u64, u64)> {
        self.current().map(|_| (self.memory.free_bytes(), self.settings.memory))
    }

    pub(crate) fn copy_in(&mut self, to: u64, bytes: &[u8]) -> Answer<()> {
        self.current()?;
        copied(bytes.is_empty() || self.memory.copy_in(to, bytes))
    }

    pub(crate) fn copy_out(&mut self, bytes: &mut [u8], from: u64) -> Answer<()> {
        self.current()?;
        copied(bytes.is_empty() || self.memory.copy_out(from, bytes))
    }

    pub(crate) fn copy_within(&mut self, to: u64, from: u64, bytes: u64) -> Answer<()> {
        self.current()?;
        copied(bytes == 0 || self.memory.copy_within(to, from, bytes))
    }

    /// `count` times the bytes of `value`, at an address of its alignment.
    pub(crate) fn fill(&mut self, to: u64, value: &[u8], count: usize) -> Answer<()> {
        self.current()?;
        copied(
            count == 0
                || (to.is_multiple_of(value.len() as u64) && self.memory.copy_in(to, &value.repeat(count))),
        )
    }

    /// Base and size of the allocation around an address.
    pub(crate) fn address_range(&self, address: u64) -> Answer<(u64, u64)> {
        self.current()?;
        self.memory.range(address).ok_or(code::NOT_FOUND)
    }

    /// Whether an address is of page-locked memory of the host.
    pub(crate) fn is_page_locked(&self, address: u64) -> bool {
        self.host.iter().any(|(&base, &bytes)| (base..base + bytes).contains(&address))
    }

    /// The context that an address belongs to.
    pub(crate) fn owner(&self, address: u64) -> Answer<u64> {
        self.initialised()?;
        let base = self.memory.range(address).ok_or(code::INVALID_VALUE)?.0;
        self.owners.get(&base).copied().ok_or(code::INVALID_VALUE)
    }
}

fn copied(done: bool) -> Answer<()> {
    if done { Ok(()) } else { Err(code::INVALID_VALUE) }
}
