//! Short rows on every instruction set against the definition in `f64`, and which of them are left to the exact arithmetic.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "rows are made in f64, of few entries"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

extern crate std;

use super::judge::Open;
use super::{Buffers, LONGEST};
use crate::access::{Place, Slab};
use crate::element::Tensor;
use crate::row::vector::{Gradient, Kept, Statistics};
use crate::row::{Kind, RowStatistics};
use crate::simd::on;
use crate::{Isa, Temperature};
use half::{bf16, f16};
use std::cell::Cell;
use std::vec;
use std::vec::Vec;

std::thread_local! {
    static AGAIN: Cell<u32> = const { Cell::new(0) };
    static RAISED: Cell<u32> = const { Cell::new(0) };
}

/// Counts rows that ask for another sweep, and those that ask for more care.
pub(super) fn note(open: &Open) {
    AGAIN.set(AGAIN.get() + open.again.count_ones());
    RAISED.set(RAISED.get() + (open.raised.0 | open.raised.1).count_ones());
}

/// Sums of uniform numbers, near enough to normal.
struct Normal(u64);

impl Normal {
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 40) as f64 / 16_777_216.0 - 0.5
        };
        (0..12).map(|_| uniform()).sum()
    }
}

/// Statistics and gradient of rows; which were certified and written.
struct Found {
    statistics: Vec<RowStatistics>,
    gradient: Vec<f32>,
    certified: u32,
    written: u32,
}

/// What the gradient's place held before.
const UNTOUCHED: f32 = 7.0;

fn run<'a>(isa: Isa, len: usize, tau: f64, t: impl Into<Tensor<'a>>, s: impl Into<Tensor<'a>>) -> Found {
    run_in(&mut Buffers::new(), isa, len, tau, t, s)
}

fn run_in<'a>(
    short: &mut Buffers,
    isa: Isa,
    len: usize,
    tau: f64,
    t: impl Into<Tensor<'a>>,
    s: impl Into<Tensor<'a>>,
) -> Found {
    let tau = Temperature::new(tau).unwrap();
    let (teacher, student) = (t.into(), s.into());
    let mut statistics = vec![RowStatistics::default(); teacher.len() / len];
    let (to, kept) = (&mut statistics, &mut Kept::nothing());
    let certified = on(isa, Statistics { tau, teacher, student, from: 0, len, to, short: &mut *short, kept });
    let pull = |short: &mut Buffers| {
        let mut gradient = vec![UNTOUCHED; teacher.len()];
        let sink = &mut Slab::new(&mut gradient, 0);
        let place = Place { row: 0, from: 0, index: 0, stride: 1 };
        let rows = &statistics;
        let kept = &mut Kept::nothing();
        let pull =
            Gradient { tau, teacher, student, place, len, statistics: rows, scale: 1.0, sink, short, kept };
        let (written, overflowed) = on(isa, pull);
        assert!(!overflowed);
        (gradient, written)
    };
    let found = pull(short);
    assert_eq!(found, pull(&mut Buffers::new()), "one call or two");
    let (gradient, written) = found;
    Found { statistics, gradient, certified, written }
}

/// KL divergence and gradient by the definition, in `f64`.
fn truth(t: &[f32], s: &[f32], tau: f64) -> (f64, Vec<f64>) {
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
    let (t, s) = (wide(t), wide(s));
    let log_sum = |x: &[f64]| {
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (top, x.iter().map(|x| ((x - top) / tau).exp()).sum::<f64>().ln())
    };
    let (zt, zs) = (log_sum(&t), log_sum(&s));
    // The log-ratio by Newton's method about the difference at the student's largest entry, so that equal rows are equal,
    // and what little the largest entry of a peaked row is off keeps its digits.
    let top = s.iter().position(|s| *s == zs.0).unwrap_or_default();
    let first = t[top] - s[top];
    let q: Vec<f64> = s.iter().map(|s| ((s - zs.0) / tau - zs.1).exp()).collect();
    let about: Vec<f64> = t.iter().zip(&s).map(|(t, s)| ((t - s) - first) / tau).collect();
    let mut shift = ((zt.0 - zs.0) - first) / tau + (zt.1 - zs.1);
    for _ in 0..3 {
        let mean: f64 = q.iter().zip(&about).map(|(q, r)| q * (r - shift).exp_m1()).sum();
        shift += mean.ln_1p();
    }
    let (mut kl, mut gradient) = (0.0, Vec::new());
    for (q, r) in q.iter().zip(about) {
        let r = r - shift;
        kl += if r.abs() < 1e-3 {
            q * r * r * (0.5 + r / 3.0 + r * r / 8.0 + r * r * r / 30.0)
        } else {
            q * (r * r.exp() - r.exp_m1())
        };
        gradient.push(-q * r.exp_m1());
    }
    (kl, gradient)
}

/// Students of some kind: what is kept of the teacher, noise beside it, offset, size of the logits, temperature.
const KINDS: [[f64; 5]; 10] = [
    [0.0, 1.0, 0.0, 1.0, 4.0],
    [0.0, 1.0, 0.0, 2.0, 1.0],
    [0.7, 0.3, 0.0, 1.0, 4.0],
    [1.0, 1e-3, 0.0, 1.0, 4.0],
    [1.0, 1e-3, 100.0, 1.0, 1.0],
    [0.9, 0.3, 1000.0, 3.0, 1.0],
    [0.9, 0.1, 0.0, 8.0, 1.0],
    [1.0, 1e-6, 0.0, 1.0, 1.0],
    [0.8, 0.1, -3.0, 30.0, 1.0],
    // A divergence of 1e-20.
    [1.0, 2e-7, 0.0, 1e-3, 1.0],
];

fn rows(len: usize, n: usize, kind: usize, seed: usize) -> (Vec<f32>, Vec<f32>, f64) {
    let [kept, noise, shift, size, tau] = KINDS[kind];
    let mut normal = Normal((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (t, s) = (0..len * n)
        .map(|_| {
            let t = f64::from((size * normal.next()) as f32);
            (t as f32, (kept * t + size * noise * normal.next() + shift) as f32)
        })
        .unzip();
    (t, s, tau)
}

/// Holds what was certified to the definition; how many rows were.
fn check(isa: Isa, len: usize, tau: f64, t: &[f32], s: &[f32]) -> usize {
    let found = run(isa, len, tau, t, s);
    assert_eq!(found.written, found.certified);
    for (i, of) in found.statistics.iter().enumerate() {
        let row = i * len..(i + 1) * len;
        if found.certified >> i & 1 == 0 {
            assert_eq!(of.kind, Kind::Unset);
            assert!(found.gradient[row].iter().all(|&x| x == UNTOUCHED));
            continue;
        }
        let (kl, want) = truth(&t[row.clone()], &s[row.clone()], tau);
        assert!((of.kl - kl).abs() <= 1e-6 * kl, "{isa} {len} {tau}: {} for {kl}", of.kl);
        let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        for (got, want) in found.gradient[row].iter().zip(want) {
            let off = (f64::from(*got) - want).abs();
            assert!(off <= 1e-6 * largest, "{isa} {len} {tau}: {off:e} of {largest:e}");
        }
    }
    found.certified.count_ones() as usize
}

#[test]
fn ordinary_rows_are_certified_and_right() {
    for isa in Isa::available() {
        for (kind, [_, _, _, size, _]) in KINDS.into_iter().enumerate() {
            for len in 2..=LONGEST {
                for n in [16, 5] {
                    let (t, s, tau) = rows(len, n, kind, len * n);
                    let certified = check(isa, len, tau, &t, &s);
                    // Unfused, large exponents have no second term; large logits may have log-ratios far apart.
                    assert!(
                        isa == Isa::Plain || size > 1.0 || certified == n,
                        "{isa} {len} {kind}: {certified}"
                    );
                }
            }
        }
        assert!(AGAIN.take() > 0, "no row asked for another reference");
    }
}

#[test]
fn one_far_entry_is_held() {
    for isa in Isa::available() {
        for len in [2, 3, 7, 16, 19, 33, 49, 64] {
            for far in [6.0, -6.0, 25.0, -25.0, 200.0, -200.0] {
                for kind in [0, 2, 3] {
                    let (mut t, mut s, tau) = rows(len, 16, kind, len);
                    for i in 0..16 {
                        let side = if i % 2 == 0 { &mut t } else { &mut s };
                        side[i * len + i % len] += far;
                    }
                    check(isa, len, tau, &t, &s);
                }
            }
        }
    }
}

#[test]
fn care_that_was_not_foreseen_is_taken() {
    for isa in Isa::available() {
        for len in [7, 16, 19, 33, 49, 64] {
            let (mut t, mut s, tau) = rows(len, 16, 3, len);
            for s in &mut s {
                *s += 5.3;
            }
            // Of little weight, and far apart: the others' differences look small beside it.
            for row in (0..5 * len).step_by(len) {
                t[row] -= 400.0;
                s[row] -= 380.0;
            }
            RAISED.set(0);
            assert_eq!(check(isa, len, tau, &t, &s), 16);
            assert!(RAISED.get() > 0, "{isa} {len}");
        }
    }
}

#[test]
fn equal_and_shifted_rows_are_exactly_0() {
    for isa in Isa::available() {
        for len in 2..=LONGEST {
            for shift in [0.0, 100.0, -1000.0] {
                let (t, _, _) = rows(len, 16, 0, len);
                let t: Vec<f32> = t.iter().map(|t| (64.0 * t).round() / 64.0).collect();
                let s: Vec<f32> = t.iter().map(|t| t + shift).collect();
                let found = run(isa, len, 0.7, &t[..], &s[..]);
                assert_eq!(found.certified, 0xffff);
                assert!(found.statistics.iter().all(|of| of.kl == 0.0 && of.l == 0.0), "{isa} {len} {shift}");
                assert!(found.gradient.iter().all(|&g| g == 0.0));
            }
        }
    }
}

#[test]
fn rows_that_cannot_be_held_are_left_alone_and_neighbours_do_not_matter() {
    for isa in Isa::available() {
        for len in [2, 7, 19, 49, 64] {
            for kind in [0, 1, 3] {
                let (t, s, tau) = rows(len, 16, kind, len);
                let alone = run(isa, len, tau, &t[..], &s[..]);
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
                    for student in [false, true] {
                        let (mut t, mut s) = (t.clone(), s.clone());
                        (if student { &mut s } else { &mut t })[5 * len + 1] = value;
                        let found = run(isa, len, tau, &t[..], &s[..]);
                        assert_eq!(found.certified, alone.certified & !(1 << 5), "{isa} {len} {value}");
                        for i in (0..16).filter(|&i| i != 5) {
                            assert_eq!(found.statistics[i], alone.statistics[i]);
                            let row = i * len..(i + 1) * len;
                            assert_eq!(found.gradient[row.clone()], alone.gradient[row]);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_lies_beside_a_row_or_came_before_it_does_not_change_a_bit() {
    for isa in Isa::available() {
        for len in [7, 19, 49, 64] {
            for seed in 1..40 {
                let tau = 1.0;
                // Of a far student and of a near one; then a batch of both, row by row.
                let ((t, s, _), (t_near, s_near, _)) = (rows(len, 16, 1, seed), rows(len, 16, 3, seed));
                let far = run(isa, len, tau, &t[..], &s[..]);
                let near = run(isa, len, tau, &t_near[..], &s_near[..]);
                let (mut t_both, mut s_both) = (t_near.clone(), s_near.clone());
                let is_far = |i: usize| (i * 7 + seed) % 16 < seed % 16;
                for i in (0..16).filter(|&i| is_far(i)) {
                    let row = i * len..(i + 1) * len;
                    t_both[row.clone()].copy_from_slice(&t[row.clone()]);
                    s_both[row.clone()].copy_from_slice(&s[row]);
                }
                for expects_apart in [false, true] {
                    let mut short = Buffers::new();
                    short.parts.expects_apart = expects_apart;
                    let both = run_in(&mut short, isa, len, tau, &t_both[..], &s_both[..]);
                    for i in 0..16 {
                        let from = if is_far(i) { &far } else { &near };
                        let row = i * len..(i + 1) * len;
                        assert_eq!(both.statistics[i], from.statistics[i], "{isa} {len} {i}");
                        assert_eq!(both.gradient[row.clone()], from.gradient[row]);
                    }
                }
            }
        }
    }
}

#[test]
fn halves_are_what_they_are_as_f32() {
    for isa in Isa::available() {
        for len in [2, 5, 16, 19, 49, 64] {
            for n in [16, 3] {
                let (t, s, tau) = rows(len, n, 2, len);
                let (t, s): (Vec<f16>, Vec<bf16>) = (
                    t.iter().map(|&t| f16::from_f32(t)).collect(),
                    s.iter().map(|&s| bf16::from_f32(s)).collect(),
                );
                let halves = run(isa, len, tau, &t[..], &s[..]);
                let t: Vec<f32> = t.iter().map(|t| t.to_f32()).collect();
                let s: Vec<f32> = s.iter().map(|s| s.to_f32()).collect();
                let whole = run(isa, len, tau, &t[..], &s[..]);
                assert_eq!(halves.statistics, whole.statistics);
                assert_eq!(halves.gradient, whole.gradient);
            }
        }
    }
}
