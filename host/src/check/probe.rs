//! Values of perturbed copies in `f64`, row by row.

use super::grid::{RowGrid, element, reach};
use super::ladder::{Difference, Ladder, Rung, STEPS};
use crate::backend::{Backend, BackendError, Submission};
use densekd_core::{
    DType, Divergence, Divisor, Ignore, Mask, Norm, Order, Plan, Recipe, RowOptions, Samples, Shape, Tensor,
    Weight,
};

/// Elements that are copied at a time: 8 MiB of teacher and of student.
const CHUNK: usize = 1 << 20;

/// An entry to be perturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) row: usize,
    pub(super) entry: usize,
    pub(super) flat: usize,
}

/// What is perturbed.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) plan: &'a Plan,
    pub(super) teacher: Tensor<'a>,
    pub(super) student: Tensor<'a>,
    pub(super) mask: Mask<'a>,
    pub(super) rows: RowGrid,
}

impl Probe<'_> {
    /// The derivative of the sum over rows by each of the entries; none where a value is not finite.
    pub(super) fn differences(&self, places: &[Place]) -> Result<Vec<Option<Difference>>, BackendError> {
        if self.plan.is_upsampled() {
            return self.enlarged(places);
        }
        let at_once = (CHUNK / self.rows.row_len()).max(1);
        let mut differences = Vec::with_capacity(places.len());
        for places in places.chunks(at_once) {
            differences.extend(self.gathered(places)?);
        }
        Ok(differences)
    }

    /// The recipe whose rows' values are taken: without scale and divisor, and without what does not depend on
    /// the student, since the teacher's entropy would cost the cross-entropy's differences their digits.
    fn recipe(&self) -> Result<Recipe, BackendError> {
        let options = *self.plan.recipe().options();
        let divergence = match options.divergence {
            Divergence::Ce => Divergence::Kl,
            other => other,
        };
        Ok(Recipe::new(RowOptions {
            divergence,
            divisor: Divisor::Sum,
            divisor_channels: None,
            tau_square: false,
            weight: Weight::ONE,
            samples: Samples::All,
            ..options
        })?)
    }

    /// A copy of its row for each entry, so that all are perturbed at once.
    fn gathered(&self, places: &[Place]) -> Result<Vec<Option<Difference>>, BackendError> {
        let length = self.rows.row_len();
        let copy = |tensor: Tensor<'_>| -> Vec<f64> {
            let one = |place: &Place| {
                let row = place.row;
                (0..length).map(move |entry| element(tensor, self.rows.element(row, entry)))
            };
            places.iter().flat_map(one).collect()
        };
        let (shape, order) = if self.rows.rows_are_positions() {
            (Shape::new([1, length, 1, places.len()])?, Order::Nhwc)
        } else {
            (Shape::new([places.len(), 1, 1, length])?, Order::Nchw)
        };
        let plan = Plan::new(self.recipe()?, shape, order)?;
        let positions = if self.rows.rows_are_positions() { 1 } else { length };
        let counts = |&Place { row, .. }: &Place| {
            (0..positions).map(move |entry| u8::from(self.mask.counts(self.rows.position(row, entry).1)))
        };
        let counted: Option<Vec<u8>> =
            (!self.mask.is_all()).then(|| places.iter().flat_map(counts).collect());
        let teacher = copy(self.teacher);
        let moved = places.iter().enumerate().map(|(i, place)| i * length + place.entry).collect();
        let mut copies = Copies {
            backend: self.backend,
            plan: &plan,
            teacher: &teacher,
            student: copy(self.student),
            mask: Mask::new(shape, None, counted.as_deref())?,
            moved,
        };
        // Copy i of a row is row i, in either of the two shapes.
        let mut differences = copies.differences(std::iter::once, self.unit_factor())?;
        // A row all of whose terms are dropped has value 0 wherever the student stands.
        if let Some(counted) = &counted {
            let dropped = counted.chunks(positions).map(|row| !row.contains(&1));
            for (difference, dropped) in differences.iter_mut().zip(dropped) {
                *difference = difference.map(|found| if dropped { Difference::ZERO } else { found });
            }
        }
        Ok(differences)
    }

    /// What a step is measured by, where the value is of moderate size: the logits' own unit for a softmax.
    fn unit_factor(&self) -> f64 {
        let options = self.plan.recipe().options();
        match options.norm {
            Norm::None => 1.0,
            // One entry moves the mean by 1/L of itself.
            Norm::ChannelMean => options.tau.get() * float(self.rows.row_len()),
            Norm::Channel | Norm::Spatial => options.tau.get(),
        }
    }

    /// Whole images, since an entry takes part in many rows of the enlarged map; entries that share none are
    /// perturbed together.
    fn enlarged(&self, places: &[Place]) -> Result<Vec<Option<Difference>>, BackendError> {
        let [_, c, h, w] = self.plan.shape().dims();
        let plan = Plan::new(self.recipe()?, Shape::new([1, c, h, w])?, self.plan.order())?;
        let [_, _, tall, wide] = plan.counted_shape().dims();
        let mut found = vec![None; places.len()];
        let mut open: Vec<usize> = (0..places.len()).collect();
        while let Some(&first) = open.first() {
            let at = |i: usize| places.get(i).map(|place| self.rows.grid().index(place.flat));
            let image = at(first).map_or(0, |[n, ..]| n);
            let mut round: Vec<usize> = Vec::new();
            for &i in &open {
                let apart = |j: usize| match (at(i), at(j)) {
                    (Some([_, _, y, x]), Some([_, _, v, u])) => y.abs_diff(v) > 2 || x.abs_diff(u) > 2,
                    _ => false,
                };
                if at(i).is_some_and(|[n, ..]| n == image) && round.iter().all(|&j| apart(j)) {
                    round.push(i);
                }
            }
            open.retain(|i| !round.contains(i));
            let elements = c * h * w;
            let copy = |tensor: Tensor<'_>| -> Vec<f64> {
                (image * elements..(image + 1) * elements).map(|flat| element(tensor, flat)).collect()
            };
            let teacher = copy(self.teacher);
            let flat = |&i: &usize| places.get(i).map_or(0, |place| place.flat - image * elements);
            let mut copies = Copies {
                backend: self.backend,
                plan: &plan,
                teacher: &teacher,
                student: copy(self.student),
                mask: Mask::ALL,
                moved: round.iter().map(flat).collect(),
            };
            let rows_of = |k: usize| {
                let [_, _, y, x] = round.get(k).and_then(|&i| at(i)).unwrap_or_default();
                let (across, down) = (reach(x, w, wide), reach(y, h, tall));
                down.flat_map(move |y| across.clone().map(move |x| y * wide + x))
            };
            let differences = copies.differences(rows_of, self.unit_factor())?;
            for (i, difference) in round.iter().zip(differences) {
                if let Some(to) = found.get_mut(*i) {
                    *to = difference;
                }
            }
        }
        Ok(found)
    }
}

/// Relative error of a row's value in `f64`: some hundred units in the last place.
const VALUE_ERROR: f64 = 1e-13;

/// How far a row's value may be off.
#[derive(Clone, Copy, Default)]
struct Noise {
    /// As a share of the value.
    share: f64,
    /// As a share of the differences of the logits.
    signed: f64,
    /// Those differences.
    apart: f64,
}

/// The distance of the largest finite number from the smallest.
fn range(numbers: impl Iterator<Item = f64>) -> f64 {
    let extent = |(least, most): (f64, f64), x: f64| (least.min(x), most.max(x));
    let (least, most) = numbers.filter(|x| x.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), extent);
    (most - least).max(0.0)
}

/// Perturbed copies of rows.
struct Copies<'a> {
    backend: &'a dyn Backend,
    plan: &'a Plan,
    teacher: &'a [f64],
    student: Vec<f64>,
    mask: Mask<'a>,
    /// Which elements of the copy are moved.
    moved: Vec<usize>,
}

impl Copies<'_> {
    /// Climbs down the ladder with all moved elements at once; `rows_of` says whose values an element is in.
    fn differences<I: Iterator<Item = usize>>(
        &mut self,
        rows_of: impl Fn(usize) -> I,
        unit_factor: f64,
    ) -> Result<Vec<Option<Difference>>, BackendError> {
        self.backend.capability(self.plan, DType::F64, DType::F64)?;
        let start = self.values()?;
        let centres: Vec<f64> = self.moved.iter().map(|&i| get(&self.student, i)).collect();
        let sizes: Vec<f64> = (0..self.moved.len())
            .map(|k| rows_of(k).map(|row| get(&start, row).abs()).sum::<f64>())
            .collect();
        let finite: Vec<bool> = sizes.iter().map(|size| size.is_finite()).collect();
        // Where a value is huge its differences drown unless the step grows with it. A power of two, so that most
        // steps are exact.
        let unit = |size: &f64| (unit_factor * (size / 65536.0).max(1.0)).log2().floor().exp2();
        let units: Vec<f64> = sizes.iter().map(unit).collect();
        let noises = self.noise(&rows_of);
        let mut ladders = vec![Ladder::new(); self.moved.len()];
        for step in 1..=STEPS {
            let (above, plus) = self.perturbed(&centres, &units, 0.25_f64.powi(step))?;
            let (below, minus) = self.perturbed(&centres, &units, -(0.25_f64.powi(step)))?;
            for (k, (ladder, (above, below))) in ladders.iter_mut().zip(above.iter().zip(&below)).enumerate()
            {
                let mut rung = Rung { distance: above - below, ..Rung::default() };
                let (noise, centre) = (get_noise(&noises, k), get(&centres, k));
                for row in rows_of(k) {
                    let (plus, minus) = (get(&plus, row), get(&minus, row));
                    rung.difference += plus - minus;
                    rung.noise += noise.share * (plus.abs() + minus.abs());
                    rung.noise += noise.signed * (noise.apart + rung.distance);
                    rung.second += plus + minus - 2.0 * get(&start, row);
                }
                // Where a step was rounded the two sides differ, and the curvature shows in the difference.
                rung.difference -= 2.0 * rung.second * ((above - centre) - (centre - below)) / rung.distance;
                ladder.push(rung);
            }
        }
        let interpolated = self.interpolated();
        let found = ladders.iter().zip(&centres).zip(finite);
        Ok(found
            .map(|((ladder, &centre), finite)| match (finite, centre == f64::NEG_INFINITY) {
                (false, _) => None,
                // Such an entry has probability 0, and keeps it.
                (true, true) => Some(Difference::ZERO),
                (true, false) => ladder.difference().map(|difference| Difference {
                    error: difference.error + difference.curvature * interpolated,
                    ..difference
                }),
            })
            .collect())
    }

    /// How far the values of the rows may be off: a share of each, and as much in any case.
    ///
    /// Values without cancellation are good to some hundred units in the last place, and to a unit for each bit
    /// of the exponents' size. With an epsilon or a mask in the softmax, terms of either sign of the size of
    /// the logits' differences make up a value that may be much smaller.
    fn noise<I: Iterator<Item = usize>>(&self, rows_of: impl Fn(usize) -> I) -> Vec<Noise> {
        let options = self.plan.recipe().options();
        let signed = options.eps.get() > 0.0 || options.ignore == Ignore::After;
        let softmax = matches!(options.norm, Norm::Channel | Norm::Spatial);
        let (length, tau) = (self.plan.row_len(), options.tau.get());
        let whole = self.plan.is_upsampled();
        (0..self.moved.len())
            .map(|k| {
                let row = |numbers: &'_ [f64]| -> Vec<f64> {
                    let first = rows_of(k).next().unwrap_or(0) * length;
                    let part = if whole { 0..numbers.len() } else { first..first + length };
                    numbers.get(part).unwrap_or_default().to_vec()
                };
                let (teacher, student) = (row(self.teacher), row(&self.student));
                let exponents = range(teacher.iter().copied()).max(range(student.iter().copied())) / tau;
                let apart = range(teacher.iter().zip(&student).map(|(t, s)| t - s));
                Noise {
                    share: VALUE_ERROR + if softmax { 4.0 * f64::EPSILON * exponents } else { 0.0 },
                    signed: if signed { 4.0 * f64::EPSILON * (1.0 + exponents) / tau } else { 0.0 },
                    apart,
                }
            })
            .collect()
    }

    /// How far an interpolated logit may be off by rounding: the slope is off by so much of the curvature, and
    /// by more where the entry's weights in the rows are small, since the curvature has them squared.
    fn interpolated(&self) -> f64 {
        if !self.plan.is_upsampled() {
            return 0.0;
        }
        let size =
            |numbers: &[f64]| numbers.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max);
        256.0 * f64::EPSILON * size(self.teacher).max(size(&self.student))
    }

    /// Where the moved elements stand after a step, and the rows' values there; the elements go back.
    fn perturbed(
        &mut self,
        centres: &[f64],
        units: &[f64],
        step: f64,
    ) -> Result<(Vec<f64>, Vec<f64>), BackendError> {
        let moved: Vec<f64> = centres.iter().zip(units).map(|(centre, unit)| centre + unit * step).collect();
        self.put(&moved);
        let values = self.values();
        self.put(centres);
        Ok((moved, values?))
    }

    fn put(&mut self, numbers: &[f64]) {
        for (&i, &number) in self.moved.iter().zip(numbers) {
            if let Some(to) = self.student.get_mut(i) {
                *to = number;
            }
        }
    }

    fn values(&self) -> Result<Vec<f64>, BackendError> {
        let mut values = vec![0.0; self.plan.rows()];
        self.backend.submit(Submission {
            mask: self.mask,
            row_values: Some(&mut values),
            ..Submission::new(self.plan, self.teacher, self.student.as_slice())
        })?;
        self.backend.synchronise()?;
        Ok(values)
    }
}

fn get_noise(noises: &[Noise], i: usize) -> Noise {
    noises.get(i).copied().unwrap_or_default()
}

fn get(values: &[f64], i: usize) -> f64 {
    values.get(i).copied().unwrap_or(f64::NAN)
}

/// A count as a number.
#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
fn float(count: usize) -> f64 {
    count as f64
}
