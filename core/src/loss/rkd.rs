//! Relations between images (RKD): distances and angles within a batch.
//!
//! `u_i` is image i's C H W numbers, with `normalize` over max(|x|, 1e-12).
//!
//! ```text
//! h(d) = d^2/2 for |d| < 1, else |d| - 1/2
//! D_ij = sqrt(max(|u_i - u_j|^2, 1e-12)), 0 for i = j      mu = their mean over i != j
//! e_ij = (u_j - u_i) / |u_j - u_i|, 0 where they coincide      psi_ijk = <e_ij, e_ik>
//! loss = weight * (distance / N^2 * sum_ij h(D_s/mu_s - D_t/mu_t) + angle / N^3 * sum_ijk h(psi_s - psi_t))
//! ```
//!
//! Both maps `[N, C, H, W]`. Source: arXiv 1904.05068. Cost: each map is read once for norms and N times, piece by
//! piece, for distances; N^3 angles; the gradient of an image reads its piece of all N. State: 6 N^2 + 9 N + 1 numbers.
//!
//! # All from squared distances
//! `Q_ij = |u_i - u_j|^2` is summed from the differences. With `I_ij = 1/sqrt(Q_ij)`, 0 where they coincide, the cosine
//! rule gives the angles without the images; an edge much shorter than another loses the digits of their ratio:
//!
//! ```text
//! psi_ijk = (Q_ij + Q_ik - Q_jk) I_ij I_ik / 2
//! ```
//!
//! # Gradient
//! The sum L is a function of Q alone, and `dQ_ij/du_i = 2 (u_i - u_j)`. Over both orders of each pair:
//!
//! ```text
//! dL/du_i = sum_j c_ij (u_i - u_j)                   c_ij = c_ji = 2 (dL/dQ_ij + dL/dQ_ji)
//! dL/dD_ij = h'/(mu N^2) - (sum h' D)/(mu^2 N (N-1) N^2)      dD_ij/dQ_ij = 1/(2 D_ij), 0 where clamped
//! dpsi_ijk/dQ_ij = I_ij (I_ik - psi I_ij) / 2, dQ_ik likewise      dpsi_ijk/dQ_jk = -I_ij I_ik / 2
//! ```
//!
//! An edge that is 0 takes nothing; for j = k psi is 1 whatever the images are. So `c_ij` is 2 dL/dD / D of the
//! distances and, of the angles, the sum over k of the triangle's three corners, each in both orders of its edges.
//!
//! With `normalize` the way from u to x takes no more than the same Q, and the gradient at a piece of image i the same
//! piece of each image and N + 2 numbers:
//!
//! ```text
//! dx = (du - u <u, du>) / |x| where |x| > 1e-12, else du / 1e-12
//! <u_i, du_i> = sum_j c_ij <u_i, u_i - u_j> = sum_j c_ij (Q_ij + |u_i|^2 - |u_j|^2) / 2
//! ```

mod edges;
mod numbers;

use self::edges::{CLAMP, Edges, Length, Triangle, difference, distance, smooth_l1};
use super::About;
use crate::loss::{MapOptions, Options};
use crate::map::{At, Executor, Explain, Formula, Maps, Measured, Shapes, Side, View, real};
use crate::normalize::UnitLength;
use crate::options::options;
use crate::{Epsilon, Error, Preset, Weight};
use core::fmt;

options! {
    /// Options of the relations between images.
    ///
    /// ```
    /// use densekd_core::RkdOptions;
    /// assert_eq!(RkdOptions::DEFAULT.angle_weight.get(), 50.0);
    /// ```
    RkdOptions {
        /// Bring every image to unit length first.
        normalize: bool = true,
        /// Weight of the distances.
        distance_weight: Weight = Weight::literal(25.0),
        /// Weight of the angles.
        angle_weight: Weight = Weight::literal(50.0),
        /// Multiplies value and gradient.
        weight: Weight = Weight::ONE,
    }
}

/// The smallest norm that an image is divided by.
const NORM: Epsilon = Epsilon::literal(1e-12);

/// The state in its parts: the value; of every image and side a [`Length`], of every image and side Q and I to all
/// images, and of every image c to all images and <u, du> of both sides, and its part of the value.
struct Parts<S> {
    value: S,
    lengths: S,
    distances: S,
    coefficients: S,
}

/// Where the parts and their entries stand.
#[derive(Clone, Copy)]
struct Plan {
    images: usize,
}

impl Plan {
    const LENGTH_ROW: usize = 2 * Length::LEN;

    const fn distance_row(self) -> usize {
        4 * self.images
    }

    const fn coefficient_row(self) -> usize {
        2 * (self.images + 1) + 1
    }

    const fn len(self) -> usize {
        1 + self.images * (Self::LENGTH_ROW + self.distance_row() + self.coefficient_row())
    }

    fn parts(self, state: &[f64]) -> Parts<&[f64]> {
        let (value, rest) = state.split_at(1.min(state.len()));
        let (lengths, rest) = rest.split_at((self.images * Self::LENGTH_ROW).min(rest.len()));
        let (distances, coefficients) = rest.split_at((self.images * self.distance_row()).min(rest.len()));
        Parts { value, lengths, distances, coefficients }
    }

    fn parts_mut(self, state: &mut [f64]) -> Parts<&mut [f64]> {
        let (value, rest) = state.split_at_mut(1.min(state.len()));
        let (lengths, rest) = rest.split_at_mut((self.images * Self::LENGTH_ROW).min(rest.len()));
        let (distances, coefficients) =
            rest.split_at_mut((self.images * self.distance_row()).min(rest.len()));
        Parts { value, lengths, distances, coefficients }
    }

    fn length(lengths: &[f64], i: usize, side: usize) -> Length {
        Length::read(lengths.get((2 * i + side) * Length::LEN..).unwrap_or_default())
    }

    /// Q and I of a side from an image to all.
    fn edges(self, distances: &[f64], i: usize, side: usize) -> Edges<'_> {
        let from = (4 * i + 2 * side) * self.images;
        let both = distances.get(from..from + 2 * self.images).unwrap_or_default();
        let (squares, inverses) = both.split_at(self.images.min(both.len()));
        Edges { squares, inverses }
    }
}

/// What every distance of a side is measured by.
#[derive(Clone, Copy)]
struct Unit {
    /// 1/mu.
    inverse: f64,
    /// (sum h' D) / (mu^2 N (N-1)).
    shared: f64,
}

impl RkdOptions {
    pub(crate) const ABOUT: About = About {
        name: "rkd",
        summary: "relations between images: distances over their mean, and angles",
        source: "arXiv 1904.05068",
    };

    pub(crate) const PRESETS: &[Preset] = &[
        Preset {
            name: "mmrazor-rkd",
            options: Options::Map(MapOptions::Rkd(RkdOptions::DEFAULT)),
            repository: "open-mmlab/mmrazor",
            source: "mmrazor/models/losses/relational_kd.py",
        },
        Preset {
            name: "mdistiller-rkd",
            options: Options::Map(MapOptions::Rkd(RkdOptions { normalize: false, ..RkdOptions::DEFAULT })),
            repository: "megvii-research/mdistiller",
            source: "mdistiller/distillers/RKD.py, mdistiller/engine/cfg.py",
        },
    ];

    fn length(&self, view: View<'_>, n: usize) -> Length {
        let norm = libm::sqrt(numbers::square(view, n));
        if !norm.is_finite() {
            return Length { inverse: f64::NAN, square: norm, radial: 0.0 };
        }
        if self.normalize {
            Length::new(UnitLength::at_least(NORM).of(norm), norm)
        } else {
            Length { inverse: 1.0, square: 0.0, radial: 0.0 }
        }
    }

    /// The means of both sides' distances.
    fn units(plan: Plan, distances: &[f64]) -> [Unit; 2] {
        let images = plan.images;
        let pairs = real(images) * (real(images) - 1.0);
        let all = |side| {
            let from =
                move |i| plan.edges(distances, i, side).all().enumerate().filter(move |&(j, _)| j != i);
            (0..images).flat_map(from).map(|(_, (square, _))| square)
        };
        let inverses = [0, 1].map(|side| pairs / all(side).map(distance).sum::<f64>());
        let [of_t, of_s] = inverses;
        let sums = all(0).zip(all(1)).fold([0.0; 2], |[t, s], (of_pair_t, of_pair_s)| {
            let (_, slope) = smooth_l1(difference([of_pair_s, of_pair_t], [of_s, of_t]));
            [t - slope * distance(of_pair_t), s + slope * distance(of_pair_s)]
        });
        let [sum_t, sum_s] = sums;
        [(of_t, sum_t), (of_s, sum_s)]
            .map(|(inverse, sum)| Unit { inverse, shared: sum * inverse * inverse / pairs })
    }

    /// An image's part of the value, and its coefficients of both sides.
    fn image(&self, plan: Plan, i: usize, distances: &[f64], units: [Unit; 2], c: [&mut [f64]; 2]) -> f64 {
        let images = real(plan.images);
        let (per_pair, per_angle) = (
            self.distance_weight.get() / (images * images),
            self.angle_weight.get() / (images * images * images),
        );
        let (from_t, from_s) = (plan.edges(distances, i, 0), plan.edges(distances, i, 1));
        let [c_t, c_s] = c;
        let mut value = 0.0;
        for (j, (c_t, c_s)) in c_t.iter_mut().zip(c_s).enumerate().filter(|&(j, _)| j != i) {
            let (ij_t, ij_s) = (from_t.to(j), from_s.to(j));
            let [unit_t, unit_s] = units;
            let (d_t, d_s) = (distance(ij_t.0), distance(ij_s.0));
            let apart = difference([ij_s.0, ij_t.0], [unit_s.inverse, unit_t.inverse]);
            let (term, slope) = smooth_l1(apart);
            value += per_pair * term;
            let of_distance = |slope: f64, unit: Unit, (square, _): (f64, f64), d: f64| {
                if square < CLAMP { 0.0 } else { 2.0 * per_pair * (slope * unit.inverse - unit.shared) / d }
            };
            let (mut angles, mut sums) = (0.0, [0.0; 2]);
            let third = from_t.all().zip(plan.edges(distances, j, 0).all());
            let third = third.zip(from_s.all().zip(plan.edges(distances, j, 1).all()));
            for (k, ((ik_t, jk_t), (ik_s, jk_s))) in third.enumerate().filter(|&(k, _)| k != i) {
                if k == j {
                    // An edge with itself: 1, or 0 where it has no direction.
                    angles += smooth_l1(f64::from(ij_s.1 > 0.0) - f64::from(ij_t.1 > 0.0)).0;
                    continue;
                }
                let (t, s) = (Triangle::new(ij_t, ik_t, jk_t), Triangle::new(ij_s, ik_s, jk_s));
                let [at_i_t, at_j_t, at_k_t] = t.psi;
                let [at_i_s, at_j_s, at_k_s] = s.psi;
                let [at_i, at_j, at_k] = [at_i_s - at_i_t, at_j_s - at_j_t, at_k_s - at_k_t].map(smooth_l1);
                angles += at_i.0;
                let slopes = [at_i.1, at_j.1, at_k.1];
                let dot = |of: [f64; 3]| slopes.iter().zip(of).map(|(a, b)| a * b).sum::<f64>();
                let [sum_t, sum_s] = sums;
                sums = [sum_t - dot(t.slope), sum_s + dot(s.slope)];
            }
            value += per_angle * angles;
            let [sum_t, sum_s] = sums;
            *c_t = of_distance(-slope, unit_t, ij_t, d_t) + 2.0 * per_angle * sum_t;
            *c_s = of_distance(slope, unit_s, ij_s, d_s) + 2.0 * per_angle * sum_s;
        }
        value
    }
}

const fn index(side: Side) -> usize {
    match side {
        Side::Teacher => 0,
        Side::Student => 1,
    }
}

impl Formula for RkdOptions {
    fn scale(&self) -> f64 {
        self.weight.get()
    }

    fn check(&self, shapes: &Shapes) -> Result<(), Error> {
        shapes.same()
    }

    fn state(&self, shapes: &Shapes) -> usize {
        Plan { images: shapes.student.images() }.len()
    }

    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error> {
        let images = maps.student.shape().images();
        let plan = Plan { images };
        let Parts { value, lengths, distances, coefficients } = plan.parts_mut(state);
        on.chunks(lengths, Plan::LENGTH_ROW, &|i, row| {
            for (view, to) in [maps.teacher, maps.student].into_iter().zip(row.chunks_mut(Length::LEN)) {
                self.length(view, i).write(to);
            }
        });
        let lengths = &*lengths;
        on.chunks(distances, plan.distance_row(), &|i, row| {
            for (side, to) in row.chunks_mut((2 * images).max(1)).enumerate() {
                let view = if side == 0 { maps.teacher } else { maps.student };
                let inverse = |j| Plan::length(lengths, j, side).inverse;
                numbers::squares(view, i, inverse, to.get_mut(..images).unwrap_or_default());
            }
        });
        for (i, side) in (0..images).flat_map(|i| [(i, 0), (i, 1)]) {
            for j in 0..images {
                // Each pair was measured from its first image.
                let (square, _) = plan.edges(distances, i.min(j), side).to(i.max(j));
                let inverse = if square == 0.0 { 0.0 } else { 1.0 / libm::sqrt(square) };
                let at = (4 * i + 2 * side) * images + j;
                for (to, number) in [(at, square), (at + images, inverse)] {
                    if let Some(to) = distances.get_mut(to) {
                        *to = number;
                    }
                }
            }
        }
        let distances = &*distances;
        let units =
            if images > 1 { Self::units(plan, distances) } else { [Unit { inverse: 0.0, shared: 0.0 }; 2] };
        on.chunks(coefficients, plan.coefficient_row(), &|i, row| {
            row.fill(0.0);
            let (c, rest) = row.split_at_mut((2 * images).min(row.len()));
            let (c_t, c_s) = c.split_at_mut(images.min(c.len()));
            let value = self.image(plan, i, distances, units, [&mut *c_t, &mut *c_s]);
            let along = |side: usize, c: &[f64]| {
                let here = Plan::length(lengths, i, side);
                let squares = plan.edges(distances, i, side).squares.iter().enumerate();
                let terms = c.iter().zip(squares).map(|(c, (j, square))| {
                    c * (square + (here.square - Plan::length(lengths, j, side).square)) * 0.5
                });
                here.radial * terms.sum::<f64>()
            };
            let finite = [0, 1].iter().all(|&side| Plan::length(lengths, i, side).inverse.is_finite());
            let from = [along(0, c_t), along(1, c_s), if finite { value } else { f64::NAN }];
            rest.iter_mut().zip(from).for_each(|(to, from)| *to = from);
        });
        let sum = coefficients.chunks(plan.coefficient_row()).filter_map(<[f64]>::last).sum();
        value.fill(sum);
        Ok(Measured { sum, divisor: 1.0 })
    }

    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]) {
        let images = maps.student.shape().images();
        let plan = Plan { images };
        let Parts { value, lengths, coefficients, .. } = plan.parts(state);
        if value.first().is_none_or(|value| value.is_nan()) {
            out.fill(f64::NAN);
            return;
        }
        let (view, side) = (maps.of(at.side), index(at.side));
        let row = coefficients.get(at.n * plan.coefficient_row()..).unwrap_or_default();
        let along = row.get(2 * images + side).copied().unwrap_or(f64::NAN);
        let c = row.get(side * images..(side + 1) * images).unwrap_or_default();
        let inverse = |j| Plan::length(lengths, j, side).inverse;
        let of = |j| [inverse(j), c.get(j).copied().unwrap_or(f64::NAN)];
        numbers::away(view, at, along, of, out);
        let here = inverse(at.n);
        for out in out {
            *out *= here;
        }
    }
}

impl Explain for RkdOptions {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.normalize {
            writeln!(f, "u_i = x_i / max(|x_i|, {:e})  of each image's C H W numbers", NORM.get())?;
        } else {
            writeln!(f, "u_i = each image's C H W numbers")?;
        }
        writeln!(
            f,
            "D_ij = max(|u_i - u_j|, 1e-6) / their mean over i != j,  h(d) = d^2 / 2 up to 1, then |d| - 1/2"
        )?;
        writeln!(f, "psi_ijk = <e_ij, e_ik>,  e_ij = (u_j - u_i) / |u_j - u_i|")?;
        let (distances, angles) = (self.distance_weight.get(), self.angle_weight.get());
        write!(f, "loss = {} * ({distances} / N^2 * sum_ij h(D_s - D_t)", self.weight.get())?;
        write!(f, " + {angles} / N^3 * sum_ijk h(psi_s - psi_t))")
    }
}
