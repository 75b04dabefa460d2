//! Row pairs that between them reach every regime of the arithmetic, exact in the type they are stored in.

use crate::engine::rounded;
use crate::kind::Kind;
use crate::oracle::{Case, Options};
use densekd_core::DType;
use fastrand::Rng;

/// A number between two others, on a logarithmic scale.
pub fn log_between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low * (high / low).powf(rng.f64())
}

/// A number of mean 0 and variance 1, the same on every machine.
pub fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// How far a row pair is from what networks produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Logits of spread 0.5 to 3, differences from 1e-4 to 3, temperatures from 1 to 4.
    Ordinary,
    /// Logits from 1e-13 to 30, differences from 1e-14 to 30, temperatures from 0.5 to 1e4.
    Deep,
    /// A teacher and a student that have nothing in common, logits up to 1e6.
    Far,
}

/// A pair of so many entries, as a map of one row.
pub fn pair(rng: &mut Rng, kind: Kind, dtype: DType, reach: Reach, length: usize) -> Case {
    let (spread, noise, temperatures) = match reach {
        Reach::Ordinary => {
            (log_between(rng, 0.5, 3.0), log_between(rng, 1e-4, 3.0), [1.0, 1.0, 1.0, 2.0, 4.0])
        }
        Reach::Deep => {
            (log_between(rng, 1e-13, 30.0), log_between(rng, 1e-14, 30.0), [1.0, 1.0, 4.0, 0.5, 1e4])
        }
        Reach::Far => (log_between(rng, 1.0, 1e6), 0.0, [1.0, 1.0, 1.0, 4.0, 0.5]),
    };
    // 65504 is the largest f16.
    let fits = if dtype == DType::F16 { spread.min(5000.0) } else { spread };
    let shift = [0.0, 0.0, 1.0, 30.0, 1000.0][rng.usize(0..5)];
    let mut row = |scale: f64| (0..length).map(|_| scale * normal(rng)).collect::<Vec<f64>>();
    let student = rounded(dtype, &row(fits));
    let teacher: Vec<f64> = match reach {
        Reach::Far => row(fits),
        _ => student.iter().zip(row(noise)).map(|(s, d)| s + d + shift).collect(),
    };
    let mut counted: Vec<bool> = (0..length).map(|_| rng.f64() < 0.7).collect();
    counted[0] = true;
    Case {
        shape: [1, 1, 1, length],
        teacher: rounded(dtype, &teacher),
        student,
        counted: kind.is_after().then_some(counted),
        options: Options { tau: temperatures[rng.usize(0..5)], ..kind.options() },
    }
}
