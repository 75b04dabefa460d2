//! One derivative from a ladder of central differences.

/// How many steps are tried, each a quarter of the one before.
pub(super) const STEPS: i32 = 12;

/// How many differences are combined at most.
const ORDERS: usize = 4;

/// What differences say of a derivative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    /// The derivative of the rows' sum.
    pub(super) slope: f64,
    /// An estimate, from above, of how far it may be off.
    pub(super) error: f64,
    /// The size of the second derivative.
    pub(super) curvature: f64,
    /// The step that gave it; 0 where none was taken.
    pub(super) eps: f64,
}

impl Difference {
    /// A derivative that is 0 by definition.
    pub(super) const ZERO: Self = Self { slope: 0.0, error: 0.0, curvature: 0.0, eps: 0.0 };
}

/// What is seen at one step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rung {
    /// The distance of the two points.
    pub(super) distance: f64,
    /// The values' difference, taken row by row.
    pub(super) difference: f64,
    /// How far that may be off.
    pub(super) noise: f64,
    /// Both values less twice the one between.
    pub(super) second: f64,
}

/// Richardson's extrapolation of differences at falling steps; the combination with the least estimated
/// error wins, so that no step has to be right beforehand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ladder {
    last: [f64; ORDERS],
    filled: usize,
    best: Difference,
    curvature: f64,
}

impl Ladder {
    pub(super) const fn new() -> Self {
        let best = Difference { slope: f64::NAN, error: f64::INFINITY, curvature: 0.0, eps: 0.0 };
        Self { last: [0.0; ORDERS], filled: 0, best, curvature: 0.0 }
    }

    pub(super) fn push(&mut self, rung: Rung) {
        let Rung { distance, difference, noise, second } = rung;
        let first = difference / distance;
        if !(first.is_finite() && noise.is_finite()) {
            self.filled = 0;
            return;
        }
        let eps = distance / 2.0;
        self.curvature = self.curvature.max(second.abs() / (eps * eps));
        let noise = noise / distance.abs();
        let mut now = [first; ORDERS];
        let mut see = |slope: f64, spread: f64| {
            if spread + noise < self.best.error {
                self.best = Difference { slope, error: spread + noise, curvature: 0.0, eps };
            }
        };
        let mut factor = 1.0;
        let mut lower = first;
        for (order, (&before, to)) in self.last.iter().zip(&mut now).enumerate().take(self.filled + 1) {
            if order == 0 {
                if self.filled > 0 {
                    see(first, (first - before).abs());
                }
                continue;
            }
            // Errors fall with even powers of the step: by 16 for each.
            factor *= 16.0;
            let below = self.last.get(order - 1).copied().unwrap_or(before);
            let better = lower + (lower - below) / (factor - 1.0);
            see(better, (better - lower).abs().max((better - below).abs()));
            *to = better;
            lower = better;
        }
        self.last = now;
        self.filled = (self.filled + 1).min(ORDERS - 1);
    }

    /// How far the best so far may be off.
    pub(super) const fn error(&self) -> f64 {
        self.best.error
    }

    /// None where no two steps gave numbers.
    pub(super) fn difference(&self) -> Option<Difference> {
        let best = Difference { curvature: self.curvature, ..self.best };
        best.error.is_finite().then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derivative(f: impl Fn(f64) -> f64, at: f64) -> Option<Difference> {
        let mut ladder = Ladder::new();
        for step in 1..=STEPS {
            let h = 0.25_f64.powi(step);
            let (plus, minus) = (f(at + h), f(at - h));
            ladder.push(Rung {
                distance: (at + h) - (at - h),
                difference: plus - minus,
                noise: 1e-13 * (plus.abs() + minus.abs()),
                second: plus + minus - 2.0 * f(at),
            });
        }
        ladder.difference()
    }

    #[test]
    fn a_smooth_function_gives_ten_digits_and_knows_it() {
        let found = derivative(f64::exp, 1.0).expect("steps give numbers");
        let off = (found.slope - 1.0_f64.exp()).abs();
        assert!(off < 1e-10 && off <= found.error && found.error < 1e-9, "{found:?}");
    }

    #[test]
    fn a_kink_is_not_taken_for_a_derivative() {
        let found = derivative(|x| (x - 1e-5).abs() + x * x, 0.0).expect("steps give numbers");
        assert!((found.slope + 1.0).abs() <= found.error.max(1e-6), "{found:?}");
    }

    #[test]
    fn steps_that_overflow_are_left_out() {
        assert!(derivative(|_| f64::NAN, 0.0).is_none());
        let found = derivative(|x| if x.abs() > 1e-2 { f64::INFINITY } else { 3.0 * x }, 0.0);
        assert!((found.expect("the small steps give numbers").slope - 3.0).abs() < 1e-10);
    }
}
