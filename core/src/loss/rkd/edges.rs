//! What relations between images are made of: lengths, squared distances, and the angles of triangles from them.

use crate::diverge::{Diverge, SmoothL1};
use crate::normalize::Scaled;
use crate::space::Difference;

/// The smallest square of a distance.
pub(super) const CLAMP: f64 = 1e-12;

/// What student and teacher add where they differ by this much, and its slope.
#[inline(always)]
pub(super) fn smooth_l1(difference: f64) -> (f64, f64) {
    let x = Difference { difference };
    (SmoothL1.term(x), SmoothL1.student_cotangent(x))
}

/// An image's length.
#[derive(Clone, Copy)]
pub(super) struct Length {
    /// 1/max(|x|, eps), 0 for a zero image; 1 without `normalize`; NaN where the image is not finite.
    pub(super) inverse: f64,
    /// |u|^2, of normalised images.
    pub(super) square: f64,
    /// 1 where the length of u is a constraint, else 0.
    pub(super) radial: f64,
}

impl Length {
    pub(super) const LEN: usize = 3;

    /// Of an image whose norm, or nothing at all, becomes its scale.
    pub(super) fn new<S>(scaled: Scaled<S>, norm: f64) -> Self {
        let length = norm * scaled.step();
        Self { inverse: scaled.step(), square: length * length, radial: scaled.lost() }
    }

    pub(super) fn read(from: &[f64]) -> Self {
        match *from {
            [inverse, square, radial, ..] => Self { inverse, square, radial },
            _ => Self { inverse: f64::NAN, square: 0.0, radial: 0.0 },
        }
    }

    pub(super) fn write(self, to: &mut [f64]) {
        let from = [self.inverse, self.square, self.radial];
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    }
}

/// The edges from an image.
#[derive(Clone, Copy)]
pub(super) struct Edges<'a> {
    pub(super) squares: &'a [f64],
    pub(super) inverses: &'a [f64],
}

impl<'a> Edges<'a> {
    pub(super) fn to(&self, j: usize) -> (f64, f64) {
        (self.squares.get(j).copied().unwrap_or(0.0), self.inverses.get(j).copied().unwrap_or(0.0))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        self.squares.iter().copied().zip(self.inverses.iter().copied())
    }
}

/// D of Q.
pub(super) fn distance(square: f64) -> f64 {
    libm::sqrt(if square < CLAMP { CLAMP } else { square })
}

/// `D_s / mu_s - D_t / mu_t` of Q and of 1/mu, the student's first, as the difference of squares over the sum: the rounding of a
/// square is half as much of its root, so that close distances keep more digits of what is between them.
pub(super) fn difference([s, t]: [f64; 2], [of_s, of_t]: [f64; 2]) -> f64 {
    let square = |square: f64, of: f64| (if square < CLAMP { CLAMP } else { square }) * (of * of);
    (square(s, of_s) - square(t, of_t)) / (distance(s) * of_s + distance(t) * of_t)
}

/// A triangle of a side, seen from image i: the corners i, j, k by their squared sides and inverse roots.
pub(super) struct Triangle {
    /// The angles' cosines at i, j and k.
    pub(super) psi: [f64; 3],
    /// Their derivatives by `Q_ij`, twice.
    pub(super) slope: [f64; 3],
}

impl Triangle {
    #[inline(always)]
    pub(super) fn new(
        (ij, inverse_ij): (f64, f64),
        (ik, inverse_ik): (f64, f64),
        (jk, inverse_jk): (f64, f64),
    ) -> Self {
        let at_i = 0.5 * (ij + ik - jk) * inverse_ij * inverse_ik;
        let at_j = 0.5 * (ij + jk - ik) * inverse_ij * inverse_jk;
        let at_k = 0.5 * (ik + jk - ij) * inverse_ik * inverse_jk;
        let slope = [
            inverse_ij * (inverse_ik - at_i * inverse_ij),
            inverse_ij * (inverse_jk - at_j * inverse_ij),
            -inverse_ik * inverse_jk,
        ];
        Self { psi: [at_i, at_j, at_k], slope }
    }
}
