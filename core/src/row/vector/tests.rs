//! That every kind of block is reached, with and without exact differences, and that rows which cannot be certified are
//! left to the exact arithmetic.
#![allow(clippy::cast_possible_truncation, reason = "rows are made in f64")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use super::kinds::Kind;
use super::{Kept, RowKind, ShortRows, Statistics};
use crate::row::{RowState, RowStatistics};
use crate::simd::on;
use crate::{
    Call, Inputs, Isa, KeptStatistics, Mask, Order, Outputs, Plan, Recipe, RowOptions, Shape, Slab,
    Temperature, Upstream,
};
use std::cell::RefCell;
use std::vec::Vec;

extern crate std;

std::thread_local! {
    static SEEN: RefCell<Vec<(Kind, bool)>> = const { RefCell::new(Vec::new()) };
}

/// Remembers how a block was swept.
pub(super) fn note(kind: Kind, exact: bool) {
    SEEN.with_borrow_mut(|seen| seen.push((kind, exact)));
}

/// A teacher and a student `noise` apart, but for a constant.
fn row(len: usize, noise: f64, shift: f64) -> (Vec<f32>, Vec<f32>) {
    let mut state = 7_u64;
    let mut normal = || -> f64 {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from((state >> 40) as u32) / 16_777_216.0
        };
        (0..12).map(|_| next()).sum::<f64>() - 6.0
    };
    (0..len)
        .map(|_| {
            let s = normal();
            ((s + noise * normal() + shift) as f32, s as f32)
        })
        .unzip()
}

/// The statistics, where they were certified, and how the blocks were swept.
fn sweep(isa: Isa, t: &[f32], s: &[f32]) -> (Option<RowStatistics>, Vec<(Kind, bool)>) {
    SEEN.take();
    let mut to = [RowStatistics::default()];
    let (teacher, student) = (t.into(), s.into());
    let (short, kept) = (&mut ShortRows::new(), &mut Kept::nothing());
    let row = Statistics {
        tau: Temperature::ONE,
        teacher,
        student,
        from: 0,
        len: t.len(),
        to: &mut to,
        short,
        kept,
    };
    let done = on(isa, row);
    ((done == 1).then_some(to[0]), SEEN.take())
}

#[test]
fn each_kind_is_reached_and_gives_what_the_exact_arithmetic_gives() {
    let kinds =
        [(Kind::Tiny, 1e-3), (Kind::Near, 0.1), (Kind::Full, 0.4), (Kind::Coarse, 1.5), (Kind::Tiny, 1e-6)];
    for isa in Isa::available() {
        for (kind, noise) in kinds {
            for (shift, exact) in [(0.0, false), (1000.0, true)] {
                for len in [300, 1024, 5000] {
                    let (t, s) = row(len, noise, shift);
                    let (statistics, seen) = sweep(isa, &t, &s);
                    let mut want = RowState::new();
                    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                    want.push(Temperature::ONE, &wide(&t), &wide(&s));
                    let want = want.finish(Temperature::ONE).kl_divergence();
                    // Rounding at 1000 makes noise of its own of the smallest.
                    if noise >= 1e-4 || shift == 0.0 {
                        assert!(seen.contains(&(kind, exact)), "{isa}, {kind:?}, {shift}, {len}: {seen:?}");
                    }
                    let got = statistics.map(|statistics| statistics.kl_divergence());
                    assert!(
                        got.is_some_and(|got| (got - want).abs() <= 1e-6 * want),
                        "{isa}, {kind:?}, {shift}, {len}: {got:?} for {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_that_cannot_be_certified_are_left_alone() {
    for isa in Isa::available() {
        for (index, value) in [(3, f32::NEG_INFINITY), (700, f32::NAN), (1400, f32::INFINITY), (5, 3e38)] {
            for student in [false, true] {
                let (mut t, mut s) = row(1500, 0.1, 0.0);
                (if student { &mut s } else { &mut t })[index] = value;
                let (statistics, _) = sweep(isa, &t, &s);
                assert_eq!(statistics, None, "{isa}, {value}, {student}");
            }
        }
        assert_eq!(sweep(isa, &[1.0], &[2.0]).0, None);
    }
}

#[test]
fn equal_rows_are_exactly_equal() {
    for isa in Isa::available() {
        for len in [2, 17, 1024, 3000] {
            let (_, s) = row(len, 0.0, 0.0);
            let t: Vec<f32> = s.iter().map(|s| libm::roundf(*s)).collect();
            let shifted: Vec<f32> = t.iter().map(|t| t + 1024.5).collect();
            for teacher in [&t, &shifted] {
                let statistics = sweep(isa, teacher, &t).0.map(|statistics| (statistics.kl, statistics.l));
                assert_eq!(statistics, Some((0.0, 0.0)), "{isa}, {len}");
            }
        }
    }
}

/// The gradient of neighbouring rows in so much room, and what they were found to be.
fn gradient(isa: Isa, t: &[f32], s: &[f32], rows: usize, room: &mut [f32]) -> (Vec<u32>, Vec<RowKind>) {
    let shape = Shape::new([1, rows, 1, t.len() / rows]).unwrap();
    let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
    let call = Call::new(Inputs::new(&plan, t, s, Mask::ALL).unwrap(), Upstream::ONE).with_isa(isa);
    let (mut to, mut found) = (std::vec![0.0_f32; t.len()], std::vec![RowStatistics::default(); rows]);
    let sink = &mut Slab::new(&mut to, 0);
    let statistics = KeptStatistics::Write(&mut found);
    let outputs = Outputs { grad_student: Some(sink), statistics, room, ..Outputs::default() };
    call.run(0..rows, outputs).unwrap();
    (to.iter().map(|x| x.to_bits()).collect(), found.iter().map(|found| found.kind).collect())
}

#[test]
fn what_a_sweep_has_kept_gives_the_gradient_that_is_made_again() {
    for isa in Isa::available().filter(|isa| isa.has_vectors()) {
        for (len, rows) in [(65, 20), (100, 16), (1024, 17), (2100, 3), (9001, 2)] {
            for (noise, kind) in [(4e-3, RowKind::SweptTiny), (0.4, RowKind::SweptNear), (4.0, RowKind::Full)]
            {
                let (t, s) = row(len * rows, noise, 0.0);
                let room = 2 * rows * len.next_multiple_of(16) + 16;
                // What stands in it does not matter, nor whether it is enough for all.
                let mut whole = std::vec![f32::NAN; room];
                let mut some = std::vec![f32::NAN; room / 2];
                let (want, kinds) = gradient(isa, &t, &s, rows, &mut []);
                assert!(kinds.contains(&kind), "{isa}, {len}, {noise}: {kinds:?}");
                assert_eq!(gradient(isa, &t, &s, rows, &mut whole).0, want, "{isa}, {len}, {noise}");
                assert_eq!(gradient(isa, &t, &s, rows, &mut some).0, want, "{isa}, {len}, {noise}");
                assert!(kind == RowKind::Full || whole.iter().any(|x| !x.is_nan()), "{isa}, {len}, {noise}");
            }
        }
    }
}
