//! Maps drawn for properties: what shrinks is the shape and the options, the logits follow from a seed.

use crate::engine::rounded;
use crate::kind::Kind;
use crate::oracle::{Case, Divisor, Norm, Options};
use crate::samples::{log_between, normal};
use densekd_core::DType;
use fastrand::Rng;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// So many cases, the same ones on every run and every machine.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(20), failure_persistence: None, ..Default::default() }
}

/// A map to be made.
#[derive(Clone, Debug)]
pub struct Draw {
    /// N, C, H and W.
    pub shape: [usize; 4],
    /// The loss.
    pub kind: Kind,
    /// Rows are positions instead of channels.
    pub spatial: bool,
    /// The divisor.
    pub divisor: Divisor,
    /// The temperature.
    pub tau: f64,
    /// Some positions are ignored.
    pub masked: bool,
    /// What the logits follow from.
    pub seed: u64,
}

impl Draw {
    /// The map, exact in a type.
    pub fn case(&self, dtype: DType) -> Case {
        let mut rng = Rng::with_seed(self.seed);
        let spread = log_between(&mut rng, 0.1, 4.0);
        let noise = log_between(&mut rng, 1e-5, 3.0);
        let [n, c, h, w] = self.shape;
        let student: Vec<f64> = (0..n * c * h * w).map(|_| spread * normal(&mut rng)).collect();
        let student = rounded(dtype, &student);
        let teacher: Vec<f64> = student.iter().map(|s| s + noise * normal(&mut rng)).collect();
        let mut options =
            Options { tau: self.tau, divisor: self.divisor, weight: 3.0, ..self.kind.options() };
        if self.spatial && self.kind.is_of_distributions() {
            options.norm = Norm::Spatial;
        }
        let counted = (0..n * h * w).map(|_| rng.f64() < 0.7).collect();
        Case {
            shape: self.shape,
            teacher: rounded(dtype, &teacher),
            student,
            counted: self.masked.then_some(counted),
            options,
        }
    }
}

/// Every divisor.
pub const DIVISORS: [Divisor; 6] = [
    Divisor::Sum,
    Divisor::Batch,
    Divisor::Positions,
    Divisor::BatchChannels,
    Divisor::BatchPositions,
    Divisor::Elements,
];

/// Small maps of these losses.
pub fn draws(kinds: &'static [Kind]) -> impl Strategy<Value = Draw> {
    draws_of(kinds, (1..=3_usize, 1..=20_usize, 1..=4_usize, 1..=9_usize))
}

/// Maps of these losses and shapes.
pub fn draws_of(
    kinds: &'static [Kind],
    shape: impl Strategy<Value = (usize, usize, usize, usize)>,
) -> impl Strategy<Value = Draw> {
    let kind = prop::sample::select(kinds);
    let tau = prop::sample::select(&[1.0, 4.0, 0.5][..]);
    let divisor = prop::sample::select(&DIVISORS[..]);
    (shape, kind, any::<bool>(), divisor, tau, any::<bool>(), any::<u64>()).prop_map(
        |((n, c, h, w), kind, spatial, divisor, tau, masked, seed)| Draw {
            shape: [n, c, h, w],
            kind,
            spatial,
            divisor,
            tau,
            masked,
            seed,
        },
    )
}

/// The largest magnitude.
pub fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()))
}

/// Bit patterns, for comparisons that know 0 from -0 and NaN from NaN.
pub fn bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}
