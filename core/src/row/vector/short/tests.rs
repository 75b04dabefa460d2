//! Short rows on every instruction set against the definition in `f64`, and which of them are left to the exact arithmetic.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "rows are made in f64, of few entries"
)]

extern crate std;

use super::judge::Open;
use super::{Buffers, LONGEST};
use crate::access::{Place, Slab};
use crate::row::vector::{Gradient, Statistics};
use crate::row::{Kind, RowStatistics};
use crate::simd::on;
use crate::{Isa, Temperature};
use std::cell::Cell;
use std::vec;
use std::vec::Vec;

std::thread_local! {
    static AGAIN: Cell<u32> = const { Cell::new(0) };
}

/// Counts rows that ask for another sweep.
pub(super) fn note(open: &Open) {
    AGAIN.set(AGAIN.get() + open.again.count_ones());
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

fn run(isa: Isa, len: usize, tau: f64, t: &[f32], s: &[f32]) -> Found {
    let tau = Temperature::new(tau).unwrap_or(Temperature::ONE);
    let mut statistics = vec![RowStatistics::default(); t.len() / len];
    let (teacher, student, short) = (t.into(), s.into(), &mut Buffers::new());
    let certified = on(isa, Statistics { tau, teacher, student, from: 0, len, to: &mut statistics, short });
    let mut gradient = vec![7.0; t.len()];
    let sink = &mut Slab::new(&mut gradient, 0);
    let place = Place { row: 0, from: 0, index: 0, stride: 1 };
    let rows = &statistics;
    let pull = Gradient { tau, teacher, student, place, len, statistics: rows, scale: 1.0, sink, short };
    let (written, overflowed) = on(isa, pull);
    assert!(!overflowed);
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
const KINDS: [(f64, f64, f64, f64, f64); 9] = [
    (0.0, 1.0, 0.0, 1.0, 4.0),
    (0.0, 1.0, 0.0, 2.0, 1.0),
    (0.7, 0.3, 0.0, 1.0, 4.0),
    (1.0, 1e-3, 0.0, 1.0, 4.0),
    (1.0, 1e-3, 100.0, 1.0, 1.0),
    (0.9, 0.3, 1000.0, 3.0, 1.0),
    (0.9, 0.1, 0.0, 8.0, 1.0),
    (1.0, 1e-6, 0.0, 1.0, 1.0),
    (0.8, 0.1, -3.0, 30.0, 1.0),
];

fn rows(len: usize, n: usize, kind: usize, seed: u64) -> (Vec<f32>, Vec<f32>, f64) {
    let (kept, noise, shift, size, tau) = KINDS[kind];
    let mut normal = Normal(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (t, s) = (0..len * n)
        .map(|_| {
            let t = size * normal.next();
            (t as f32, (kept * t + size * noise * normal.next() + shift) as f32)
        })
        .unzip();
    (t, s, tau)
}

#[test]
fn ordinary_rows_are_certified_and_right() {
    for isa in Isa::available() {
        for kind in 0..KINDS.len() {
            let (mut certified, mut tried, mut worst, mut worst_gradient) =
                (0, 0, (0.0_f64, 0), (0.0_f64, 0));
            for len in 2..=LONGEST {
                for n in [16, 5] {
                    let (t, s, tau) = rows(len, n, kind, (len * n) as u64);
                    let found = run(isa, len, tau, &t, &s);
                    assert_eq!(found.certified, found.written);
                    tried += n;
                    for (i, of) in found.statistics.iter().enumerate() {
                        if found.certified >> i & 1 == 0 {
                            assert_eq!(of.kind, Kind::Unset);
                            continue;
                        }
                        certified += 1;
                        let row = i * len..(i + 1) * len;
                        let (kl, want) = truth(&t[row.clone()], &s[row.clone()], tau);
                        let off = (of.kl / kl - 1.0).abs();
                        worst = if off > worst.0 { (off, len) } else { worst };
                        let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
                        for (got, want) in found.gradient[row].iter().zip(want) {
                            let off = (f64::from(*got) - want).abs() / largest;
                            worst_gradient = if off > worst_gradient.0 { (off, len) } else { worst_gradient };
                        }
                    }
                }
            }
            std::eprintln!(
                "{isa} {kind}: {certified} of {tried}, {worst:?} {worst_gradient:?} {}",
                AGAIN.take()
            );
        }
    }
}
