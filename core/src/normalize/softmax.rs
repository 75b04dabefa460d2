//! The softmax at a temperature: rows become distributions.

use super::{Block, Normalize, PerPosition, State};
use crate::Temperature;
use crate::arithmetic::Arithmetic;
use crate::isa::{Kernel, dispatch};
use crate::row::{BLOCK, Kind, Reference, RowState, RowStatistics, Workspace, per_quarter};
use crate::space::{Distribution, Probabilities};

/// `p_i = e^(t_i / tau) / sum_j e^(t_j / tau)`, as exact reals: nothing underflows by definition.
///
/// Logarithms beyond the range of the arithmetic are taken as its largest number.
///
/// Gradient: `J(g)_i = q_i (g_i - sum_j q_j g_j) / tau`. Source: arXiv 1503.02531 for the temperature,
/// arXiv 2011.13256 for rows that are channels.
///
/// ```
/// use densekd_core::{Kl, RowLoss, Softmax, Temperature};
/// let loss = RowLoss::new(Softmax::new(Temperature::ONE), Kl);
/// // p = (1/2, 1/2), q = (1/4, 3/4).
/// let value = loss.value(&[0.0_f32, 0.0], &[0.0, f32::ln(3.0)]);
/// assert!((value - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax {
    temperature: Temperature,
}

impl Softmax {
    /// A softmax at this temperature.
    pub const fn new(temperature: Temperature) -> Self {
        Self { temperature }
    }
}

impl Normalize for Softmax {
    type Space = Distribution;
    type State = RowState;

    fn push<R: Arithmetic>(&self, state: &mut RowState, t: &[R], s: &[R], workspace: &mut Workspace<R>) {
        state.push_block(self.temperature, t, s, workspace);
    }

    fn merge(&self, state: &mut RowState, other: &State) {
        if let State::Softmax(other) = other {
            state.merge(self.temperature, other);
        }
    }

    fn settle(&self, state: &mut RowState) {
        state.centre(self.temperature);
    }

    fn known(&self, statistics: &RowStatistics) -> Option<RowState> {
        Some(RowState::known(statistics))
    }

    fn again(&self, state: &RowState) -> Option<RowState> {
        state.again(self.temperature)
    }

    fn finish(&self, state: &RowState) -> RowStatistics {
        state.finish(self.temperature)
    }

    fn evaluate<R: Arithmetic>(
        &self,
        statistics: &RowStatistics,
        block: Block<'_, R>,
        scale: f64,
        f: &impl PerPosition<Distribution>,
        out: &mut [R],
    ) {
        let per_quarter = per_quarter(self.temperature);
        let normal = (1e-37..1e37).contains(&scale.abs()) || R::UNIT < R::one();
        match statistics.kind {
            kind if kind.is_near() && normal => {
                regular::<R, true>(statistics, per_quarter, block, scale, f, out);
            }
            Kind::Full if normal => regular::<R, false>(statistics, per_quarter, block, scale, f, out),
            Kind::Near | Kind::SweptNear | Kind::SweptTiny | Kind::Full | Kind::Deep | Kind::Careful => {
                if !widened(statistics, per_quarter, block, scale, f, out) {
                    let row = Regular::<f64>::new(statistics, per_quarter);
                    careful(block, scale, f, out, |t, s| row.guarded(t, s));
                }
            }
            Kind::Split => careful(block, scale, f, out, |t, s| split(statistics, per_quarter, t, s)),
            Kind::Single => careful(block, scale, f, out, single),
            // The engine answers for these before it asks.
            Kind::NotANumber | Kind::Zero | Kind::Unset => out.fill(R::nan()),
        }
    }

    fn temperature(&self) -> Option<Temperature> {
        Some(self.temperature)
    }

    fn pull(&self, _statistics: &RowStatistics) -> f64 {
        1.0 / self.temperature.get()
    }
}

/// The constants of a row whose statistics are about one reference.
struct Regular<R> {
    at: Reference<R>,
    per_z: R,
    log_z: R,
}

impl<R: Arithmetic> Regular<R> {
    fn new(statistics: &RowStatistics, per_quarter: f64) -> Self {
        Self {
            at: Reference::new(statistics.m, statistics.d, per_quarter, statistics.l),
            per_z: R::from_f64(1.0 / statistics.z),
            log_z: R::from_f64(libm::log(statistics.z)),
        }
    }

    #[inline(always)]
    fn point(&self, t: R, s: R, counted: R, near: bool) -> Probabilities<R> {
        let entry = self.at.entry(t, s, near);
        // Finite logits have finite logarithms, however far they are out of range.
        let finite = |x: R| if x < R::min_value() { R::min_value() } else { x };
        let log_q = finite(entry.x - self.log_z);
        let log_ratio = if entry.r > R::max_value() { R::max_value() } else { finite(entry.r) };
        Probabilities {
            p: entry.p * self.per_z,
            q: entry.w * self.per_z,
            excess: entry.excess * self.per_z,
            log_ratio,
            log_p: finite(log_q + log_ratio),
            log_q,
            counted,
        }
    }

    fn guarded(&self, t: R, s: R) -> Probabilities<R> {
        let one = R::one();
        if s == R::neg_infinity() {
            return absent();
        }
        if t == R::neg_infinity() {
            let q = self.point(s, s, one, false);
            return missing_teacher(q.q, q.log_q);
        }
        self.point(t, s, one, false)
    }
}

fn regular<R: Arithmetic, const NEAR: bool>(
    statistics: &RowStatistics,
    per_quarter: f64,
    block: Block<'_, R>,
    scale: f64,
    f: &impl PerPosition<Distribution>,
    out: &mut [R],
) {
    let row = Regular::<R>::new(statistics, per_quarter);
    dispatch(Evaluate::<R, _, NEAR> { row: &row, block, scale: R::from_f64(scale), f, out });
}

/// A block in `f64`, if all of it is finite.
fn widened<R: Arithmetic>(
    statistics: &RowStatistics,
    per_quarter: f64,
    block: Block<'_, R>,
    scale: f64,
    f: &impl PerPosition<Distribution>,
    out: &mut [R],
) -> bool {
    let mut buffers = [[0.0_f64; BLOCK]; 4];
    let [t, s, counted, results] = &mut buffers;
    let mut finite = true;
    let to = t.iter_mut().zip(s.iter_mut()).zip(counted.iter_mut());
    for (((to_t, to_s), to_counted), (t, s, counted)) in to.zip(block.triples()) {
        (*to_t, *to_s, *to_counted) = (t.to_double(), s.to_double(), counted.to_double());
        finite &= t.is_finite() & s.is_finite();
    }
    let n = out.len();
    if !finite {
        return false;
    }
    let wide = Block {
        teacher: t.get(..n).unwrap_or_default(),
        student: s.get(..n).unwrap_or_default(),
        counted: counted.get(..n).unwrap_or_default(),
    };
    regular::<f64, false>(statistics, per_quarter, wide, scale, f, results.get_mut(..n).unwrap_or_default());
    for (out, result) in out.iter_mut().zip(results.iter()) {
        *out = R::from_f64(*result);
    }
    true
}

struct Evaluate<'a, R, F, const NEAR: bool> {
    row: &'a Regular<R>,
    block: Block<'a, R>,
    scale: R,
    f: &'a F,
    out: &'a mut [R],
}

impl<R: Arithmetic, F: PerPosition<Distribution>, const NEAR: bool> Kernel for Evaluate<'_, R, F, NEAR> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, (t, s, counted)) in self.out.iter_mut().zip(self.block.triples()) {
            *out = self.scale * self.f.at(self.row.point(t, s, counted, NEAR));
        }
    }
}

/// The same in `f64`, for the kinds of rows that need policies.
#[cold]
fn careful<R: Arithmetic>(
    block: Block<'_, R>,
    scale: f64,
    f: &impl PerPosition<Distribution>,
    out: &mut [R],
    point: impl Fn(f64, f64) -> Probabilities<f64>,
) {
    for (out, (t, s, counted)) in out.iter_mut().zip(block.triples()) {
        let point = Probabilities { counted: counted.to_double(), ..point(t.to_double(), s.to_double()) };
        *out = R::from_f64(scale * f.at(point));
    }
}

fn split(statistics: &RowStatistics, per_quarter: f64, t: f64, s: f64) -> Probabilities<f64> {
    // A reference of -inf: the student has no distribution and every q is 0.
    let log = |x: f64, top: f64, sum: f64| {
        if x == f64::NEG_INFINITY {
            x
        } else {
            ((x * 0.25 - top) * per_quarter - libm::log(sum)).max(-f64::MAX)
        }
    };
    let (log_p, log_q) = (log(t, statistics.d, statistics.l), log(s, statistics.m, statistics.z));
    if log_p == log_q {
        return if log_p == f64::NEG_INFINITY { absent() } else { equal(libm::exp(log_p), log_p) };
    }
    let (p, q, log_ratio) = (libm::exp(log_p), libm::exp(log_q), log_p - log_q);
    let excess = if log_ratio.abs() <= 1.0 { q * libm::expm1(log_ratio) } else { p - q };
    Probabilities { p, q, excess, log_ratio, log_p, log_q, counted: 1.0 }
}

fn single(t: f64, s: f64) -> Probabilities<f64> {
    if t == f64::NEG_INFINITY || s == f64::NEG_INFINITY { absent() } else { equal(1.0, 0.0) }
}

fn equal<R: Arithmetic>(p: R, log_p: R) -> Probabilities<R> {
    let zero = R::zero();
    Probabilities { p, q: p, excess: zero, log_ratio: zero, log_p, log_q: log_p, counted: R::one() }
}

/// A position where neither distribution has mass.
fn absent<R: Arithmetic>() -> Probabilities<R> {
    equal(R::zero(), R::neg_infinity())
}

fn missing_teacher<R: Arithmetic>(q: R, log_q: R) -> Probabilities<R> {
    let (zero, none) = (R::zero(), R::neg_infinity());
    Probabilities { p: zero, q, excess: zero - q, log_ratio: none, log_p: none, log_q, counted: R::one() }
}
