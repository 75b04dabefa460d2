//! A second truth in f64: two passes over a row, each step free of cancellation.
//!
//! With `r = log p - log q` every divergence is a sum of terms that are all at least 0:
//!
//! - kl: `p (r + expm1(-r))`, which is `q (r e^r - expm1(r))`; the side with the larger probability is taken,
//! - reverse kl: the same with the sides exchanged,
//! - js: `m/2 ((1+u) log(1+u) + (1-u) log(1-u))`, `m = (p+q)/2`, `u = (p-q)/(p+q) = tanh(r/2)`.
//!
//! So the sum is as good as its terms, and a term is as good as its `r = (t - s)/tau - lambda`. The difference
//! is exact as a sum of two floats. `lambda = log(Z_t/Z_s)` starts as the difference of the two logarithms
//! and is then corrected by `log1p(sum q expm1(r))`, which would be 0; it too is kept as a sum of two floats.
//! What remains is the few roundings of each term, whatever the divergence's size: 5e-16 against the exact
//! oracle, 2e-15 allowed.
//!
//! Logits and temperatures are expected in the range of f32; beyond 1e290 the exact differences overflow.

use super::two_floats::{CompensatedSum, TwoFloats};

/// KL(p, q) of the softmaxes of two rows at a temperature.
///
/// Degenerate rows as in the exact oracle: NaN or +inf gives NaN, a teacher of -inf only gives 0, mass of p
/// where q has none gives +inf.
///
/// # Panics
///
/// If the rows differ in length; so do the others.
pub fn kl_row(teacher: &[f64], student: &[f64], tau: f64) -> f64 {
    match Pair::new(teacher, student, tau) {
        Err(value) => value,
        Ok(pair) => pair.sum(kl_term),
    }
}

/// `sum q (log q - log p)`: [`kl_row`] with the sides exchanged, but 0 for a teacher of -inf only.
pub fn reverse_kl_row(teacher: &[f64], student: &[f64], tau: f64) -> f64 {
    match Pair::new(teacher, student, tau) {
        Err(value) if value.is_nan() || is_empty(teacher) => value,
        _ => kl_row(student, teacher, tau),
    }
}

/// The Jensen-Shannon divergence of the softmaxes of two rows at a temperature.
pub fn js_row(teacher: &[f64], student: &[f64], tau: f64) -> f64 {
    match Pair::new(teacher, student, tau) {
        Err(f64::INFINITY) if is_empty(student) => std::f64::consts::LN_2 / 2.0,
        Err(value) if value.is_nan() || is_empty(teacher) => value,
        Err(_) => Pair::of_rows(teacher, student, tau).sum(js_term),
        Ok(pair) => pair.sum(js_term),
    }
}

/// `(q - p)/tau` for every entry: the gradient of [`kl_row`] to the student.
pub fn kl_row_gradient(teacher: &[f64], student: &[f64], tau: f64) -> Vec<f64> {
    match Pair::new(teacher, student, tau) {
        Err(value) if value.is_nan() || is_empty(teacher) => vec![value; teacher.len()],
        Err(_) if is_empty(student) => {
            let p = Side::new(teacher, tau);
            teacher.iter().map(|&t| -p.probability(t) / tau).collect()
        }
        _ => Pair::of_rows(teacher, student, tau).points().map(|x| x.excess_of_q() / tau).collect(),
    }
}

fn is_empty(row: &[f64]) -> bool {
    row.iter().all(|&x| x == f64::NEG_INFINITY)
}

/// One position of two distributions.
#[derive(Clone, Copy)]
struct Point {
    p: f64,
    q: f64,
    /// `log p - log q`; infinite where one of them is 0.
    r: f64,
}

impl Point {
    /// q - p.
    fn excess_of_q(self) -> f64 {
        if self.r.abs() < 1.0 { -self.q * self.r.exp_m1() } else { self.q - self.p }
    }
}

/// `p r - p + q`, where the larger of p and q is accurate even if the other underflows.
fn kl_term(Point { p, q, r }: Point) -> f64 {
    if p == 0.0 {
        q
    } else if r >= 0.0 {
        p * bregman(r)
    } else if r > -1.0 {
        q * r.exp() * bregman(r)
    } else {
        q * (r * r.exp() - r.exp_m1())
    }
}

/// `r + expm1(-r) = r^2/2 - r^3/6 + ...`
fn bregman(r: f64) -> f64 {
    if r.abs() > 0.5 {
        return r + (-r).exp_m1();
    }
    // (r^2/2) (1 - r/3 (1 - r/4 (1 - ...))): the omitted 19th factor weighs 0.5^17 2/19! < 1e-21.
    let series = (3..19).rev().fold(1.0, |inner, k| 1.0 - r / f64::from(k) * inner);
    r * r / 2.0 * series
}

/// `1/2 p log(p/m) + 1/2 q log(q/m)`.
fn js_term(Point { p, q, r }: Point) -> f64 {
    let m = f64::midpoint(p, q);
    let u = (r.abs() / 2.0).tanh();
    if u < 0.25 {
        // sum_k u^(2k) / (k (2k - 1)): the omitted 14th power of 1/16 weighs under 1e-18.
        let square = u * u;
        let series = (1..14).rev().fold(0.0, |sum, k| {
            let k = f64::from(k);
            square * (sum + 1.0 / (k * (2.0 * k - 1.0)))
        });
        return m / 2.0 * series;
    }
    let e = (-r.abs()).exp();
    let smaller = 2.0 * e / (1.0 + e);
    let entropy = if smaller > 0.0 { smaller * smaller.ln() } else { 0.0 };
    m / 2.0 * ((1.0 + u) * u.ln_1p() + entropy)
}

/// One row's largest logit and its normaliser `Z = sum exp((x - largest)/tau)`.
struct Side {
    largest: f64,
    z: f64,
    tau: f64,
}

impl Side {
    fn new(row: &[f64], tau: f64) -> Self {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut side = Self { largest, z: 1.0, tau };
        let mut z = CompensatedSum::default();
        for &x in row {
            z.add(side.probability(x));
        }
        side.z = z.total();
        side
    }

    /// `exp((x - largest)/tau)/Z`, the rounding of the argument made good.
    fn probability(&self, x: f64) -> f64 {
        if x == f64::NEG_INFINITY {
            return 0.0;
        }
        let argument = TwoFloats::difference(x, self.largest).over(self.tau);
        let e = argument.high.exp();
        (e + e * argument.low) / self.z
    }
}

/// Two rows, their softmaxes, and the logarithm of the ratio of their normalisers, lambda, times tau.
struct Pair<'a> {
    teacher: &'a [f64],
    student: &'a [f64],
    p: Vec<f64>,
    q: Vec<f64>,
    tau: f64,
    lambda: TwoFloats,
}

impl<'a> Pair<'a> {
    /// The pair, or the value of a degenerate one.
    fn new(teacher: &'a [f64], student: &'a [f64], tau: f64) -> Result<Self, f64> {
        assert_eq!(teacher.len(), student.len(), "rows of different lengths");
        if teacher.iter().chain(student).any(|x| x.is_nan() || *x == f64::INFINITY) {
            return Err(f64::NAN);
        }
        if is_empty(teacher) {
            return Err(0.0);
        }
        if teacher.iter().zip(student).any(|(t, s)| t.is_finite() && s.is_infinite()) {
            return Err(f64::INFINITY);
        }
        Ok(Self::of_rows(teacher, student, tau))
    }

    /// The pair of two rows of which neither is without mass.
    fn of_rows(teacher: &'a [f64], student: &'a [f64], tau: f64) -> Self {
        let (p, q) = (Side::new(teacher, tau), Side::new(student, tau));
        let lambda = TwoFloats::difference(p.largest, q.largest).plus(tau * (p.z.ln() - q.z.ln()));
        let p = teacher.iter().map(|&t| p.probability(t)).collect();
        let q = student.iter().map(|&s| q.probability(s)).collect();
        let mut pair = Self { teacher, student, p, q, tau, lambda };
        // From an error of 1e-15 each step gains the 16 digits of a float or reaches the floor of the
        // terms' own roundings; the third is for rows that are closer than the first error.
        for _ in 0..3 {
            pair.correct();
        }
        pair
    }

    /// `lambda += log(sum q e^r)`, as `log1p(sum (p - q))` with close p and q subtracted in their logarithms.
    fn correct(&mut self) {
        let mut sum = CompensatedSum::default();
        for x in self.points() {
            sum.add(-x.excess_of_q());
        }
        let step = sum.total().ln_1p() * self.tau;
        if step.is_finite() {
            self.lambda = self.lambda.plus(step);
        }
    }

    fn points(&self) -> impl Iterator<Item = Point> {
        let r = self.teacher.iter().zip(self.student).map(|(&t, &s)| self.log_ratio(t, s));
        self.p.iter().zip(&self.q).zip(r).map(|((&p, &q), r)| Point { p, q, r })
    }

    /// `(t - s)/tau - lambda`.
    fn log_ratio(&self, t: f64, s: f64) -> f64 {
        match (t.is_finite(), s.is_finite()) {
            (true, true) => TwoFloats::difference(t, s).minus(self.lambda) / self.tau,
            (true, false) => f64::INFINITY,
            (false, true) => f64::NEG_INFINITY,
            (false, false) => 0.0,
        }
    }

    fn sum(&self, term: impl Fn(Point) -> f64) -> f64 {
        let mut sum = CompensatedSum::default();
        for x in self.points() {
            sum.add(term(x));
        }
        sum.total()
    }
}
