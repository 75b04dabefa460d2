//! One map by itself, and what two maps have in common element by element.

use super::case::{Case, element};
use super::text::number;
use densekd_core::{DType, Tensor};
use rayon::prelude::*;
use serde::Serialize;

/// The largest finite number of `f16`.
const F16_MAX: f64 = 65504.0;

/// How many there are, and where the first stands.
///
/// ```
/// assert_eq!(densekd::doctor::Found::default().first, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How many.
    pub count: usize,
    /// `[n, c, y, x]` of the first in that order.
    pub first: Option<[usize; 4]>,
}

impl Found {
    fn note(&mut self, place: impl FnOnce() -> [usize; 4]) {
        self.count += 1;
        self.first.get_or_insert_with(place);
    }

    fn add(&mut self, next: Self) {
        self.count += next.count;
        self.first = self.first.or(next.first);
    }
}

/// What a map holds at the counted positions. Minimum to standard deviation are of the finite numbers, NaN
/// where there is none.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// assert_eq!((report.teacher.max, report.teacher.mean), (4.0, 1.75));
/// assert_eq!(report.student.constant_channels, [0]);
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Name of the stored type.
    pub dtype: &'static str,
    /// Counted elements.
    pub elements: usize,
    /// The smallest.
    #[serde(serialize_with = "number")]
    pub min: f64,
    /// The largest.
    #[serde(serialize_with = "number")]
    pub max: f64,
    /// Their mean.
    #[serde(serialize_with = "number")]
    pub mean: f64,
    /// Their standard deviation (of the population).
    #[serde(serialize_with = "number")]
    pub sd: f64,
    /// NaN.
    pub nan: Found,
    /// Positive infinities.
    pub plus_inf: Found,
    /// Negative infinities.
    pub minus_inf: Found,
    /// Numbers below the smallest normal one of their type, 0 excepted.
    pub subnormal: usize,
    /// 65504 / max |x|: below 1, a cast to `f16` gives infinities.
    #[serde(serialize_with = "number")]
    pub f16_headroom: f64,
    /// Channel maps (one for each image and channel) with several counted positions and the same number at all
    /// of them; the first as `[n, c, y, x]`.
    pub constant_maps: Found,
    /// Channels whose maps are constant in every image.
    pub constant_channels: Vec<usize>,
    /// Counted positions with the same number in all channels, where there are several.
    pub constant_pixels: usize,
}

/// What the two maps have in common.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// assert!(!report.common.identical);
/// assert_eq!(report.common.largest_difference, 1.0);
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Common {
    /// Whether all counted elements are equal.
    pub identical: bool,
    /// Elements that are -inf in both.
    pub minus_inf: Found,
    /// The largest difference of two finite elements.
    #[serde(serialize_with = "number")]
    pub largest_difference: f64,
}

/// A channel map, or several in a row.
#[derive(Clone, Copy, Default)]
struct Scan {
    elements: usize,
    nan: Found,
    plus_inf: Found,
    minus_inf: Found,
    subnormal: usize,
    finite: Moments,
    constant: bool,
}

/// Mean and spread, updated number by number: no sum that overflows, no difference of large squares.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Moments {
    fn push(&mut self, x: f64) {
        if self.count == 0.0 {
            (self.min, self.max) = (x, x);
        }
        self.count += 1.0;
        let off = x - self.mean;
        self.mean += off / self.count;
        self.squares += off * (x - self.mean);
        (self.min, self.max) = (self.min.min(x), self.max.max(x));
    }

    fn add(&mut self, next: Self) {
        if self.count == 0.0 || next.count == 0.0 {
            *self = if self.count == 0.0 { next } else { *self };
            return;
        }
        let count = self.count + next.count;
        let off = next.mean - self.mean;
        self.squares += next.squares + off * (self.count * next.count / count) * off;
        self.mean += off * (next.count / count);
        (self.min, self.max) = (self.min.min(next.min), self.max.max(next.max));
        self.count = count;
    }

    /// The number, or NaN where there was none.
    fn known(&self, x: f64) -> f64 {
        if self.count == 0.0 { f64::NAN } else { x }
    }
}

fn scan(case: Case<'_>, tensor: Tensor<'_>, map: usize) -> Scan {
    let least = match tensor.dtype() {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 2.0_f64.powi(-14),
        _ => f64::from(f32::MIN_POSITIVE),
    };
    let mut scan = Scan { constant: true, ..Scan::default() };
    let mut first = None;
    for (position, index) in case.map(map) {
        let x = element(tensor, index);
        let place = || case.place(map, position);
        scan.elements += 1;
        scan.constant &= *first.get_or_insert(x) == x;
        if x.is_finite() {
            scan.finite.push(x);
            scan.subnormal += usize::from(x != 0.0 && x.abs() < least);
        } else if x.is_nan() {
            scan.nan.note(place);
        } else if x > 0.0 {
            scan.plus_inf.note(place);
        } else {
            scan.minus_inf.note(place);
        }
    }
    // One position alone has no spread to lack.
    scan.constant &= scan.elements > 1;
    scan
}

impl Side {
    /// Of one of the case's maps. One read, spread over channel maps.
    pub(super) fn of(case: Case<'_>, tensor: Tensor<'_>) -> Self {
        let scans: Vec<Scan> = (0..case.maps()).into_par_iter().map(|map| scan(case, tensor, map)).collect();
        let (mut total, mut constant_maps) = (Scan::default(), Found::default());
        let channels = case.shape.channels();
        let mut constant = vec![true; channels];
        for (map, scan) in scans.iter().enumerate() {
            total.elements += scan.elements;
            total.nan.add(scan.nan);
            total.plus_inf.add(scan.plus_inf);
            total.minus_inf.add(scan.minus_inf);
            total.subnormal += scan.subnormal;
            total.finite.add(scan.finite);
            if scan.constant {
                constant_maps.note(|| case.place(map, 0));
            }
            // An image of which nothing counts says nothing about its channels.
            if let Some(constant) = constant.get_mut(map % channels).filter(|_| scan.elements > 0) {
                *constant &= scan.constant;
            }
        }
        let Moments { count, mean, squares, min, max, .. } = total.finite;
        let known = |x| total.finite.known(x);
        let all = |(channel, constant): (usize, bool)| constant.then_some(channel);
        Self {
            dtype: tensor.dtype().name(),
            elements: total.elements,
            min: known(min),
            max: known(max),
            mean: known(mean),
            sd: known((squares / count).sqrt()),
            nan: total.nan,
            plus_inf: total.plus_inf,
            minus_inf: total.minus_inf,
            subnormal: total.subnormal,
            f16_headroom: known(F16_MAX / min.abs().max(max.abs())),
            constant_channels: if constant_maps.count == 0 {
                Vec::new()
            } else {
                constant.into_iter().enumerate().filter_map(all).collect()
            },
            constant_maps,
            constant_pixels: constant_pixels(case, tensor),
        }
    }

    /// The largest finite |x|.
    pub(super) fn largest(&self) -> f64 {
        self.min.abs().max(self.max.abs())
    }
}

/// Most pixels differ between their first two channels, so that this reads little.
fn constant_pixels(case: Case<'_>, tensor: Tensor<'_>) -> usize {
    let (c, m) = (case.shape.channels(), case.shape.positions());
    if c == 1 {
        return 0;
    }
    let constant = |&pixel: &usize| {
        let at = |channel| element(tensor, case.index(pixel / m, channel, pixel % m));
        case.mask.counts(pixel) && (1..c).all(|channel| at(channel) == at(0))
    };
    (0..case.shape.images() * m).into_par_iter().filter(constant).count()
}

impl Common {
    /// Of the case's two maps. One read of both.
    pub(super) fn of(case: Case<'_>) -> Self {
        let one = |map: usize| {
            let mut common = Self { identical: true, minus_inf: Found::default(), largest_difference: 0.0 };
            for (position, index) in case.map(map) {
                let (t, s) = (element(case.teacher, index), element(case.student, index));
                common.identical &= t == s;
                if t.is_finite() && s.is_finite() {
                    common.largest_difference = common.largest_difference.max((t - s).abs());
                } else if t == f64::NEG_INFINITY && s == t {
                    common.minus_inf.note(|| case.place(map, position));
                }
            }
            common
        };
        let all: Vec<Self> = (0..case.maps()).into_par_iter().map(one).collect();
        let start = Self { identical: true, minus_inf: Found::default(), largest_difference: 0.0 };
        all.into_iter().fold(start, |mut total, next| {
            total.identical &= next.identical;
            total.minus_inf.add(next.minus_inf);
            total.largest_difference = total.largest_difference.max(next.largest_difference);
            total
        })
    }
}
