//! Positions as samples and channels as classes: what losses of a softmax over channels share.

use super::{Labels, Maps};
use crate::arithmetic::Arithmetic as _;
use crate::{Error, Mask, Shape};
use core::ops::Range;

/// A range of the N H W positions in spans of one image each, of at most so many positions: channels are read span by
/// span, so that either memory order is read as it lies.
pub(crate) fn spans(
    shape: Shape,
    range: Range<usize>,
    most: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let m = shape.positions().max(1);
    let mut from = range.start;
    core::iter::from_fn(move || {
        let left = range.end.checked_sub(from).filter(|&left| left > 0)?;
        let (n, start) = (from / m, from % m);
        let len = left.min(m - start).min(most);
        from += len;
        Some((n, start..start + len))
    })
}

/// log sum e^(x / tau), entry by entry in one sweep. Logits go in as they stand; inside they are quarters, so that
/// no difference of two overflows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSumExp {
    /// The largest logit so far, in quarters.
    pub(crate) top: f64,
    /// The sum in units of the largest term: 0 for an empty sum, else at least 1; NaN after NaN or +inf.
    pub(crate) sum: f64,
}

impl LogSumExp {
    pub(crate) const EMPTY: Self = Self { top: f64::NEG_INFINITY, sum: 0.0 };

    /// Adds an entry; one of -inf adds nothing. `scale` is 4 / tau throughout.
    #[inline(always)]
    pub(crate) fn add(&mut self, scale: f64, x: f64) {
        let x = x * 0.25;
        if x > self.top {
            // From an empty sum, e^-inf of it is 0 of 0.
            self.sum =
                if self.sum == 0.0 { 1.0 } else { self.sum * ((self.top - x) * scale).exp_fast() + 1.0 };
            self.top = x;
            if x == f64::INFINITY {
                self.sum = f64::NAN;
            }
        } else if x.is_nan() {
            self.sum = x;
        } else if x > f64::NEG_INFINITY {
            self.sum += ((x - self.top) * scale).exp_fast();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sum == 0.0
    }

    /// The softmax at one of the entries.
    #[inline(always)]
    pub(crate) fn share(&self, scale: f64, x: f64) -> f64 {
        if x == f64::NEG_INFINITY { 0.0 } else { ((x * 0.25 - self.top) * scale).exp_fast() / self.sum }
    }

    /// The logarithm of e^(x / tau) over the sum, for an x that is no part of it.
    pub(crate) fn log_odds(&self, scale: f64, x: f64) -> f64 {
        if x == f64::NEG_INFINITY {
            x
        } else if self.is_empty() {
            f64::INFINITY
        } else {
            (x * 0.25 - self.top) * scale - libm::log(self.sum)
        }
    }
}

/// The class of every position, at the map's own resolution.
#[derive(Clone, Copy)]
pub(crate) struct Targets<'a> {
    labels: Option<Labels<'a>>,
    mask: Mask<'a>,
    ignore_index: i64,
}

impl<'a> Targets<'a> {
    /// Those of maps that were checked.
    pub(crate) const fn of(maps: &Maps<'a>, ignore_index: i64) -> Self {
        Self { labels: maps.labels, mask: maps.mask, ignore_index }
    }

    /// Checks that there is a label for every position, and that those of counted positions are classes.
    pub(crate) fn checked(maps: &Maps<'a>, ignore_index: i64) -> Result<Self, Error> {
        let shape = maps.student.shape();
        let Some(labels) = maps.labels else { return Err(Error::LabelsMissing) };
        let ([_, classes, _, w], [_, width]) = (shape.dims(), labels.size());
        let lengths = [
            ("labels", labels.data().len(), shape.images() * shape.positions()),
            ("a row of labels", width, w),
        ];
        for (buffer, found, wanted) in lengths {
            if found != wanted {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        let targets = Self::of(maps, ignore_index);
        for (position, &found) in labels.data().iter().enumerate() {
            let class = usize::try_from(found).is_ok_and(|class| class < classes);
            if !class && targets.counts(position, found) {
                return Err(Error::Label { found, position, classes });
            }
        }
        Ok(targets)
    }

    fn counts(&self, position: usize, label: i64) -> bool {
        label != self.ignore_index && self.mask.counts(position)
    }

    /// The class of one of the N H W positions; none where it is ignored.
    pub(crate) fn at(&self, position: usize) -> Option<usize> {
        let label = *self.labels.as_ref()?.data().get(position)?;
        if self.counts(position, label) { usize::try_from(label).ok() } else { None }
    }

    /// How many positions count.
    pub(crate) fn count(&self) -> usize {
        let positions = self.labels.map_or(0, |labels| labels.data().len());
        (0..positions).filter(|&position| self.at(position).is_some()).count()
    }
}
