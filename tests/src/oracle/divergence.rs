//! The divergences of two distributions, with their gradients to both rows of logits.

use super::case::Divergence;
use super::number::Number;
use super::row::Row;
use super::softmax::Softmax;

/// Teacher p and student q.
struct Pair<'a> {
    p: Softmax,
    q: Softmax,
    tau: &'a Number,
    eps: &'a Number,
    /// Entries whose terms count; all of them unless positions are ignored after the softmax.
    counted: &'a [bool],
}

/// The divergence of two rows of logits without NaN or +inf, the teacher's not all -inf.
pub(super) fn diverge(
    divergence: Divergence,
    teacher: &[Number],
    student: &[Number],
    tau: &Number,
    eps: &Number,
    counted: &[bool],
) -> Row {
    let pair = Pair { p: Softmax::new(teacher, tau), q: Softmax::new(student, tau), tau, eps, counted };
    match divergence {
        Divergence::Kl if eps.is_zero() => pair.kl(),
        Divergence::Ce if eps.is_zero() => pair.ce(),
        Divergence::Kl => pair.kl_eps(),
        Divergence::Ce => pair.ce_eps(),
        Divergence::Mse => pair.mse(),
        Divergence::Js => pair.js(),
        Divergence::ReverseKl => pair.reverse_kl(),
    }
}

impl Pair<'_> {
    fn indices(&self) -> std::ops::Range<usize> {
        0..self.counted.len()
    }

    fn all_counted(&self) -> bool {
        self.counted.iter().all(|&counted| counted)
    }

    /// `f(i)` for every entry.
    fn each(&self, f: impl Fn(usize) -> Number) -> Vec<Number> {
        self.indices().map(f).collect()
    }

    /// `f(i)` where the entry counts, else 0.
    fn each_counted(&self, f: impl Fn(usize) -> Number) -> Vec<Number> {
        self.each(|i| if self.counted[i] { f(i) } else { Number::zero() })
    }

    /// The sum of `f(i)` over counted entries where the teacher has mass.
    fn sum(&self, f: impl Fn(usize) -> Number) -> Number {
        self.indices().filter(|&i| self.counted[i] && self.p.has_mass(i)).map(f).sum()
    }

    /// `p_i x`, where the teacher has mass: infinite with x, however small that mass.
    fn expected(&self, i: usize, x: Number) -> Number {
        if x.is_finite() { &self.p.p[i] * x } else { x }
    }

    /// `sum p (lp - lq)`; to the student `(P q - p)/tau`, to the teacher `p (lp - lq - value)/tau`.
    ///
    /// With entries left out after the softmax, m their mask: `sum m p (lp - lq)`, `(q sum_j m_j p_j - m p)/tau`
    /// and `J_p(m (lp - lq + 1))`; the 1 goes where m is 1 throughout, so that equal rows give exactly 0.
    fn kl(&self) -> Row {
        let ratio = |i: usize| &self.p.log_p[i] - &self.q.log_p[i];
        let value = self.sum(|i| self.expected(i, ratio(i))).without_noise();
        let one = if self.all_counted() { Number::zero() } else { Number::one() };
        let teacher = self.teacher(&value, &self.each_counted(|i| ratio(i) + &one));
        Row { value, student: self.student_of_cross_entropy(), teacher }
    }

    /// `-sum p lq`; to the student as kl, to the teacher `p (-lq - value)/tau = J_p(-lq)`.
    fn ce(&self) -> Row {
        let value = self.sum(|i| self.expected(i, -&self.q.log_p[i]));
        let teacher = self.teacher(&value, &self.each_counted(|i| -&self.q.log_p[i]));
        Row { value, student: self.student_of_cross_entropy(), teacher }
    }

    /// `(q sum_j m_j p_j - m p)/tau`, m the mask.
    fn student_of_cross_entropy(&self) -> Vec<Number> {
        // The total is 1 by definition; the sum of the rounded terms is not.
        let total = if self.all_counted() { self.p.total.clone() } else { self.sum(|i| self.p.p[i].clone()) };
        let kept = self.each_counted(|i| self.p.p[i].clone());
        self.each(|i| (&self.q.p[i] * &total - &kept[i]) / self.tau)
    }

    /// `J_p(g)`, NaN throughout if the value is infinite.
    fn teacher(&self, value: &Number, g: &[Number]) -> Vec<Number> {
        if value.is_finite() { self.p.pull(g, self.tau) } else { self.each(|_| Number::Nan) }
    }

    /// `sum p (log(p+eps) - log(q+eps))`; to the student `J_q(-p/(q+eps))`, to the teacher
    /// `J_p(log((p+eps)/(q+eps)) + p/(p+eps))`.
    fn kl_eps(&self) -> Row {
        let p = self.each(|i| &self.p.p[i] + self.eps);
        let q = self.each(|i| &self.q.p[i] + self.eps);
        let ratio = self.each(|i| p[i].ln() - q[i].ln());
        Row {
            value: self.sum(|i| &self.p.p[i] * &ratio[i]).without_noise(),
            student: self.q.pull(&self.each(|i| -&self.p.p[i] / &q[i]), self.tau),
            teacher: self.p.pull(&self.each(|i| &ratio[i] + &self.p.p[i] / &p[i]), self.tau),
        }
    }

    /// `-sum p log(q+eps)`; to the student `J_q(-p/(q+eps))`, to the teacher `J_p(-log(q+eps))`.
    fn ce_eps(&self) -> Row {
        let q = self.each(|i| &self.q.p[i] + self.eps);
        let minus_log = self.each(|i| -q[i].ln());
        Row {
            value: self.sum(|i| &self.p.p[i] * &minus_log[i]),
            student: self.q.pull(&self.each(|i| -&self.p.p[i] / &q[i]), self.tau),
            teacher: self.p.pull(&minus_log, self.tau),
        }
    }

    /// `sum (q - p)^2`; to the student `J_q(2 (q - p))`, to the teacher `J_p(2 (p - q))`.
    fn mse(&self) -> Row {
        let two = Number::from(2.0);
        let d = self.each(|i| &self.q.p[i] - &self.p.p[i]);
        Row {
            value: d.iter().map(|d| d * d).sum(),
            student: self.q.pull(&self.each(|i| &two * &d[i]), self.tau),
            teacher: self.p.pull(&self.each(|i| -(&two * &d[i])), self.tau),
        }
    }

    /// `1/2 sum p (lp - log m) + 1/2 sum q (lq - log m)`, `m = (p+q)/2`; to the student
    /// `J_q((lq - log m)/2)`, to the teacher `J_p((lp - log m)/2)`.
    fn js(&self) -> Row {
        let half = Number::from(0.5);
        let log_m = self.each(|i| log_mean(&self.p.log_p[i], &self.q.log_p[i]));
        let side =
            |side: &Softmax| {
                self.each(|i| {
                    if side.has_mass(i) { &half * (&side.log_p[i] - &log_m[i]) } else { Number::zero() }
                })
            };
        let (of_p, of_q) = (side(&self.p), side(&self.q));
        let terms = self.each(|i| &self.p.p[i] * &of_p[i] + &self.q.p[i] * &of_q[i]);
        Row {
            value: terms.into_iter().sum::<Number>().without_noise(),
            student: self.q.pull(&of_q, self.tau),
            teacher: self.p.pull(&of_p, self.tau),
        }
    }

    /// `sum q (lq - lp)`; to the student `q (lq - lp - value)/tau`, to the teacher `(Q p - q)/tau`: kl with
    /// the sides exchanged.
    fn reverse_kl(self) -> Row {
        let exchanged = Pair { p: self.q, q: self.p, ..self };
        let Row { value, student, teacher } = exchanged.kl();
        Row { value, student: teacher, teacher: student }
    }
}

/// `log((p+q)/2)` of two logarithms, `max + log((1 + exp(-|lp - lq|))/2)` so that it stands where both
/// probabilities are below every float.
fn log_mean(log_p: &Number, log_q: &Number) -> Number {
    let larger = log_p.clone().max(log_q);
    if larger.is_minus_infinity() {
        return larger;
    }
    let difference = log_p - log_q;
    let below = if difference.is_negative() { difference } else { -difference };
    larger + ((Number::one() + below.exp()) * Number::from(0.5)).ln()
}
