//! A warp: registers of 32 lanes, each with its own place in the code.
//!
//! Lanes at the same place run together. Where they part, those at the earliest place run until they reach the others,
//! so that lanes meet again where the code does. An instruction that waits for other lanes parks its own until the
//! last one comes.
use super::access::lanes;
use super::block::Context;
use super::random::mix;
use super::violation::{Violation, Wrong};
use super::{approx, convert, float, integer};
use crate::ptx::op::{Axis, Logic, Op, Pred, Reg, Special, Src, Test};
use crate::ptx::types::Type;

#[derive(Debug)]
pub(crate) struct Warp {
    /// Number in its block of the thread that is lane 0.
    pub(super) first_thread: u32,
    /// Lanes that are threads of the block.
    pub(super) members: u32,
    registers: Vec<[u64; 32]>,
    pub(super) predicates: Vec<u32>,
    pub(super) local: Vec<u8>,
    pub(super) at: [u32; 32],
    pub(super) exited: u32,
    /// Lanes that wait for all threads of the block, at a barrier.
    pub(super) at_barrier: u32,
    /// Lanes that wait for lanes of the warp.
    pub(super) parked: u32,
    /// Times that all lanes of the warp met at a barrier of the warp.
    pub(super) barriers: u32,
    steps: u64,
}

/// Where lanes go after an instruction.
enum Flow {
    Next,
    /// The places of the lanes are written: look again who runs.
    Moved,
}

impl Warp {
    /// Registers that were never written. They differ from run to run on a device; here from seed to seed.
    pub(super) fn junk(registers: u32, seed: u64) -> Vec<[u64; 32]> {
        let row = |n: u32| std::array::from_fn(|lane| mix(seed ^ u64::from(n) << 8 ^ lane as u64) & 0xffff);
        (0..registers).map(row).collect()
    }

    pub(super) fn new(cx: &Context<'_>, first_thread: u32, threads: u32) -> Self {
        let kernel = cx.kernel;
        let lanes_here = (threads - first_thread).min(32);
        Self {
            first_thread,
            members: u32::MAX >> (32 - lanes_here),
            registers: cx.junk.to_vec(),
            predicates: vec![0; kernel.predicates as usize],
            local: vec![0xa5; kernel.local as usize * 32],
            at: [0; 32],
            exited: 0,
            at_barrier: 0,
            parked: 0,
            barriers: 0,
            steps: 0,
        }
    }

    /// The same of another block of the launch, in the memory that this one has: a kernel may have megabytes of registers.
    pub(super) fn renew(&mut self, cx: &Context<'_>) {
        self.registers.copy_from_slice(cx.junk);
        self.predicates.fill(0);
        self.local.fill(0xa5);
        self.at = [0; 32];
        (self.exited, self.at_barrier, self.parked, self.barriers, self.steps) = (0, 0, 0, 0, 0);
    }

    /// Lanes that can run.
    pub(super) fn runnable(&self) -> u32 {
        self.members & !(self.exited | self.at_barrier | self.parked)
    }

    pub(super) fn is_done(&self) -> bool {
        self.members & !self.exited == 0
    }

    pub(super) fn row(&self, from: Src) -> [u64; 32] {
        match from {
            Src::Reg(r) => self.registers[r.at as usize],
            Src::Value(v) => [v; 32],
        }
    }

    pub(super) fn set(&mut self, to: Reg, lane: u32, value: u64) {
        self.registers[to.at as usize][lane as usize] = value & (u64::MAX >> (64 - to.bits));
    }

    pub(super) fn write(&mut self, to: Reg, mask: u32, values: &[u64; 32]) {
        let keep = u64::MAX >> (64 - to.bits);
        let row = &mut self.registers[to.at as usize];
        if mask == u32::MAX {
            for (to, v) in row.iter_mut().zip(values) {
                *to = v & keep;
            }
        } else {
            for (n, (to, v)) in row.iter_mut().zip(values).enumerate() {
                *to = if mask >> n & 1 == 1 { v & keep } else { *to };
            }
        }
    }

    pub(super) fn predicate(&self, p: Pred) -> u32 {
        let bits = self.predicates[p.at as usize];
        if p.negated { !bits } else { bits }
    }

    pub(super) fn write_predicate(&mut self, to: u32, mask: u32, bits: u32) {
        let place = &mut self.predicates[to as usize];
        *place = *place & !mask | bits & mask;
    }

    /// Runs lanes for about `steps` instructions, or until none can. An error comes with the place of its instruction.
    pub(super) fn run(&mut self, cx: &mut Context<'_>, mut steps: u32) -> Result<(), (u32, Violation)> {
        while steps > 0 {
            let runnable = self.runnable();
            if runnable == 0 {
                return self.stuck(cx);
            }
            let earliest = lanes(runnable).map(|n| self.at[n as usize]).min().unwrap_or_default();
            let (mut group, mut others) = (0, u32::MAX);
            for lane in lanes(runnable) {
                match self.at[lane as usize] {
                    at if at == earliest => group |= 1 << lane,
                    at => others = others.min(at),
                }
            }
            let mut at = earliest;
            loop {
                let flow = self.step(cx, at, group).map_err(|v| (at, v))?;
                steps = steps.saturating_sub(1);
                match flow {
                    Flow::Moved => break,
                    Flow::Next => at += 1,
                }
                if at >= others || steps == 0 {
                    self.move_to(group, at);
                    break;
                }
            }
        }
        Ok(())
    }

    /// No lane can run: wrong where one is parked, for then the lanes that it waits for do not come.
    fn stuck(&self, cx: &Context<'_>) -> Result<(), (u32, Violation)> {
        let Some(lane) = lanes(self.parked).next() else { return Ok(()) };
        let at = self.at[lane as usize];
        let named = match &cx.kernel.code[at as usize].op {
            Op::Sync { mask, .. } => self.row(*mask)[lane as usize] as u32,
            _ => 0,
        };
        let here = lanes(self.parked).filter(|n| self.at[*n as usize] == at).fold(0, |m, n| m | 1 << n);
        let gone = self.exited | !self.members;
        let what = format!(
            "lanes {named:#010x} are named, {here:#010x} are here, {gone:#010x} have ended or are none"
        );
        Err((at, Violation::new(Wrong::Divergence, lane, what)))
    }

    pub(super) fn move_to(&mut self, mask: u32, at: u32) {
        for lane in lanes(mask) {
            self.at[lane as usize] = at;
        }
    }

    fn step(&mut self, cx: &mut Context<'_>, at: u32, group: u32) -> Result<Flow, Violation> {
        let kernel = cx.kernel;
        let instruction = &kernel.code[at as usize];
        let mask = match instruction.guard {
            None => group,
            Some(p) => group & self.predicate(p),
        };
        cx.counters.instructions += u64::from(mask.count_ones());
        self.steps += 1;
        if self.steps > cx.step_limit {
            let what = format!("a warp has run {} instructions", cx.step_limit);
            return Err(Violation::new(Wrong::Endless, group.trailing_zeros(), what));
        }
        if mask == 0 {
            return Ok(Flow::Next);
        }
        match &instruction.op {
            Op::Branch { target } => {
                self.move_to(group & !mask, at + 1);
                self.move_to(mask, *target);
                return Ok(Flow::Moved);
            }
            Op::BranchTable { targets, index } => {
                self.move_to(group & !mask, at + 1);
                let index = self.row(*index);
                for lane in lanes(mask) {
                    let index = index[lane as usize];
                    let target = targets.get(index as usize).ok_or_else(|| {
                        Violation::new(
                            Wrong::IllegalAddress,
                            lane,
                            format!("branch {index} of a shorter table"),
                        )
                    })?;
                    self.at[lane as usize] = *target;
                }
                return Ok(Flow::Moved);
            }
            Op::Exit => {
                self.move_to(group & !mask, at + 1);
                self.exited |= mask;
                return Ok(Flow::Moved);
            }
            Op::Trap => {
                return Err(Violation::new(Wrong::Trap, mask.trailing_zeros(), "the kernel ends itself"));
            }
            Op::Barrier { .. } => {
                self.move_to(group & !mask, at + 1);
                self.move_to(mask, at);
                self.at_barrier |= mask;
                return Ok(Flow::Moved);
            }
            Op::Sync { mask: named, what } => {
                self.move_to(group & !mask, at + 1);
                self.move_to(mask, at);
                self.meet(at, mask, *named, *what)?;
                return Ok(Flow::Moved);
            }
            Op::Load { access, to } => self.load(cx, mask, access, to)?,
            Op::Store { access, from } => self.store(cx, mask, access, from)?,
            Op::Atomic { op, ty, address, to, b, c } => {
                self.atomic(cx, mask, *op, *ty, *address, *to, *b, *c)?;
            }
            Op::ActiveMask { to } => self.write(*to, mask, &[u64::from(mask); 32]),
            Op::Fence => {}
            op => self.compute(cx, mask, op),
        }
        Ok(Flow::Next)
    }

    /// Instructions that only write registers.
    fn compute(&mut self, cx: &Context<'_>, mask: u32, op: &Op) {
        let (to, out) = match op {
            Op::Move { to, from } => (*to, self.row(*from)),
            Op::Special { to, which } => (*to, self.special(cx, *which)),
            Op::Int1 { op, ty, to, a } => (*to, integer::int1(*op, *ty, &self.row(*a))),
            Op::Int2 { op, ty, to, a, b } => (*to, integer::int2(*op, *ty, &self.row(*a), &self.row(*b))),
            Op::Int3 { op, ty, to, a, b, c } => {
                (*to, integer::int3(*op, *ty, &self.row(*a), &self.row(*b), &self.row(*c)))
            }
            Op::InsertBits { bits, to, a, b, start, length } => {
                let (a, b, start, length) = (self.row(*a), self.row(*b), self.row(*start), self.row(*length));
                (*to, std::array::from_fn(|n| integer::insert(*bits, a[n], b[n], start[n], length[n])))
            }
            Op::Float1 { op, bits, flags, to, a } => (*to, float::float1(*op, *bits, *flags, &self.row(*a))),
            Op::Float2 { op, bits, flags, to, a, b } => {
                (*to, float::float2(*op, *bits, *flags, &self.row(*a), &self.row(*b)))
            }
            Op::MayFuse { op, bits, flags, to, a, b, factors: (x, y), second, place } => {
                let fused = cx.seed != 0 && mix(cx.seed ^ mix(u64::from(*place))) & 1 == 1;
                let (a, b) = (self.row(*a), self.row(*b));
                let out = if fused {
                    let other = if *second { &a } else { &b };
                    float::fused_sum(*op, *bits, *flags, [&self.row(*x), &self.row(*y)], other, *second)
                } else {
                    float::float2(*op, *bits, *flags, &a, &b)
                };
                (*to, out)
            }
            Op::FusedMultiplyAdd { bits, flags, to, a, b, c } => {
                (*to, float::fused(*bits, *flags, &self.row(*a), &self.row(*b), &self.row(*c)))
            }
            Op::Approx { op, flags, to, a } => {
                let a = self.row(*a);
                (*to, std::array::from_fn(|n| approx::approx(*op, *flags, cx.seed, a[n])))
            }
            Op::DivApprox { flags, to, a, b } => {
                let (a, b) = (self.row(*a), self.row(*b));
                (*to, std::array::from_fn(|n| approx::quotient(*flags, cx.seed, a[n], b[n])))
            }
            Op::Convert { how, to, a } => (*to, self.row(*a).map(|a| convert::convert(*how, a))),
            Op::ConvertPair { to_half, to, a, b } => {
                let (a, b) = (self.row(*a), self.row(*b));
                (*to, std::array::from_fn(|n| convert::pair(*to_half, a[n], b[n])))
            }
            Op::Select { to, a, b, by } => {
                let (a, b, by) = (self.row(*a), self.row(*b), self.predicate(*by));
                (*to, std::array::from_fn(|n| if by >> n & 1 == 1 { a[n] } else { b[n] }))
            }
            Op::SelectBySign { ty, ftz, to, a, b, by } => {
                let (a, b, by, zero) = (self.row(*a), self.row(*b), self.row(*by), [0; 32]);
                let order = crate::ptx::op::Order::GreaterEqual;
                let first = match ty {
                    Type::Float(_) => {
                        float::compare(Test::Order { order, unordered: false }, 32, *ftz, &by, &zero)
                    }
                    ty => integer::compare(order, *ty, &by, &zero),
                };
                (*to, std::array::from_fn(|n| if first >> n & 1 == 1 { a[n] } else { b[n] }))
            }
            Op::Pack { to, from, bits } => {
                let mut out = [0; 32];
                for (n, part) in from.iter().enumerate() {
                    let part = self.row(*part);
                    for (out, part) in out.iter_mut().zip(part) {
                        *out |= part << (n * usize::from(*bits));
                    }
                }
                (*to, out)
            }
            op => return self.compute_others(mask, op),
        };
        self.write(to, mask, &out);
    }

    /// Those that write predicates, or several registers.
    fn compute_others(&mut self, mask: u32, op: &Op) {
        match op {
            Op::Unpack { to, from, bits } => {
                let from = self.row(*from);
                for (n, to) in to.iter().enumerate() {
                    if let Some(to) = to {
                        self.write(*to, mask, &from.map(|x| x >> (n * usize::from(*bits))));
                    }
                }
            }
            Op::Compare { test, ty, ftz, to, other, with, a, b } => {
                let (a, b) = (self.row(*a), self.row(*b));
                let holds = match (ty, test) {
                    (Type::Float(16), test) => float::compare(
                        *test,
                        32,
                        *ftz,
                        &a.map(convert::half_bits),
                        &b.map(convert::half_bits),
                    ),
                    (Type::Float(bits), test) => float::compare(*test, *bits, *ftz, &a, &b),
                    (ty, Test::Order { order, .. }) => integer::compare(*order, *ty, &a, &b),
                    (_, Test::BothNumbers) => u32::MAX,
                    (_, Test::EitherNan) => 0,
                };
                let (first, second) = match with {
                    None => (holds, !holds),
                    Some((logic, p)) => {
                        let p = self.predicate(*p);
                        (combined(*logic, holds, p), combined(*logic, !holds, p))
                    }
                };
                self.write_predicate(*to, mask, first);
                if let Some(other) = other {
                    self.write_predicate(*other, mask, second);
                }
            }
            Op::Logic { op, to, a, b } => {
                let bits = combined(*op, self.predicate(*a), self.predicate(*b));
                self.write_predicate(*to, mask, bits);
            }
            Op::MovePred { to, from } => self.write_predicate(*to, mask, self.predicate(*from)),
            Op::SetPred { to, value } => self.write_predicate(*to, mask, if *value { u32::MAX } else { 0 }),
            op => unreachable!("{op:?} does not only compute"),
        }
    }

    fn special(&self, cx: &Context<'_>, which: Special) -> [u64; 32] {
        let pick = |of: [u32; 3], axis| match axis {
            Axis::X => of[0],
            Axis::Y => of[1],
            Axis::Z => of[2],
        };
        std::array::from_fn(|lane| {
            let lane = lane as u32;
            u64::from(match which {
                Special::Thread(axis) => pick(cx.thread(self.first_thread + lane), axis),
                Special::Threads(axis) => pick(cx.threads, axis),
                Special::Block(axis) => pick(cx.block, axis),
                Special::Blocks(axis) => pick(cx.grid, axis),
                Special::Lane => lane,
                Special::Warp => self.first_thread / 32,
                Special::LanesEqual => 1 << lane,
                Special::LanesBelow => (1 << lane) - 1,
                Special::LanesUpTo => u32::MAX >> (31 - lane),
                Special::LanesAbove => !(u32::MAX >> (31 - lane)),
                Special::LanesFrom => u32::MAX << lane,
                Special::DynamicShared => cx.dynamic_shared,
            })
        })
    }
}

fn combined(logic: Logic, a: u32, b: u32) -> u32 {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}
