//! Rows of an enlarged map that is never stored: bilinear interpolation with aligned corners on the way in,
//! its transpose on the way out.

use crate::access::{Load, Place, Sink, with_reader};
use crate::call::{Inputs, KeptStatistics, Outputs, Partial, RunJob};
use crate::engine::Rows;
use crate::plan::Plan;
use crate::shape::Order;
use core::ops::Range;

/// Where an enlarged position's four neighbours stand in the map, and their weights.
struct Corners {
    cells: [(usize, f64); 4],
}

/// The geometry of a plan's enlargement.
#[derive(Clone, Copy)]
struct Grid<'a> {
    plan: &'a Plan,
}

impl Grid<'_> {
    /// The image of a row and the corners of its position.
    fn corners(self, row: usize) -> (usize, Corners) {
        let [_, _, h, w] = self.plan.shape().dims();
        let enlarged = self.plan.counted_shape();
        let [_, _, _, wide] = enlarged.dims();
        let image = enlarged.image_of(row, self.plan.rows());
        let position = row - image * enlarged.positions();
        let (y, x) = (position.checked_div(wide).unwrap_or(0), position.checked_rem(wide).unwrap_or(0));
        let ((y0, y1, fy), (x0, x1, fx)) = (Self::along(y, h, h * wide / w.max(1)), Self::along(x, w, wide));
        let cells = [
            (y0 * w + x0, (1.0 - fy) * (1.0 - fx)),
            (y0 * w + x1, (1.0 - fy) * fx),
            (y1 * w + x0, fy * (1.0 - fx)),
            (y1 * w + x1, fy * fx),
        ];
        (image, Corners { cells })
    }

    /// The two cells around an enlarged coordinate and the second one's weight.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "coordinates of a map are small and not negative"
    )]
    fn along(i: usize, size: usize, enlarged: usize) -> (usize, usize, f64) {
        if enlarged <= 1 {
            return (0, 0, 0.0);
        }
        let at = (i * (size - 1)) as f64 / (enlarged - 1) as f64;
        let low = (at as usize).min(size - 1);
        (low, (low + 1).min(size - 1), at - low as f64)
    }

    /// The flat index of a channel of a map cell.
    fn index(self, image: usize, channel: usize, cell: usize) -> usize {
        let (c, m) = (self.plan.shape().channels(), self.plan.shape().positions());
        match self.plan.order() {
            Order::Nchw => (image * c + channel) * m + cell,
            Order::Nhwc => (image * m + cell) * c + channel,
        }
    }
}

/// Interpolates on the way in.
struct Enlarged<'a> {
    grid: Grid<'a>,
    source: &'a dyn Load<f64>,
}

impl Load<f64> for Enlarged<'_> {
    fn load<'b>(&'b self, place: Place, buffer: &'b mut [f64]) -> &'b [f64] {
        let (image, corners) = self.grid.corners(place.row);
        for (k, to) in buffer.iter_mut().enumerate() {
            *to = 0.0;
            for (cell, weight) in corners.cells {
                let mut one = [0.0];
                let index = self.grid.index(image, place.from + k, cell);
                let at = Place { row: 0, from: 0, index, stride: 1 };
                let x = self.source.load(at, &mut one).first().copied().unwrap_or_default();
                // A weight of 0 leaves its cell out, whatever stands there.
                if weight > 0.0 {
                    *to += weight * x;
                }
            }
        }
        buffer
    }
}

/// Gathers an image's gradient on the way out.
struct Gathered<'a> {
    grid: Grid<'a>,
    sums: &'a mut [f64],
}

impl Sink for Gathered<'_> {
    fn store_f32(&mut self, place: Place, values: &[f32]) -> bool {
        values.iter().enumerate().fold(false, |overflowed, (k, &x)| {
            overflowed | self.store_f64(Place { from: place.from + k, ..place }, &[f64::from(x)])
        })
    }

    fn store_f64(&mut self, place: Place, values: &[f64]) -> bool {
        let (_, corners) = self.grid.corners(place.row);
        for (k, x) in values.iter().enumerate() {
            for (cell, weight) in corners.cells {
                let index = self.grid.index(0, place.from + k, cell);
                if let Some(sum) = self.sums.get_mut(index).filter(|_| weight > 0.0) {
                    *sum += weight * x;
                }
            }
        }
        false
    }
}

/// Runs a job, which lies within one image, on the enlarged map.
pub(crate) fn run(
    inputs: &Inputs<'_>,
    job: Range<usize>,
    outputs: &mut Outputs<'_>,
    gradient_scale: f64,
) -> Partial {
    let plan = inputs.plan;
    let grid = Grid { plan };
    let scratch = core::mem::take(&mut outputs.scratch);
    scratch.fill(0.0);
    let both = outputs.grad_student.is_some();
    let (for_student, for_teacher) =
        scratch.split_at_mut_checked(if both { plan.scratch() } else { 0 }).unwrap_or_default();
    let mut student_sums = Gathered { grid, sums: for_student };
    let mut teacher_sums = Gathered { grid, sums: for_teacher };
    let mut inner = Outputs {
        grad_student: outputs.grad_student.as_ref().map(|_| &mut student_sums as &mut dyn Sink),
        grad_teacher: outputs.grad_teacher.as_ref().map(|_| &mut teacher_sums as &mut dyn Sink),
        row_values: outputs.row_values.as_deref_mut(),
        statistics: match &mut outputs.statistics {
            KeptStatistics::Drop => KeptStatistics::Drop,
            KeptStatistics::Write(x) => KeptStatistics::Write(x),
            KeptStatistics::Read(x) => KeptStatistics::Read(x),
        },
        scratch: &mut [],
    };
    let (image, _) = grid.corners(job.start);
    let mut partial = with_reader::<f64, _>(inputs.teacher, |teacher| {
        with_reader::<f64, _>(inputs.student, |student| {
            let rows = Rows {
                plan,
                teacher: &Enlarged { grid, source: teacher },
                student: &Enlarged { grid, source: student },
                mask: inputs.mask,
            };
            plan.recipe().visit(
                !rows.mask.is_all(),
                RunJob { rows, job: job.clone(), outputs: &mut inner, gradient_scale },
            )
        })
    });
    let place = Place { row: job.start, from: 0, index: grid.index(image, 0, 0), stride: 1 };
    if let Some(sink) = outputs.grad_student.as_deref_mut() {
        partial.overflowed.student |= sink.store_f64(place, student_sums.sums);
    }
    if let Some(sink) = outputs.grad_teacher.as_deref_mut() {
        partial.overflowed.teacher |= sink.store_f64(place, teacher_sums.sums);
    }
    partial
}
