//! The yardstick of channel-wise distillation: the KL divergence as it is usually written, as fast as it goes.
//!
//! Two exponentials an entry and the three sums of p, q and p (t - s), in `f32`, each input read once. It is right
//! to a few digits where the maps differ much and wrong where they hardly do, so it is no part of the
//! library: it says what the library's care costs, in the same run on the same memory.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;

use self::lanes::{COUNT, Lanes, Portable, Stored};
use densekd::core::{Tensor, TensorMut};
use half::{bf16, f16};
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};

/// Entries of a row whose exponentials are kept for its gradient, in a core's own cache; those of longer rows are
/// computed again.
const KEPT: usize = 1 << 16;

/// Entries that one task takes, where rows are shorter.
const TASK: usize = 1 << 16;

/// How far ahead of the sums the inputs are asked for, in entries: memory does not wait for a row's end.
const AHEAD: usize = 512;

/// Rows of a length under a temperature, and what the gradient is multiplied by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    pub(super) row: usize,
    pub(super) tau: f32,
    /// Of the divergence's gradient with regard to student / tau.
    pub(super) scale: f32,
    /// Whether the gradient is written past the caches.
    pub(super) streams: bool,
}

impl Plain {
    /// The sum of the rows' divergences in nats, and the gradient. `None` where this CPU has no fast form.
    pub(super) fn run(&self, t: Tensor<'_>, s: Tensor<'_>, gradient: Option<TensorMut<'_>>) -> Option<f64> {
        macro_rules! run {
            ($($dtype:ident => $task:expr),*) => {
                match (t, s, gradient) {
                    $(
                        (Tensor::$dtype(t), Tensor::$dtype(s), None) => Some(self.tasks(t, s, None, $task)),
                        (Tensor::$dtype(t), Tensor::$dtype(s), Some(TensorMut::$dtype(g))) => {
                            Some(self.tasks(t, s, Some(g), $task))
                        }
                    )*
                    _ => None,
                }
            };
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            return run!(F32 => wide::<f32>, F16 => wide::<f16>, Bf16 => wide::<bf16>);
        }
        run!(F32 => portable())
    }

    /// Whole rows spread over the threads of the pool that it is called in.
    fn tasks<E: Send + Sync>(&self, t: &[E], s: &[E], gradient: Option<&mut [E]>, task: Task<E>) -> f64 {
        let length = self.row * (TASK / self.row).max(1);
        let scratch = || vec![[0.0_f32; COUNT]; 2 * self.row.min(KEPT).div_ceil(COUNT)];
        let inputs = t.par_chunks(length).zip(s.par_chunks(length));
        match gradient {
            None => {
                inputs.map(|(t, s)| task(Rows { plain: self, t, s, gradient: None, scratch: &mut [] })).sum()
            }
            Some(gradient) => gradient
                .par_chunks_mut(length)
                .zip(inputs)
                .map_init(scratch, |scratch, (gradient, (t, s))| {
                    task(Rows { plain: self, t, s, gradient: Some(gradient), scratch })
                })
                .sum(),
        }
    }
}

/// Some rows, and what their sweep needs.
struct Rows<'a, E> {
    plain: &'a Plain,
    t: &'a [E],
    s: &'a [E],
    gradient: Option<&'a mut [E]>,
    scratch: &'a mut [[f32; COUNT]],
}

type Task<E> = fn(Rows<'_, E>) -> f64;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calling a function compiled for an instruction set that was detected")]
fn wide<E: Stored<avx512::Wide>>(some: Rows<'_, E>) -> f64 {
    #[target_feature(enable = "avx512f,avx512dq")]
    fn compiled<E: Stored<avx512::Wide>>(some: Rows<'_, E>) -> f64 {
        rows::<avx512::Wide, E>(some)
    }
    // SAFETY: `Plain::run`, which alone names this function, has detected both features.
    unsafe { compiled(some) }
}

/// The form for other CPUs.
fn portable() -> Task<f32> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return middle;
    }
    rows::<Portable<{ cfg!(target_arch = "aarch64") }>, f32>
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calling a function compiled for an instruction set that was detected")]
fn middle(some: Rows<'_, f32>) -> f64 {
    #[target_feature(enable = "avx2,fma")]
    fn compiled(some: Rows<'_, f32>) -> f64 {
        rows::<Portable<true>, f32>(some)
    }
    // SAFETY: `portable`, which alone names this function, has detected both features.
    unsafe { compiled(some) }
}

#[inline(always)]
fn rows<V: Lanes, E: Stored<V>>(some: Rows<'_, E>) -> f64 {
    let Rows { plain, t, s, gradient, scratch } = some;
    let rows = t.chunks_exact(plain.row).zip(s.chunks_exact(plain.row));
    let mut total = 0.0;
    match gradient {
        None => {
            for (t, s) in rows {
                let row = Row::<V>::begin(plain, t, s);
                total += f64::from(row.divergence(row.sweep::<E, false>(t, s, &mut [], &mut [])));
            }
        }
        Some(gradient) => {
            let (p, q) = scratch.split_at_mut(scratch.len() / 2);
            for (to, (t, s)) in gradient.chunks_exact_mut(plain.row).zip(rows) {
                let row = Row::<V>::begin(plain, t, s);
                let is_kept = t.len() <= KEPT;
                let sums = if is_kept {
                    row.sweep::<E, true>(t, s, p, q)
                } else {
                    row.sweep::<E, false>(t, s, &mut [], &mut [])
                };
                total += f64::from(row.divergence(sums));
                for ((to, t), s) in to.chunks_mut(KEPT).zip(t.chunks(KEPT)).zip(s.chunks(KEPT)) {
                    if !is_kept {
                        row.sweep::<E, true>(t, s, p, q);
                    }
                    emit::<V, E>(plain, sums, p.as_flattened(), q.as_flattened(), to);
                }
            }
        }
    }
    total
}

/// Writes the gradient `scale (q / sum q - p / sum p)`.
#[inline(always)]
fn emit<V: Lanes, E: Stored<V>>(plain: &Plain, sums: Sums, p: &[f32], q: &[f32], to: &mut [E]) {
    let factors = [V::splat(-plain.scale / sums.p), V::splat(plain.scale / sums.q)];
    let entries =
        |p: &[f32; COUNT], q: &[f32; COUNT]| V::load(p).mul_add(factors[0], V::load(q).mul(factors[1]));
    let unaligned = to.as_ptr().align_offset(COUNT * size_of::<E>());
    let head = if plain.streams { unaligned.min(to.len()) } else { 0 };
    let (first, rest) = to.split_at_mut(head);
    let ((p_first, p), (q_first, q)) = (p.split_at(head), q.split_at(head));
    let (whole, last) = rest.as_chunks_mut::<COUNT>();
    let ((p_whole, p_last), (q_whole, q_last)) = (p.as_chunks::<COUNT>(), q.as_chunks::<COUNT>());
    for ((to, p), q) in whole.iter_mut().zip(p_whole).zip(q_whole) {
        let gradient = entries(p, q);
        if plain.streams { E::stream(gradient, to) } else { E::store(gradient, to) }
    }
    let at = whole.len();
    let (p_last, q_last) = (p_whole.get(at).map_or(p_last, |p| p), q_whole.get(at).map_or(q_last, |q| q));
    for (to, p, q) in [(first, p_first, q_first), (last, p_last, q_last)] {
        if !to.is_empty() {
            let mut lanes = [E::BOTTOM; COUNT];
            E::store(entries(&filled(p, 0.0), &filled(q, 0.0)), &mut lanes);
            to.copy_from_slice(&lanes[..to.len()]);
        }
    }
}

/// Some entries in front, the rest of one kind.
#[inline(always)]
fn filled<T: Copy>(entries: &[T], rest: T) -> [T; COUNT] {
    let mut lanes = [rest; COUNT];
    lanes.iter_mut().zip(entries).for_each(|(to, &x)| *to = x);
    lanes
}

/// Asks for what stands further on; beyond the end nothing happens.
#[inline(always)]
fn prefetch<E>(at: &[E; COUNT]) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "an instruction that takes a pointer")]
    // SAFETY: a prefetch reads nothing that a program could see, and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().wrapping_add(AHEAD).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Sums over a row of p, q and p (t - s).
#[derive(Clone, Copy)]
struct Sums {
    p: f32,
    q: f32,
    a: f32,
}

/// What a row's exponents are taken against: p = 2^(c t - top), c = log2 e / tau.
#[derive(Clone, Copy)]
struct Row<V> {
    c: V,
    teacher: V,
    student: V,
    tops: [f32; 2],
    tau: f32,
}

impl<V: Lanes> Row<V> {
    /// Against the largest of the first entries, near enough to the row's for logits that are no outliers.
    #[inline(always)]
    fn begin<E: Stored<V>>(plain: &Plain, t: &[E], s: &[E]) -> Self {
        let c = LOG2_E / plain.tau;
        let top = |row: &[E]| {
            let mut lanes = [0.0; COUNT];
            E::load(&filled(row, E::BOTTOM)).store(&mut lanes);
            c * lanes.into_iter().fold(f32::MIN, f32::max)
        };
        let tops = [top(t), top(s)];
        let [teacher, student] = tops.map(|top| V::splat(-top));
        Self { c: V::splat(c), teacher, student, tops, tau: plain.tau }
    }

    /// One pass over the row, which may be part of one; keeps the exponentials if told to.
    #[inline(always)]
    fn sweep<E: Stored<V>, const KEEP: bool>(
        &self,
        t: &[E],
        s: &[E],
        p: &mut [[f32; COUNT]],
        q: &mut [[f32; COUNT]],
    ) -> Sums {
        let mut sums = [V::splat(0.0); 3];
        let ((t_whole, t_last), (s_whole, s_last)) = (t.as_chunks::<COUNT>(), s.as_chunks::<COUNT>());
        let mut kept = p.iter_mut().zip(q);
        for (t, s) in t_whole.iter().zip(s_whole) {
            prefetch(t);
            prefetch(s);
            let (w, v) = self.step(&mut sums, E::load(t), E::load(s));
            if KEEP && let Some((p, q)) = kept.next() {
                w.store(p);
                v.store(q);
            }
        }
        if !t_last.is_empty() {
            let (t, s) = (filled(t_last, E::BOTTOM), filled(s_last, E::BOTTOM));
            let (w, v) = self.step(&mut sums, E::load(&t), E::load(&s));
            if KEEP && let Some((p, q)) = kept.next() {
                w.store(p);
                v.store(q);
            }
        }
        Sums { p: sums[0].sum(), q: sums[1].sum(), a: sums[2].sum() }
    }

    #[inline(always)]
    fn step(&self, sums: &mut [V; 3], t: V, s: V) -> (V, V) {
        let p = t.mul_add(self.c, self.teacher).exp2();
        let q = s.mul_add(self.c, self.student).exp2();
        sums[0] = sums[0].add(p);
        sums[1] = sums[1].add(q);
        sums[2] = p.mul_add(t.sub(s), sums[2]);
        (p, q)
    }

    #[inline(always)]
    fn divergence(&self, sums: Sums) -> f32 {
        let [teacher, student] = self.tops;
        sums.a / (sums.p * self.tau) + (sums.q / sums.p).ln() + (student - teacher) * LN_2
    }
}
