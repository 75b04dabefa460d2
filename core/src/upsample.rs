//! Rows of an enlarged map that is never stored: bilinear interpolation with aligned corners on the way in,
//! its transpose on the way out.

use crate::access::{Load, Place, Sink, with_reader};
use crate::adapt::{Axis, ResizeMode, Taps};
use crate::call::{Inputs, KeptStatistics, Outputs, RunJob};
use crate::engine::{Rows, Student};
use crate::outcome::Partial;
use crate::plan::Plan;
use crate::shape::Order;
use core::ops::Range;

/// The cells of the map around an enlarged position: rows and columns, with their weights.
#[derive(Clone, Copy)]
struct Corners {
    rows: Taps,
    columns: Taps,
    wide: usize,
}

impl Corners {
    fn cells(self) -> impl Iterator<Item = (usize, f64)> {
        let Self { rows, columns, wide } = self;
        rows.iter().flat_map(move |(y, wy)| columns.iter().map(move |(x, wx)| (y * wide + x, wy * wx)))
    }
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
        let mode = ResizeMode::Bilinear { align_corners: true };
        let (rows, columns) = (Axis::new(h, h * wide / w.max(1), mode), Axis::new(w, wide, mode));
        (image, Corners { rows: rows.taps(y), columns: columns.taps(x), wide: w })
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
            for (cell, weight) in corners.cells() {
                let mut one = [0.0];
                let index = self.grid.index(image, place.from + k, cell);
                let at = Place { row: 0, from: 0, index, stride: 1 };
                let x = self.source.load(at, &mut one).first().copied().unwrap_or_default();
                *to += weight * x;
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
            for (cell, weight) in corners.cells() {
                let index = self.grid.index(0, place.from + k, cell);
                if let Some(sum) = self.sums.get_mut(index) {
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
        room: &mut [],
    };
    let (image, _) = grid.corners(job.start);
    let mut partial = with_reader::<f64, _>(inputs.teacher, |teacher| {
        with_reader::<f64, _>(inputs.student, |student| {
            let rows = Rows {
                plan,
                teacher: &Enlarged { grid, source: teacher },
                student: &Enlarged { grid, source: student },
                mask: inputs.mask,
                memory: None,
                origin: 0,
                entries: 0..plan.row_len(),
            };
            plan.recipe().visit(
                !rows.mask.is_all(),
                RunJob {
                    rows,
                    job: job.clone(),
                    outputs: &mut inner,
                    gradient_scale,
                    student: Student::Kept,
                },
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
