//! What became of the rows of a test: certified at once, after other references, or left to the engine.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

extern crate std;

use crate::{
    Call, Inputs, Isa, Mask, Order, Outputs, Partial, Plan, Recipe, RowOptions, Shape, Slab, Temperature,
    Upstream,
};
use std::cell::Cell;
use std::vec;
use std::vec::Vec;

std::thread_local! {
    static SEEN: Cell<[usize; 3]> = const { Cell::new([0; 3]) };
}

/// Counts rows that were certified, that asked for another sweep, and that were left to the engine.
pub(super) fn note(more: [u32; 3]) {
    let mut seen = SEEN.get();
    seen.iter_mut().zip(more).for_each(|(seen, more)| *seen += more as usize);
    SEEN.set(seen);
}

/// Sums of uniform numbers, near enough to normal.
struct Normal(u64);

impl Normal {
    #[allow(clippy::cast_precision_loss, reason = "24 bits")]
    fn next(&mut self) -> f32 {
        let mut uniform = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..12).map(|_| uniform()).sum()
    }
}

/// Row values and gradient of a pixel-wise loss, on an instruction set.
fn evaluate(isa: Isa, [c, m]: [usize; 2], tau: f64, pair: [&[f32]; 2]) -> (Vec<f64>, Vec<f32>) {
    let tau = Temperature::new(tau).unwrap();
    let options = RowOptions { tau, tau_square: false, ..RowOptions::PI };
    let plan =
        Plan::new(Recipe::new(options).unwrap(), Shape::new([1, c, 1, m]).unwrap(), Order::Nchw).unwrap();
    let inputs = Inputs::new(&plan, pair[0], pair[1], Mask::ALL).unwrap();
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let upstream = Upstream::new(m as f64).unwrap();
    let call = Call::new(inputs, upstream).with_isa(isa);
    let (mut values, mut gradient) = (vec![0.0; m], vec![0.0_f32; c * m]);
    let mut total = Partial::default();
    for job in plan.jobs() {
        let outputs = Outputs {
            row_values: Some(&mut values[job.clone()]),
            grad_student: Some(&mut Slab::new(&mut gradient, 0)),
            ..Outputs::default()
        };
        total.add(call.run(job, outputs).unwrap());
    }
    let (sum, whole) = (call.outcome(total).sum, values.iter().sum::<f64>());
    assert!(!sum.is_finite() || (sum - whole).abs() <= 1e-12 * whole);
    (values, gradient)
}

/// A teacher and a student that is `kept` of it plus `noise`.
fn pair(len: usize, kept: f32, noise: f32, shift: f32) -> [Vec<f32>; 2] {
    let mut normal = Normal(7);
    let teacher: Vec<f32> = (0..len).map(|_| 2.0 * normal.next()).collect();
    let student = teacher.iter().map(|t| kept * t + noise * normal.next() + shift).collect();
    [teacher, student]
}

/// By the definition, in `f64`.
fn truth(t: &[f64], s: &[f64], tau: f64) -> (f64, Vec<f64>) {
    let log_sum = |x: &[f64]| {
        let top = x.iter().copied().fold(f64::NEG_INFINITY, f64::max) / tau;
        top + x.iter().map(|x| (x / tau - top).exp()).sum::<f64>().ln()
    };
    let (zt, zs) = (log_sum(t), log_sum(s));
    let (mut kl, mut gradient) = (0.0, Vec::new());
    for (t, s) in t.iter().zip(s) {
        let (log_p, log_q) = (t / tau - zt, s / tau - zs);
        let (q, r) = (log_q.exp(), log_p - log_q);
        kl += if r.abs() < 1e-3 {
            q * r * r * (0.5 + r / 3.0 + r * r / 8.0)
        } else {
            q * (r * r.exp() - r.exp_m1())
        };
        gradient.push(-q * r.exp_m1() / tau);
    }
    (kl, gradient)
}

#[test]
fn ordinary_rows_are_certified_and_right() {
    for isa in Isa::available() {
        for [c, m] in [[2, 40], [3, 7], [19, 500], [64, 130], [200, 70], [1100, 20], [3000, 3]] {
            for (kept, noise, shift) in
                [(0.0, 2.0, 0.0), (0.7, 0.5, 0.0), (1.0, 1e-3, 0.0), (1.0, 0.1, 100.0)]
            {
                for tau in [1.0, 4.0] {
                    let [t, s] = pair(c * m, kept, noise, shift);
                    SEEN.set([0; 3]);
                    let (values, gradient) = evaluate(isa, [c, m], tau, [&t, &s]);
                    // Few rows of many entries are left to the engine.
                    let [certified, _, _] = SEEN.get();
                    assert!(
                        c < 19 || 10 * certified >= 9 * m,
                        "{isa:?} {c} {m} {kept} {noise} {tau}: {certified}"
                    );
                    for (i, value) in values.iter().enumerate() {
                        let row = |x: &[f32]| -> Vec<f64> {
                            x.iter().skip(i).step_by(m).map(|&x| f64::from(x)).collect()
                        };
                        let (kl, want) = truth(&row(&t), &row(&s), tau);
                        let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
                        assert!((value / kl - 1.0).abs() < 1e-6, "{isa:?} {c} {m}: {value} {kl}");
                        for (got, want) in row(&gradient).iter().zip(want) {
                            let off = (got - want).abs() / largest;
                            assert!(off < 2e-6, "{isa:?} {c} {m} {kept} {noise} {tau}: {off:e}");
                        }
                    }
                }
            }
        }
    }
}

/// What a sample misses must not be lost. No ordinary rows: what is asked of them is what any finite row keeps.
#[test]
fn an_entry_far_above_the_sample_is_pulled() {
    for isa in Isa::available() {
        for c in [200, 1500] {
            let (m, tau) = (3, 6.0);
            for nats in [5.0, 13.0, 20.0, 60.0, 67.0, 68.0, 69.0, 75.0] {
                let [mut t, mut s] = pair(c * m, 0.9, 0.3, 0.0);
                for row in 0..m {
                    t[m + row] = 6.0 * nats;
                    s[m + row] = 6.0 * nats;
                    // Of as much weight, so that there is something to pull.
                    t[2 * m + row] = 6.0 * nats - 1.0;
                    s[2 * m + row] = 6.0 * nats - 1.5;
                }
                let (values, gradient) = evaluate(isa, [c, m], tau, [&t, &s]);
                for (i, value) in values.iter().enumerate() {
                    let row = |x: &[f32]| -> Vec<f64> {
                        x.iter().skip(i).step_by(m).map(|&x| f64::from(x)).collect()
                    };
                    let (kl, want) = truth(&row(&t), &row(&s), tau);
                    let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
                    assert!((value / kl - 1.0).abs() < 4e-6, "{isa:?} {c} {nats}: {value} {kl}");
                    for (got, want) in row(&gradient).iter().zip(want) {
                        assert!((got - want).abs() < 2e-6 * largest, "{isa:?} {c} {nats}: {got} {want}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_verdict_is_reached_and_neighbours_do_not_matter() {
    for isa in Isa::available() {
        let [c, m] = [19, 40];
        let [t, mut s] = pair(c * m, 0.0, 2.0, 0.0);
        SEEN.set([0; 3]);
        let (values, gradient) = evaluate(isa, [c, m], 1.0, [&t, &s]);
        let [certified, again, refused] = SEEN.get();
        assert!(certified == m && refused == 0, "{certified} {again} {refused}");
        SEEN.set([0; 3]);
        s[3] = f32::NEG_INFINITY;
        s[9] = f32::NAN;
        let (spoiled, spoiled_gradient) = evaluate(isa, [c, m], 1.0, [&t, &s]);
        assert_eq!(SEEN.get()[2], 2);
        assert_eq!(spoiled[3], f64::INFINITY);
        assert!(spoiled[9].is_nan());
        for i in (0..m).filter(|i| ![3, 9].contains(i)) {
            assert_eq!(spoiled[i].to_bits(), values[i].to_bits(), "{isa:?} {i}");
        }
        for (i, (a, b)) in gradient.iter().zip(&spoiled_gradient).enumerate() {
            match i % m {
                3 => assert!(b.is_finite()),
                9 => assert!(b.is_nan()),
                _ => assert_eq!(a.to_bits(), b.to_bits(), "{isa:?} {i}"),
            }
        }
    }
}

#[test]
fn equal_and_shifted_rows_are_exactly_0() {
    for isa in Isa::available() {
        for [c, m] in [[1, 5], [2, 3], [19, 33], [1200, 5]] {
            let [t, _] = pair(c * m, 0.0, 1.0, 0.0);
            let t: Vec<f32> = t.iter().map(|x| (x * 64.0).round() / 64.0).collect();
            let s: Vec<f32> = t.iter().map(|x| x + 100.0).collect();
            let (values, gradient) = evaluate(isa, [c, m], 0.7, [&t, &s]);
            assert!(values.iter().all(|&value| value == 0.0), "{isa:?} {c} {m}");
            assert!(gradient.iter().all(|&g| g == 0.0), "{isa:?} {c} {m}");
        }
    }
}
