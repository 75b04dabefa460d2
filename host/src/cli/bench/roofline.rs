//! The speed of memory, by as many threads as the loss has, on the memory that the loss reads and writes.

use super::Failure;
use super::streams::{self, Fetch, Read};
use densekd::BackendError;
use densekd::io::Values;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Numbers that one task streams.
const TASK: usize = 1 << 16;

/// A last-level cache, in bytes, where the system does not say.
const USUAL_CACHE: usize = 32 << 20;

/// Threads to stream memory by.
#[derive(Debug)]
pub(super) struct Roofline {
    pool: rayon::ThreadPool,
    cache: usize,
}

impl Roofline {
    /// On so many threads.
    pub(super) fn new(threads: usize) -> Result<Self, Failure> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|source| BackendError::Threads { threads, source })?;
        Ok(Self { pool, cache: last_level_cache().unwrap_or(USUAL_CACHE) })
    }

    /// Bytes of the last-level cache.
    pub(super) const fn cache(&self) -> usize {
        self.cache
    }

    /// Seconds to read two maps, by the fastest of several loops.
    pub(super) fn read(&self, a: &Values, b: &Values) -> f64 {
        let (a, b) = (numbers(a), numbers(b));
        let by = |read: Read| {
            let tasks = || a.par_chunks(TASK).zip(b.par_chunks(TASK));
            let sum = || tasks().map(|(a, b)| read.run(a, b)).reduce(|| 0, u32::wrapping_add);
            self.timed(|| black_box(sum())).1
        };
        Read::ALL.into_iter().map(by).fold(f64::INFINITY, f64::min)
    }

    /// Seconds to read two maps and write one, by the faster of two loops; past the caches where they would not hold it.
    pub(super) fn triad(&self, a: &Values, b: &Values, to: &mut Values) -> f64 {
        let (a, b, to) = (numbers(a), numbers(b), numbers_mut(to));
        let past_caches = size_of_val(to) > self.cache;
        let mut by = |fetch: Fetch| {
            let add = || {
                let tasks = to.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).zip(b.par_chunks(TASK));
                tasks.for_each(|((to, a), b)| {
                    let len = to.len().min(a.len()).min(b.len());
                    streams::add(&mut to[..len], &a[..len], &b[..len], past_caches, fetch);
                });
            };
            self.timed(add).1
        };
        Fetch::ALL.into_iter().map(&mut by).fold(f64::INFINITY, f64::min)
    }

    /// Runs work on the threads, and how many seconds it took them.
    pub(super) fn timed<T: Send>(&self, work: impl FnOnce() -> T + Send) -> (T, f64) {
        self.pool.install(|| {
            let start = Instant::now();
            let result = work();
            (result, start.elapsed().as_secs_f64())
        })
    }
}

/// The map's memory as 32-bit numbers, but for a few bytes at its ends.
fn numbers(values: &Values) -> &[u32] {
    match values {
        Values::F32(x) => bytemuck::pod_align_to(x).1,
        Values::F64(x) => bytemuck::pod_align_to(x).1,
        Values::F16(x) => bytemuck::pod_align_to(x).1,
        Values::Bf16(x) => bytemuck::pod_align_to(x).1,
    }
}

fn numbers_mut(values: &mut Values) -> &mut [u32] {
    match values {
        Values::F32(x) => bytemuck::pod_align_to_mut(x).1,
        Values::F64(x) => bytemuck::pod_align_to_mut(x).1,
        Values::F16(x) => bytemuck::pod_align_to_mut(x).1,
        Values::Bf16(x) => bytemuck::pod_align_to_mut(x).1,
    }
}

/// As Linux tells it.
fn last_level_cache() -> Option<usize> {
    let size = |level: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size"));
        text.ok()?.trim().strip_suffix('K')?.parse::<usize>().ok()
    };
    (0..8).filter_map(size).max().map(|kib| kib << 10)
}
