//! One launch: blocks of a grid, a few at a time.
use super::block::{Block, Context, place};
use super::counters::Counters;
use super::global::Memory;
use super::random::{Random, mix};
use super::shared::Shared;
use super::violation::Failure;
use super::warp::Warp;
use crate::ptx::Kernel;

/// A kernel with its arguments and sizes.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) grid: [u32; 3],
    pub(crate) threads: [u32; 3],
    pub(crate) dynamic_shared: u32,
    pub(crate) params: &'a [u8],
    pub(crate) seed: u64,
    /// Most instructions of a warp.
    pub(crate) step_limit: u64,
}

/// Blocks that run side by side.
const RESIDENT: u64 = 4;

/// Runs all blocks. The first violation ends the launch.
pub(crate) fn launch(
    l: &Launch<'_>,
    memory: &mut Memory,
    counters: &mut Counters,
) -> Result<(), Box<Failure>> {
    counters.launches += 1;
    let blocks: u64 = l.grid.iter().map(|n| u64::from(*n)).product();
    let bytes = (l.kernel.shared + l.dynamic_shared) as usize;
    let mut random = Random::new(l.seed);
    let junk = Warp::junk(l.kernel.registers, l.seed);
    let (mut resident, mut ended): (Vec<Block>, Vec<Block>) = (Vec::new(), Vec::new());
    let mut none = Shared::new(0);
    let mut started = 0;
    let result = loop {
        while started < blocks && (resident.len() as u64) < RESIDENT {
            let number = order(started, blocks, l.seed);
            let place = place_wide(number, l.grid);
            let cx = context(l, memory, counters, (&mut none, &junk), place);
            resident.push(match ended.pop() {
                Some(mut block) => {
                    block.renew(&cx);
                    block
                }
                None => Block::new(&cx, bytes),
            });
            started += 1;
        }
        if resident.is_empty() {
            break Ok(());
        }
        let at = random.below(resident.len());
        let mut shared = std::mem::replace(&mut resident[at].shared, Shared::new(0));
        let place = resident[at].place;
        let mut cx = context(l, memory, counters, (&mut shared, &junk), place);
        let goes_on = resident[at].turn(&mut cx, &mut random);
        resident[at].shared = shared;
        match goes_on {
            Ok(true) => {}
            Ok(false) => ended.push(resident.remove(at)),
            Err(failure) => break Err(failure),
        }
    };
    memory.settle();
    result
}

fn context<'a>(
    l: &'a Launch<'_>,
    memory: &'a mut Memory,
    counters: &'a mut Counters,
    (shared, junk): (&'a mut Shared, &'a [[u64; 32]]),
    block: [u32; 3],
) -> Context<'a> {
    Context {
        kernel: l.kernel,
        memory,
        counters,
        shared,
        junk,
        params: l.params,
        grid: l.grid,
        threads: l.threads,
        block,
        dynamic_shared: l.dynamic_shared,
        seed: l.seed,
        step_limit: l.step_limit,
    }
}

fn place_wide(number: u64, grid: [u32; 3]) -> [u32; 3] {
    let layer = u64::from(grid[0]) * u64::from(grid[1]);
    let [x, y, _] = place((number % layer) as u32, grid);
    [x, y, (number / layer) as u32]
}

/// The number of the `n`-th block to start: a permutation of all, natural without a seed.
fn order(n: u64, blocks: u64, seed: u64) -> u64 {
    if seed == 0 {
        return n;
    }
    // A step without a common factor with the count visits each block once.
    let mut step = (mix(seed) % blocks) | 1;
    while gcd(step, blocks) != 1 {
        step += 2;
    }
    ((u128::from(n) * u128::from(step) + u128::from(mix(seed ^ 1))) % u128::from(blocks)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
