//! Loads, stores and atomic operations of the lanes of a warp.
use super::block::Context;
use super::shared::Toucher;
use super::violation::{Violation, Wrong};
use super::warp::Warp;
use super::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};
use crate::ptx::op::{Access, Address, AtomicOp, Reg, Space, Src};
use crate::ptx::types::Type;

/// Lanes of a mask, from the first.
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |n| mask >> n & 1 == 1)
}

/// Where a generic address lies, and its address there.
fn resolve(space: Space, address: u64) -> (Space, u64) {
    match space {
        Space::Generic if (SHARED_WINDOW..SHARED_WINDOW + WINDOW).contains(&address) => {
            (Space::Shared, address - SHARED_WINDOW)
        }
        Space::Generic if (LOCAL_WINDOW..LOCAL_WINDOW + WINDOW).contains(&address) => {
            (Space::Local, address - LOCAL_WINDOW)
        }
        Space::Generic => (Space::Global, address),
        space => (space, address),
    }
}

/// Addresses that a request touched, by space, for the counters.
#[derive(Default)]
struct Touches {
    global: Vec<u64>,
    shared: Vec<u64>,
}

impl Touches {
    fn count(mut self, cx: &mut Context<'_>, bytes: u64, written: bool) {
        if !self.global.is_empty() {
            cx.counters.global(&mut self.global, bytes, written);
        }
        if !self.shared.is_empty() {
            cx.counters.shared(&self.shared, bytes);
        }
    }
}

fn misaligned(lane: u32, address: u64, bytes: u64) -> Violation {
    Violation::new(Wrong::Misaligned, lane, format!("{bytes} bytes at {address:#x}"))
}

fn shared_violation(lane: u32, address: u64, bytes: u64, why: (Wrong, Option<u32>)) -> Violation {
    let other =
        why.1.map_or(String::new(), |t| format!(", with thread {t} of the block and no barrier between"));
    Violation::new(why.0, lane, format!("{bytes} bytes at {address:#x} of shared memory{other}"))
}

impl Warp {
    fn toucher(&self, lane: u32, atomic: bool) -> Toucher {
        Toucher { thread: self.first_thread + lane, warp_barriers: self.barriers, atomic }
    }

    fn addresses(&self, address: Address) -> [u64; 32] {
        let base = self.row(address.base);
        std::array::from_fn(|n| base[n].wrapping_add_signed(address.offset))
    }

    fn local(
        &mut self,
        cx: &Context<'_>,
        lane: u32,
        address: u64,
        bytes: u64,
    ) -> Result<&mut [u8], Violation> {
        let size = u64::from(cx.kernel.local);
        match address.checked_add(bytes) {
            Some(end) if end <= size => {
                let at = (u64::from(lane) * size + address) as usize;
                Ok(&mut self.local[at..at + bytes as usize])
            }
            _ => {
                let what = format!("{bytes} bytes at {address:#x} of local memory, which has {size}");
                Err(Violation::new(Wrong::IllegalAddress, lane, what))
            }
        }
    }

    pub(super) fn load(
        &mut self,
        cx: &mut Context<'_>,
        mask: u32,
        access: &Access,
        to: &[Reg],
    ) -> Result<(), Violation> {
        let size = access.ty.bytes();
        let bytes = (size * to.len()) as u64;
        let addresses = self.addresses(access.address);
        let mut touches = Touches::default();
        for lane in lanes(mask) {
            let mut data = [0_u8; 16];
            let (space, address) = resolve(access.address.space, addresses[lane as usize]);
            if !address.is_multiple_of(bytes) {
                return Err(misaligned(lane, address, bytes));
            }
            let into = &mut data[..bytes as usize];
            match space {
                Space::Global | Space::Generic => {
                    touches.global.push(address);
                    match cx
                        .memory
                        .find(address, bytes)
                        .and_then(|a| a.read(address, bytes, access.non_coherent))
                    {
                        Some(Ok(from)) => into.copy_from_slice(from),
                        Some(Err(wrong)) => {
                            return Err(Violation::new(wrong, lane, cx.memory.explain(address, bytes)));
                        }
                        None => {
                            let what = cx.memory.explain(address, bytes);
                            return Err(Violation::new(Wrong::IllegalAddress, lane, what));
                        }
                    }
                }
                Space::Shared => {
                    touches.shared.push(address);
                    let by = self.toucher(lane, false);
                    let from = cx.shared.read(address, bytes, by);
                    into.copy_from_slice(from.map_err(|why| shared_violation(lane, address, bytes, why))?);
                }
                Space::Local => {
                    cx.counters.local_bytes += bytes;
                    into.copy_from_slice(self.local(cx, lane, address, bytes)?);
                }
                Space::Param => {
                    let from = cx.params.get(address as usize..(address + bytes) as usize);
                    let outside = || Violation::new(Wrong::IllegalAddress, lane, "outside of the parameters");
                    into.copy_from_slice(from.ok_or_else(outside)?);
                }
            }
            for (part, reg) in data.chunks(size).zip(to) {
                self.set(*reg, lane, extended(access.ty, part));
            }
        }
        touches.count(cx, bytes, false);
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        cx: &mut Context<'_>,
        mask: u32,
        access: &Access,
        from: &[Src],
    ) -> Result<(), Violation> {
        let size = access.ty.bytes();
        let bytes = (size * from.len()) as u64;
        let addresses = self.addresses(access.address);
        let rows: Vec<[u64; 32]> = from.iter().map(|s| self.row(*s)).collect();
        let mut touches = Touches::default();
        for lane in lanes(mask) {
            let (space, address) = resolve(access.address.space, addresses[lane as usize]);
            if !address.is_multiple_of(bytes) {
                return Err(misaligned(lane, address, bytes));
            }
            let into = match space {
                Space::Shared => {
                    touches.shared.push(address);
                    let by = self.toucher(lane, false);
                    cx.shared
                        .write(address, bytes, by)
                        .map_err(|why| shared_violation(lane, address, bytes, why))?
                }
                Space::Local => {
                    cx.counters.local_bytes += bytes;
                    self.local(cx, lane, address, bytes)?
                }
                _ => {
                    touches.global.push(address);
                    global_write(cx, lane, address, bytes)?
                }
            };
            for (part, row) in into.chunks_mut(size).zip(&rows) {
                part.copy_from_slice(&row[lane as usize].to_le_bytes()[..size]);
            }
        }
        touches.count(cx, bytes, true);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the operands of the instruction")]
    pub(super) fn atomic(
        &mut self,
        cx: &mut Context<'_>,
        mask: u32,
        op: AtomicOp,
        ty: Type,
        address: Address,
        to: Option<Reg>,
        b: Src,
        c: Src,
    ) -> Result<(), Violation> {
        let bytes = ty.bytes() as u64;
        let addresses = self.addresses(address);
        let (b, c) = (self.row(b), self.row(c));
        for lane in lanes(mask) {
            let at = lane as usize;
            let (space, address) = resolve(address.space, addresses[at]);
            if !address.is_multiple_of(bytes) {
                return Err(misaligned(lane, address, bytes));
            }
            cx.counters.atomics += 1;
            let place = if space == Space::Shared {
                let by = self.toucher(lane, true);
                let wrong = |why| shared_violation(lane, address, bytes, why);
                cx.shared.known(address, bytes).map_err(wrong)?;
                cx.shared.write(address, bytes, by).map_err(wrong)?
            } else {
                match cx.memory.find(address, bytes).and_then(|a| a.read(address, bytes, false)) {
                    Some(Err(wrong)) => {
                        return Err(Violation::new(wrong, lane, cx.memory.explain(address, bytes)));
                    }
                    _ => global_write(cx, lane, address, bytes)?,
                }
            };
            let mut old = [0; 8];
            old[..place.len()].copy_from_slice(place);
            let old = u64::from_le_bytes(old);
            let new = updated(op, ty, old, b[at], c[at]);
            place.copy_from_slice(&new.to_le_bytes()[..ty.bytes()]);
            if let Some(to) = to {
                self.set(to, lane, old);
            }
        }
        Ok(())
    }
}

fn global_write<'a>(
    cx: &'a mut Context<'_>,
    lane: u32,
    address: u64,
    bytes: u64,
) -> Result<&'a mut [u8], Violation> {
    if cx.memory.find(address, bytes).is_none() {
        return Err(Violation::new(Wrong::IllegalAddress, lane, cx.memory.explain(address, bytes)));
    }
    let place = cx.memory.find(address, bytes).and_then(|a| a.write(address, bytes));
    place.ok_or_else(|| Violation::new(Wrong::IllegalAddress, lane, "no allocation"))
}

/// Bytes of a loaded element as 64 bits, extended by its sign.
fn extended(ty: Type, bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(all);
    if ty.is_signed() {
        let up = 64 - u32::from(ty.bits());
        ((bits << up) as i64 >> up) as u64
    } else {
        bits
    }
}

/// What an atomic operation leaves, cut to the type by the store.
fn updated(op: AtomicOp, ty: Type, old: u64, b: u64, c: u64) -> u64 {
    let sign = |x: u64| if ty.bits() == 32 { i64::from(x as i32) } else { x as i64 };
    match op {
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Exchange => b,
        AtomicOp::CompareSwap => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Min if ty.is_signed() => sign(old).min(sign(b)) as u64,
        AtomicOp::Max if ty.is_signed() => sign(old).max(sign(b)) as u64,
        AtomicOp::Min => old.min(b),
        AtomicOp::Max => old.max(b),
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
    }
}
