//! A block: its warps, its shared memory, its barrier.
use super::access::lanes;
use super::counters::Counters;
use super::global::Memory;
use super::random::Random;
use super::shared::Shared;
use super::violation::{Failure, Violation, Wrong};
use super::warp::Warp;
use crate::ptx::Kernel;

/// What a warp sees of its block and of the device while it runs.
pub(super) struct Context<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) memory: &'a mut Memory,
    pub(super) counters: &'a mut Counters,
    pub(super) shared: &'a mut Shared,
    /// A warp's registers when it begins.
    pub(super) junk: &'a [[u64; 32]],
    pub(super) params: &'a [u8],
    pub(super) grid: [u32; 3],
    pub(super) threads: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared: u32,
    pub(super) seed: u64,
    pub(super) step_limit: u64,
}

impl Context<'_> {
    /// Place in the block of its thread with this number.
    pub(super) fn thread(&self, number: u32) -> [u32; 3] {
        place(number, self.threads)
    }
}

/// Place of the `number`-th of a box, x first.
pub(super) fn place(number: u32, size: [u32; 3]) -> [u32; 3] {
    [number % size[0], number / size[0] % size[1], number / size[0] / size[1]]
}

/// Most instructions that a warp runs before another one may.
const TURN: usize = 256;

pub(super) struct Block {
    pub(super) place: [u32; 3],
    warps: Vec<Warp>,
    pub(super) shared: Shared,
}

impl Block {
    pub(super) fn new(cx: &Context<'_>, shared: usize) -> Self {
        let threads = cx.threads.iter().product();
        let warps = (0..threads).step_by(32).map(|first| Warp::new(cx, first, threads)).collect();
        Self { place: cx.block, warps, shared: Shared::new(shared) }
    }

    /// Another block, in the memory of this one, which has ended.
    pub(super) fn renew(&mut self, cx: &Context<'_>) {
        self.place = cx.block;
        self.warps.iter_mut().for_each(|warp| warp.renew(cx));
        self.shared.renew();
    }

    /// Lets one warp that can run do so for a while. False: the block has ended.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>, random: &mut Random) -> Result<bool, Box<Failure>> {
        let ready: Vec<usize> = (0..self.warps.len()).filter(|n| self.warps[*n].runnable() != 0).collect();
        if ready.is_empty() {
            if self.warps.iter().all(Warp::is_done) {
                return Ok(false);
            }
            self.barrier(cx)?;
            return Ok(true);
        }
        let warp = &mut self.warps[ready[random.below(ready.len())]];
        let steps = random.below(TURN) as u32;
        // Without a seed a warp runs as far as it can.
        let steps = if steps == 0 { u32::MAX } else { steps };
        let first = warp.first_thread;
        warp.run(cx, steps).map_err(|(at, violation)| Box::new(failure(cx, at, first, violation)))?;
        Ok(true)
    }

    /// No thread can go on but for the barrier: all must be at the same one.
    fn barrier(&mut self, cx: &mut Context<'_>) -> Result<(), Box<Failure>> {
        let places: Vec<(u32, Option<u32>)> = self
            .warps
            .iter()
            .flat_map(|w| {
                lanes(w.members).map(|lane| {
                    let waits = w.at_barrier >> lane & 1 == 1;
                    (w.first_thread + lane, waits.then_some(w.at[lane as usize]))
                })
            })
            .collect();
        let Some((first, at)) = places.iter().find_map(|(thread, at)| at.map(|at| (*thread, at))) else {
            return Ok(());
        };
        if let Some((thread, other)) = places.into_iter().find(|(_, other)| *other != Some(at)) {
            let [x, y, z] = cx.thread(thread);
            let what = match other {
                None => format!("thread ({x}, {y}, {z}) has ended and never comes to this barrier"),
                Some(other) => {
                    let line = cx.kernel.code[other as usize].line;
                    format!("thread ({x}, {y}, {z}) waits at another barrier, PTX line {line}")
                }
            };
            return Err(Box::new(failure(cx, at, first, Violation::new(Wrong::Divergence, 0, what))));
        }
        for w in &mut self.warps {
            w.at_barrier = 0;
            w.move_to(w.members, at + 1);
        }
        cx.shared.barrier();
        cx.counters.barriers += 1;
        Ok(())
    }
}

fn failure(cx: &Context<'_>, at: u32, first_thread: u32, violation: Violation) -> Failure {
    let line = cx.kernel.code[at as usize].line;
    let source = cx.kernel.source.get(line.saturating_sub(1) as usize);
    Failure {
        wrong: violation.wrong,
        kernel: cx.kernel.name.clone(),
        line,
        instruction: source.map(|s| s.trim().to_owned()).unwrap_or_default(),
        block: cx.block,
        thread: cx.thread(first_thread + violation.lane),
        what: violation.what,
    }
}
