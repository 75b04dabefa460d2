//! Loops that do nothing but move memory, compiled for the widest instructions there are.
//!
//! Numbers are added as integers, so that whatever bits a map holds cost the same.
#![allow(
    unsafe_code,
    reason = "stores past the caches, and functions compiled for a detected instruction set"
)]

/// Numbers that one turn of a loop takes: a line of the cache, four times.
const STEP: usize = 64;

/// Who fetches what a loop will read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fetch {
    /// The CPU, by what it guesses.
    Cpu,
    /// The loop itself, [`AHEAD`] numbers before it reads them; and it has the pages looked up that it will write.
    Ahead,
}

/// Numbers from a load to the prefetch beside it.
const AHEAD: usize = 2048;

/// Numbers of a page of memory.
const PAGE: usize = 1024;

impl Fetch {
    pub(super) const ALL: [Self; 2] = [Self::Cpu, Self::Ahead];

    /// Asks for what lies so many numbers behind each line of these.
    #[inline(always)]
    fn ask(self, from: &[u32], ahead: usize) {
        #[cfg(target_arch = "x86_64")]
        if matches!(self, Self::Ahead) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in from.chunks(16) {
                // SAFETY: SSE is part of x86-64, and a prefetch of any address does nothing that a program could see.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(ahead).cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (from, ahead);
    }
}

/// Reads two streams, one after the other or side by side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Apart(Fetch),
    Together(Fetch),
}

impl Read {
    pub(super) const ALL: [Self; 4] = [
        Self::Apart(Fetch::Cpu),
        Self::Apart(Fetch::Ahead),
        Self::Together(Fetch::Cpu),
        Self::Together(Fetch::Ahead),
    ];

    /// Some number that depends on all that is read.
    pub(super) fn run(self, a: &[u32], b: &[u32]) -> u32 {
        match self {
            Self::Apart(fetch) => widest(Sum(fetch), (a, &[])).wrapping_add(widest(Sum(fetch), (b, &[]))),
            Self::Together(fetch) => widest(Sum(fetch), (a, b)),
        }
    }
}

/// Writes the sum of two streams, through the caches or past them.
pub(super) fn add(to: &mut [u32], a: &[u32], b: &[u32], past_caches: bool, fetch: Fetch) {
    #[cfg(target_arch = "x86_64")]
    if past_caches {
        return add_past_caches(to, a, b, fetch);
    }
    // Elsewhere CPUs find out by themselves that whole lines are written.
    let _ = past_caches;
    widest(Add(fetch), (to, a, b));
}

/// A loop over its data, `#[inline(always)]`.
trait Loop<D> {
    type Output;
    fn run(self, data: D) -> Self::Output;
}

struct Sum(Fetch);

impl Loop<(&[u32], &[u32])> for Sum {
    type Output = u32;

    #[inline(always)]
    fn run(self, (a, b): (&[u32], &[u32])) -> u32 {
        let mut lanes = [0_u32; STEP];
        let mut add = |step: &[u32; STEP]| {
            self.0.ask(step, AHEAD);
            lanes.iter_mut().zip(step).for_each(|(lane, x)| *lane = lane.wrapping_add(*x));
        };
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<STEP>(), b.as_chunks::<STEP>());
        if b.is_empty() {
            a.iter().for_each(&mut add);
        } else {
            for (a, b) in a.iter().zip(b) {
                add(a);
                add(b);
            }
        }
        lanes.iter().chain(a_rest).chain(b_rest).fold(0, |sum, x| sum.wrapping_add(*x))
    }
}

struct Add(Fetch);

impl Loop<(&mut [u32], &[u32], &[u32])> for Add {
    type Output = ();

    #[inline(always)]
    fn run(self, (to, a, b): (&mut [u32], &[u32], &[u32])) {
        for ((to, a), b) in to.chunks_mut(STEP).zip(a.chunks(STEP)).zip(b.chunks(STEP)) {
            self.0.ask(a, AHEAD);
            self.0.ask(b, AHEAD);
            // What is written through the caches is read first.
            self.0.ask(to, AHEAD);
            to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = a.wrapping_add(*b));
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn widest<D, L: Loop<D>>(work: L, data: D) -> L::Output {
    #[target_feature(enable = "avx512f")]
    fn avx512<D, L: Loop<D>>(work: L, data: D) -> L::Output {
        work.run(data)
    }
    #[target_feature(enable = "avx2")]
    fn avx2<D, L: Loop<D>>(work: L, data: D) -> L::Output {
        work.run(data)
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just detected.
        unsafe { avx512(work, data) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just detected.
        unsafe { avx2(work, data) }
    } else {
        work.run(data)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest<D, L: Loop<D>>(work: L, data: D) -> L::Output {
    work.run(data)
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::cast_ptr_alignment, reason = "loads take any alignment, and the stores' is seen to")]
fn add_past_caches(to: &mut [u32], a: &[u32], b: &[u32], fetch: Fetch) {
    use std::arch::x86_64::{__m128i, _mm_add_epi32, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const LINE: usize = 16;
    const QUARTER: usize = 4;
    let head = to.as_ptr().align_offset(64).min(to.len());
    let (first, to) = to.split_at_mut(head);
    let ((a_first, a), (b_first, b)) = (a.split_at(head), b.split_at(head));
    widest(Add(fetch), (first, a_first, b_first));
    let (lines, last) = to.as_chunks_mut::<LINE>();
    let ((a_lines, a_last), (b_lines, b_last)) = (a.as_chunks::<LINE>(), b.as_chunks::<LINE>());
    widest(Add(fetch), (last, a_last, b_last));
    for (i, ((to, a), b)) in lines.iter_mut().zip(a_lines).zip(b_lines).enumerate() {
        fetch.ask(a, AHEAD);
        fetch.ask(b, AHEAD);
        if i.is_multiple_of(PAGE / LINE) {
            fetch.ask(to, PAGE);
        }
        let quarters = to.as_chunks_mut::<QUARTER>().0.iter_mut();
        for ((to, a), b) in quarters.zip(a.as_chunks::<QUARTER>().0).zip(b.as_chunks::<QUARTER>().0) {
            // SAFETY: SSE2 is part of x86-64, and 16 bytes are read at any alignment.
            let a = unsafe { _mm_loadu_si128(a.as_ptr().cast::<__m128i>()) };
            // SAFETY: as above.
            let b = unsafe { _mm_loadu_si128(b.as_ptr().cast::<__m128i>()) };
            // SAFETY: SSE2 is part of x86-64.
            let sum = unsafe { _mm_add_epi32(a, b) };
            // SAFETY: `lines` begins at a multiple of 64 bytes, so a quarter of 16 at a multiple of 16.
            unsafe { _mm_stream_si128(to.as_mut_ptr().cast::<__m128i>(), sum) }
        }
    }
    // SAFETY: SSE is part of x86-64. What was written past the caches is ordered before what threads are told next.
    unsafe { _mm_sfence() }
}

#[cfg(test)]
mod tests {
    use super::{Fetch, Read, add};

    #[test]
    fn every_number_is_read_and_written_once() {
        let a: Vec<u32> = (0..1003).collect();
        let b: Vec<u32> = (0..1003).map(|i| 7 * i).collect();
        let wanted: u32 = a.iter().zip(&b).map(|(a, b)| a + b).sum();
        for read in Read::ALL {
            assert_eq!(read.run(&a, &b), wanted, "{read:?}");
        }
        for (past_caches, fetch) in [false, true].into_iter().flat_map(|x| Fetch::ALL.map(|y| (x, y))) {
            for start in 0..20 {
                let mut to = vec![0; 1003];
                add(&mut to[start..], &a[start..], &b[start..], past_caches, fetch);
                assert!(
                    (start..1003).all(|i| to[i] == a[i] + b[i]),
                    "from {start}, {past_caches}, {fetch:?}"
                );
            }
        }
    }
}
