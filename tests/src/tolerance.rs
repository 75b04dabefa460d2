//! THE table of tolerances: how close the engine's answers are, by row loss and stored type.
//!
//! Every bound is a share of the terms that the quantity is a sum of ([`crate::terms`]): of a KL divergence and
//! its gradient to the student that is the value itself and the row's largest entry. A test measures every
//! cell on a sample of its own and fails where a bound is exceeded, and also where it is more than
//! [`SLACK`] times what was seen, so that no bound is a wish.

use crate::kind::Kind;
use densekd_core::DType;

/// How many times the worst error seen a bound may be.
pub const SLACK: f64 = 4.0;

/// What is tolerated of one row loss in one stored type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Of the value.
    pub value: f64,
    /// Of the gradients, as a share of the row's largest term.
    pub gradient: f64,
    /// Of a gradient's sum over a row, which is 0 in exact arithmetic, as a share of the sum of the terms'
    /// magnitudes; none for gradients that need not sum to 0.
    pub sum: Option<f64>,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The row loss.
    pub kind: Kind,
    /// In `f32`.
    pub f32: Bound,
    /// In `f64`.
    pub f64: Bound,
    /// In `f16`.
    pub f16: Bound,
    /// In `bf16`.
    pub bf16: Bound,
    /// Where the bounds come from: those of the values and, in `f64`, of the gradients in units u of the
    /// arithmetic (2^-24 or 2^-53). Gradients stored in a narrower type are rounded to it once more: by 2^-24
    /// of an entry in `f32`, 2^-11 in `f16`, 2^-8 in `bf16`.
    pub reason: &'static str,
}

const fn bound(value: f64, gradient: f64, sum: f64) -> Bound {
    Bound { value, gradient, sum: Some(sum) }
}

/// One rounding of each entry to `f32` (2^-24), of a gradient taken in `f64`.
const fn f32(value: f64) -> Bound {
    bound(value, 6e-8, 6e-8)
}

/// One rounding of each entry to `f16` (2^-11).
const fn f16(value: f64) -> Bound {
    bound(value, 4.9e-4, 4.9e-4)
}

/// One rounding of each entry to `bf16` (2^-8).
const fn bf16(value: f64) -> Bound {
    bound(value, 3.92e-3, 3.92e-3)
}

const fn real(value: f64, gradient: f64) -> Bound {
    Bound { value, gradient, sum: None }
}

/// The table.
pub const TABLE: [Line; 11] = [
    Line {
        kind: Kind::Kl,
        f32: bound(5e-7, 6e-7, 3e-7),
        f64: bound(2e-15, 2e-15, 6e-16),
        f16: f16(5e-7),
        bf16: bf16(5e-7),
        reason: "w k(r): exp and k within 1.5 ulp each, two products, r rounded twice: 8 u; sums of blocks in f64",
    },
    Line {
        kind: Kind::ReverseKl,
        f32: f32(1.2e-15),
        f64: bound(2e-15, 2e-15, 6e-16),
        f16: f16(1.2e-15),
        bf16: bf16(1.2e-15),
        reason: "whatever the type, in f64: r^2 q times a series, or p - q - q r far away: 9 u",
    },
    Line {
        kind: Kind::Js,
        f32: f32(1.8e-15),
        f64: bound(1.8e-15, 9e-16, 4e-16),
        f16: f16(1.8e-15),
        bf16: bf16(1.8e-15),
        reason: "whatever the type, in f64: h sinh h - cosh h log cosh h, 2 : 1 for small h, of functions within 2 ulp: 8 u",
    },
    Line {
        kind: Kind::Ce,
        f32: f32(8e-16),
        f64: bound(8e-16, 2e-15, 7e-16),
        f16: f16(5e-16),
        bf16: bf16(5e-16),
        reason: "whatever the type, in f64: p log q: p within 4 u, log q = x - log z within 2 u of either: 8 u",
    },
    Line {
        kind: Kind::Mse,
        f32: f32(2.2e-15),
        f64: bound(2.2e-15, 1.2e-15, 6e-16),
        f16: f16(2.2e-15),
        bf16: bf16(2.2e-15),
        reason: "whatever the type, in f64: (p - q)^2: twice the 4 u of p - q, and the square's own: 10 u",
    },
    Line {
        kind: Kind::KlEps,
        f32: f32(6e-16),
        f64: bound(9e-16, 4e-15, 8e-16),
        f16: f16(4e-16),
        bf16: bf16(8e-16),
        reason: "whatever the type, in f64: log1p(|p - q| / (q + eps)): 4 u; to the student q below eps has its exponent's |x| u: 18 u",
    },
    Line {
        kind: Kind::CeEps,
        f32: f32(2.5e-16),
        f64: bound(6e-16, 4e-15, 8e-16),
        f16: f16(4e-16),
        bf16: bf16(2.5e-16),
        reason: "whatever the type, in f64: log(q + eps) of a sum near 1: 3 u; to the student as with kl",
    },
    Line {
        kind: Kind::KlAfter,
        f32: f32(4e-16),
        f64: bound(6e-16, 5e-15, 8e-16),
        f16: f16(5e-16),
        bf16: bf16(5e-16),
        reason: "whatever the type, in f64: p r, of terms of either sign: 3 u; to the teacher p far below has its exponent's |x| u: 23 u",
    },
    Line {
        kind: Kind::CeAfter,
        f32: f32(6e-16),
        f64: bound(9e-16, 2e-15, 8e-16),
        f16: f16(5e-16),
        bf16: bf16(6e-16),
        reason: "whatever the type, in f64: as ce, 4 u; gradients carry p's exponent: 9 u",
    },
    Line {
        kind: Kind::ChannelMean,
        f32: real(1.5e-15, 6e-8),
        f64: real(2.5e-14, 1.2e-14),
        f16: real(1.5e-15, 4.9e-4),
        bf16: real(1.5e-15, 3.92e-3),
        reason: "whatever the type, in f64: exact differences of narrower types; of f64 their rounding, beside a mean 30 times smaller",
    },
    Line {
        kind: Kind::None,
        f32: real(6e-16, 6e-8),
        f64: real(8e-16, 0.0),
        f16: real(6e-16, 4.9e-4),
        bf16: real(6e-16, 3.92e-3),
        reason: "whatever the type, in f64: the square and its sum: 4 u; 2 (s - t) is the gradient itself",
    },
];

/// Kl in `f32` on rows that a search has bred for their errors, whatever they look like: 13 ulp of the value
/// where terms on both sides of the reference nearly cancel in `e`, and as much of the gradient's largest entry. Held to
/// with one seed: by others, sums of gradients were seen off by up to 2.5e-6 of their magnitudes (rows of up to 64
/// entries far from the teacher, p and q the same in most of them: sums of eight that round one way, a share in one
/// `f32`), values by 1.7e-6 and gradients by 1.9e-6.
pub const CONTRIVED: Bound = bound(2e-6, 2e-6, 1e-6);

/// What the definitions promise of any row's gradient, as a share of its largest entry.
pub const PROMISED_GRADIENT: f64 = 2e-6;

/// The bound of a row loss in a stored type.
///
/// # Panics
/// For a type that has no column.
pub fn tolerance(kind: Kind, dtype: DType) -> Bound {
    let line = TABLE.iter().find(|line| line.kind == kind).expect("the table has a line for every row loss");
    match dtype {
        DType::F32 => line.f32,
        DType::F64 => line.f64,
        DType::F16 => line.f16,
        DType::Bf16 => line.bf16,
        other => panic!("{other} has no column"),
    }
}

/// What is tolerated of a loss of whole maps, whatever type its maps are stored in: inputs are converted exactly,
/// all arithmetic is `f64`, and only a gradient is rounded once more, by [`stored`] of an entry.
#[derive(Clone, Copy, Debug)]
pub struct MapLine {
    /// The loss.
    pub loss: &'static str,
    /// Of the value, as a share of the terms that it is a sum of.
    pub value: f64,
    /// Of a gradient's entry in `f64`, as a share of the tensor's largest.
    pub gradient: f64,
    /// Where the bounds come from, in units u = 2^-53.
    pub reason: &'static str,
}

/// The table of the map losses, held to random maps of up to 240 numbers.
pub const MAPS: [MapLine; 11] = [
    MapLine {
        loss: "at",
        value: 1e-15,
        gradient: 1.5e-14,
        reason: "v within 3 u of sums; e cancels, so that gradients have u |v| / |e| of close maps",
    },
    MapLine {
        loss: "la",
        value: 8e-16,
        gradient: 1.5e-15,
        reason: "differences within 1 u, their squares' sums within 3 u",
    },
    MapLine {
        loss: "pa",
        value: 4e-15,
        gradient: 8e-15,
        reason: "cosines within 4 u of 1, whose differences are squared: more of close ones",
    },
    MapLine {
        loss: "ifvd",
        value: 1e-15,
        gradient: 3e-14,
        reason: "cosines within 4 u; f cancels as e of at does, and x less its part along c",
    },
    MapLine {
        loss: "mimic",
        value: 8e-16,
        gradient: 3e-10,
        reason: "as pkd where standardised; else y within 2 u of its terms",
    },
    MapLine {
        loss: "pkd",
        value: 1e-15,
        gradient: 2e-11,
        reason: "z within 4 u; of two values a channel z is given but for eps, and gradients are what eps leaves: u / eps",
    },
    MapLine {
        loss: "dist",
        value: 8e-16,
        gradient: 4e-15,
        reason: "1 - r within 4 u of 1; probabilities and correlations within 8 u each",
    },
    MapLine { loss: "dkd", value: 1e-15, gradient: 8e-16, reason: "two divergences, each within 4 u" },
    MapLine {
        loss: "rkd",
        value: 2e-15,
        gradient: 3e-13,
        reason: "squared distances within 4 u, differences of their roots of half of that; close samples' edges magnify it",
    },
    MapLine {
        loss: "smooth_ce",
        value: 5e-16,
        gradient: 1.2e-14,
        reason: "log q within 2 u; q - y cancels of confident rows",
    },
    MapLine { loss: "ho", value: 1e-15, gradient: 5e-16, reason: "means and lengths within 2 u" },
];

/// The line of a map loss.
///
/// # Panics
/// For a loss that has none.
pub fn of_maps(loss: &str) -> MapLine {
    let line = MAPS.iter().find(|line| line.loss == loss);
    *line.unwrap_or_else(|| panic!("the table has no line for {loss}"))
}

/// What storing a number in a type changes: this share of it, and this much.
///
/// # Panics
/// For a type that has no column.
pub fn stored(dtype: DType) -> (f64, f64) {
    let two = |exponent: i32| 2.0_f64.powi(exponent);
    match dtype {
        DType::F64 => (0.0, 0.0),
        DType::F32 => (two(-24), two(-150)),
        DType::F16 => (two(-11), two(-25)),
        DType::Bf16 => (two(-8), two(-134)),
        other => panic!("{other} has no column"),
    }
}
