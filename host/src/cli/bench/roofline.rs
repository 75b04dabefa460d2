//! The speed of memory, by as many threads as the loss has.

use super::Failure;
use densekd::BackendError;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Numbers that one task streams.
const TASK: usize = 1 << 16;

/// Sums of a task are kept in so many lanes, as wide registers hold them.
const LANES: usize = 32;

/// Three streams of a tensor's size.
pub(super) struct Roofline {
    pool: rayon::ThreadPool,
    a: Vec<f32>,
    b: Vec<f32>,
    to: Vec<f32>,
}

impl Roofline {
    /// Streams of so many bytes.
    pub(super) fn new(bytes: usize, threads: usize) -> Result<Self, Failure> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|source| BackendError::Threads { threads, source })?;
        let numbers = bytes / size_of::<f32>();
        Ok(Self { pool, a: vec![1.0; numbers], b: vec![2.0; numbers], to: vec![0.0; numbers] })
    }

    /// Seconds to read two streams.
    pub(super) fn read(&self) -> f64 {
        let (a, b) = (&self.a, &self.b);
        timed(|| {
            self.pool.install(|| {
                let tasks = a.par_chunks(TASK).zip(b.par_chunks(TASK));
                black_box(tasks.map(|(a, b)| sum(a) + sum(b)).sum::<f32>())
            })
        })
    }

    /// Seconds to read two streams and write one.
    pub(super) fn triad(&mut self) -> f64 {
        let Self { pool, a, b, to } = self;
        timed(|| {
            pool.install(|| {
                let tasks = to.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).zip(b.par_chunks(TASK));
                tasks.for_each(|((to, a), b)| {
                    to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = 3.0 * a + b);
                });
            });
            black_box(&to);
        })
    }
}

fn sum(numbers: &[f32]) -> f32 {
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
    }
    lanes.iter().chain(rest).sum()
}

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let _ = work();
    start.elapsed().as_secs_f64()
}
