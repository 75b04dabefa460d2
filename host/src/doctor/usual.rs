//! What the usual ways of writing the loss would have printed, in the arithmetic they are run in.

use super::case::{Case, element};
use super::text::number;
use crate::backend::BackendError;
use densekd_core::{Outcome, RowOptions, Temperature};
use half::f16;
use rayon::prelude::*;
use serde::Serialize;

/// Channel-wise distillation at one temperature: exactly, and in the two forms that published codes use, in
/// `f32` and the first of them in `f16` too.
///
/// - `softmax_log`: softmax first, its logarithm after: `sum p log p - p log q`, with `p log p = 0` at `p = 0`
///   as `KLDivLoss` has it. Where `q` underflows to 0, this is NaN or infinite.
/// - `log_softmax`: `sum p log_softmax(t) - p log_softmax(s)`. Near agreement it is all rounding.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// let at_one = report.usual[0];
/// assert!((at_one.log_softmax - at_one.value).abs() < 1e-6);
/// assert_eq!(at_one.failed, 0);
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usual {
    /// The temperature.
    pub tau: f64,
    /// The loss, `tau^2 / (N C) * sum over channel maps`.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// What the softmax-then-log form would have printed.
    #[serde(serialize_with = "number")]
    pub softmax_log: f64,
    /// What it would have printed in `f16`, where each operation rounds what it hands on, maps included; softmax
    /// and sums are taken in `f32` within, as `PyTorch` does.
    #[serde(serialize_with = "number")]
    pub softmax_log_f16: f64,
    /// What the log-softmax form would have printed.
    #[serde(serialize_with = "number")]
    pub log_softmax: f64,
    /// Channel maps.
    pub maps: usize,
    /// Maps for which the softmax-then-log form gives NaN.
    pub nan: usize,
    /// Maps for which it gives an infinity.
    pub infinite: usize,
    /// Maps for which it gives a number below 0, which no divergence is.
    pub negative: usize,
    /// Maps for which it gives NaN, an infinity or a negative number where the divergence is finite.
    pub failed: usize,
    /// `[n, c]` of the first of these.
    pub first_failed: Option<[usize; 2]>,
}

impl Usual {
    /// At a temperature, with the exact rows.
    pub(super) fn of(case: Case<'_>, tau: Temperature) -> Result<(Self, Outcome, Vec<f64>), BackendError> {
        let (outcome, exact) = case.rows(RowOptions { tau, ..RowOptions::CWD })?;
        #[allow(clippy::cast_possible_truncation, reason = "the forms divide by an f32")]
        let narrow = tau.get() as f32;
        let forms: Vec<Forms> =
            (0..case.maps()).into_par_iter().map(|map| Forms::of(case, map, narrow)).collect();
        // The sum over maps is an f32 in these codes as well.
        let total = |form: fn(&Forms) -> f32| {
            let mut sum = Cascade::default();
            for forms in &forms {
                sum.add(form(forms));
            }
            Outcome { sum: f64::from(sum.total()), ..outcome }.value()
        };
        let in_f16: Vec<f32> =
            (0..case.maps()).into_par_iter().map(|map| softmax_log_f16(case, map, narrow)).collect();
        let mut sum_f16 = Cascade::default();
        for x in in_f16 {
            sum_f16.add(x);
        }
        let mut usual = Self {
            tau: tau.get(),
            value: outcome.value(),
            softmax_log: total(|forms| forms.softmax_log),
            softmax_log_f16: value_f16(sum_f16.total(), outcome),
            log_softmax: total(|forms| forms.log_softmax),
            maps: forms.len(),
            nan: 0,
            infinite: 0,
            negative: 0,
            failed: 0,
            first_failed: None,
        };
        let channels = case.shape.channels();
        for (map, (forms, exact)) in forms.iter().zip(&exact).enumerate() {
            let x = forms.softmax_log;
            usual.nan += usize::from(x.is_nan());
            usual.infinite += usize::from(x.is_infinite());
            usual.negative += usize::from(x < 0.0);
            if exact.is_finite() && !(x.is_finite() && x >= 0.0) {
                usual.failed += 1;
                usual.first_failed.get_or_insert([map / channels, map % channels]);
            }
        }
        Ok((usual, outcome, exact))
    }
}

/// A sum in `f32` by blocks, as vectorised sums go: its error grows with the number of blocks alone.
#[derive(Default)]
struct Cascade {
    block: f32,
    blocks: f32,
    held: u8,
}

impl Cascade {
    fn add(&mut self, x: f32) {
        self.block += x;
        self.held += 1;
        if self.held == 128 {
            self.blocks += self.block;
            (self.block, self.held) = (0.0, 0);
        }
    }

    fn total(&self) -> f32 {
        self.blocks + self.block
    }
}

/// The largest number of a row and its sum of exponentials.
struct Softmax {
    max: f32,
    sum: f32,
}

impl Softmax {
    fn of(row: impl Iterator<Item = f32> + Clone) -> Self {
        let max = row.clone().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = Cascade::default();
        row.for_each(|x| sum.add((x - max).exp()));
        Self { max, sum: sum.total() }
    }

    fn probability(&self, x: f32) -> f32 {
        (x - self.max).exp() / self.sum
    }

    fn logarithm(&self, x: f32) -> f32 {
        x - self.max - self.sum.ln()
    }
}

/// A channel map in both forms, in `f32`.
struct Forms {
    softmax_log: f32,
    log_softmax: f32,
}

impl Forms {
    /// Exponentials are taken again rather than stored, so that a map of any size takes no memory.
    fn of(case: Case<'_>, map: usize, tau: f32) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "f32 is what these forms are run in")]
        let scaled = |tensor, index| element(tensor, index) as f32 / tau;
        let pairs =
            case.map(map).map(|(_, index)| (scaled(case.teacher, index), scaled(case.student, index)));
        let teacher = Softmax::of(pairs.clone().map(|(t, _)| t));
        let student = Softmax::of(pairs.clone().map(|(_, s)| s));
        let (mut softmax_log, mut log_softmax) = (Cascade::default(), Cascade::default());
        for (t, s) in pairs {
            let (p, q) = (teacher.probability(t), student.probability(s));
            let entropy = if p == 0.0 { 0.0 } else { p * p.ln() };
            softmax_log.add(entropy - p * q.ln());
            log_softmax.add(p * teacher.logarithm(t) - p * student.logarithm(s));
        }
        Self { softmax_log: softmax_log.total(), log_softmax: log_softmax.total() }
    }
}

/// The nearest number of `f16`.
fn half(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

/// A channel map softmax first, in `f16`; the sum as it is before the kernel that sums all maps rounds it.
fn softmax_log_f16(case: Case<'_>, map: usize, tau: f32) -> f32 {
    let scaled = |tensor, index| half(f16::from_f64(element(tensor, index)).to_f32() / tau);
    let pairs = case.map(map).map(|(_, index)| (scaled(case.teacher, index), scaled(case.student, index)));
    let teacher = Softmax::of(pairs.clone().map(|(t, _)| t));
    let student = Softmax::of(pairs.clone().map(|(_, s)| s));
    let mut sum = Cascade::default();
    for (t, s) in pairs {
        let (p, q) = (half(teacher.probability(t)), half(student.probability(s)));
        let entropy = if p == 0.0 { 0.0 } else { half(p * half(p.ln())) };
        sum.add(half(entropy - half(p * half(q.ln()))));
    }
    sum.total()
}

/// The loss from the sum over maps, scaled and divided in `f16`.
fn value_f16(sum: f32, outcome: Outcome) -> f64 {
    if outcome.divisor == 0.0 {
        return 0.0;
    }
    let scaled = f16::from_f64(f64::from(half(sum)) * outcome.scale);
    f16::from_f64(scaled.to_f64() / outcome.divisor).to_f64()
}
