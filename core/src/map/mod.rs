//! Losses of whole maps: the machine that runs the formulas of [`loss`](crate::loss) which are no row losses.
//!
//! A formula is two passes. *measure* reads both maps, leaves what the gradient needs in the caller's state (with
//! *prepare*, which a value alone does without), and gives the sum and its divisor; *pull* gives the gradient of
//! the sum at any piece of a channel from the maps and the state alone, so that a gradient is written once, by any
//! number of threads, in either memory order.
//! All arithmetic is `f64`; inputs are converted exactly.

mod call;
mod classes;
mod comoments;
mod count;
mod cut;
mod executor;
mod gradient;
mod inputs;
mod labels;
mod lanes;
mod magnitude;
mod moments;
mod plan;
mod samples;
mod softmax;
mod stretch;
mod stripes;
mod sweep;
mod tiles;
mod view;

pub use call::{MapCall, run_map};
pub(crate) use classes::Targets;
pub(crate) use comoments::{Centred, CoMoments};
pub(crate) use count::real;
pub(crate) use cut::{cut, cut_mut, row, row_mut};
pub use executor::{Alone, Executor, Matrix};
pub use inputs::{MapInputs, Projection};
pub use labels::Labels;
pub(crate) use lanes::{sum, sums, update, update_with};
pub(crate) use magnitude::larger;
pub use moments::Moments;
pub use plan::{MapPlan, Side};
pub(crate) use samples::Samples;
pub(crate) use softmax::{Exponentials, LogSumExp, Share, Softmaxes, term};
pub(crate) use stretch::{Stretch, Work, along, update_along};
pub(crate) use stripes::{Keep, Stripes};
pub(crate) use sweep::{Sweep, sweep};
pub(crate) use tiles::{Tile, Tiles};
pub(crate) use view::{PIECE, SOON, View, head, pieces, runs};

use crate::{Error, Isa, Mask, Shape};
use core::fmt;
use core::ops::Range;

/// The shapes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shapes {
    pub(crate) teacher: Shape,
    pub(crate) student: Shape,
}

impl Shapes {
    /// Images and positions agree; channels may differ.
    pub(crate) fn same_positions(&self) -> Result<(), Error> {
        let [n, _, h, w] = self.student.dims();
        let [tn, _, th, tw] = self.teacher.dims();
        if [n, h, w] == [tn, th, tw] { Ok(()) } else { Err(self.mismatch()) }
    }

    /// All dimensions agree.
    pub(crate) fn same(&self) -> Result<(), Error> {
        if self.student == self.teacher { Ok(()) } else { Err(self.mismatch()) }
    }

    fn mismatch(&self) -> Error {
        Error::ShapeMismatch { teacher: self.teacher.dims(), student: self.student.dims() }
    }

    /// The shape of a side.
    pub(crate) const fn of(&self, side: Side) -> Shape {
        match side {
            Side::Teacher => self.teacher,
            Side::Student => self.student,
        }
    }
}

/// What a formula takes besides the student.
#[allow(clippy::struct_excessive_bools, reason = "what is taken and what is not is all there is")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) teacher: bool,
    pub(crate) labels: bool,
    /// May be given a 1x1 convolution of the student.
    pub(crate) projection: bool,
    /// Has a gradient to the teacher.
    pub(crate) teacher_gradient: bool,
}

impl Needs {
    /// A teacher, which may have its gradient, and nothing else.
    pub(crate) const TEACHER: Self =
        Self { teacher: true, labels: false, projection: false, teacher_gradient: true };
}

/// What a formula reads.
#[derive(Clone, Copy)]
pub(crate) struct Maps<'a> {
    /// The student's map again where the loss has no teacher.
    pub(crate) teacher: View<'a>,
    pub(crate) student: View<'a>,
    pub(crate) labels: Option<Labels<'a>>,
    pub(crate) mask: Mask<'a>,
    pub(crate) projection: Projection<'a>,
    /// What kernels run on.
    pub(crate) isa: Isa,
}

impl<'a> Maps<'a> {
    pub(crate) const fn of(&self, side: Side) -> View<'a> {
        match side {
            Side::Teacher => self.teacher,
            Side::Student => self.student,
        }
    }

    /// Some positions of a channel of both, of maps of equal shape.
    pub(crate) fn pair(&self, n: usize, c: usize, positions: &Range<usize>) -> [Stretch<'a>; 2] {
        [self.teacher, self.student].map(|view| view.stretch(n, c, positions))
    }
}

/// Where a gradient is asked for: some positions (at most [`PIECE`]) of one channel of one image.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) side: Side,
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) positions: Range<usize>,
}

/// A sum and what it is to be divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) sum: f64,
    pub(crate) divisor: f64,
}

/// The formula of a map loss. Adding one is adding a file that implements this and a line in the registry.
pub(crate) trait Formula: Sync {
    /// What it takes.
    fn needs(&self) -> Needs {
        Needs::TEACHER
    }

    /// What the sum is multiplied by before the divisor: weight, and tau^2 where the loss has it.
    fn scale(&self) -> f64;

    /// Whether it is defined on these shapes.
    fn check(&self, shapes: &Shapes) -> Result<(), Error>;

    /// How many numbers of state it keeps from [`measure`](Self::measure) for [`pull`](Self::pull).
    fn state(&self, shapes: &Shapes) -> usize;

    /// The sum over the maps, before the scale; fills the state.
    ///
    /// # Errors
    /// For labels that are no classes.
    fn measure(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) -> Result<Measured, Error>;

    /// Fills what the gradients need of the state and the value does not; after [`measure`](Self::measure), where
    /// there will be a gradient.
    fn prepare(&self, maps: &Maps<'_>, state: &mut [f64], on: &dyn Executor) {
        let _ = (maps, state, on);
    }

    /// Both at once, for a formula that saves a read of the maps by it.
    ///
    /// # Errors
    /// As those of [`measure`](Self::measure).
    fn measure_and_prepare(
        &self,
        maps: &Maps<'_>,
        state: &mut [f64],
        on: &dyn Executor,
    ) -> Result<Measured, Error> {
        let measured = self.measure(maps, state, on)?;
        self.prepare(maps, state, on);
        Ok(measured)
    }

    /// The gradient of the sum at some positions of a channel; `out` has one number a position.
    fn pull(&self, maps: &Maps<'_>, state: &[f64], at: &At, out: &mut [f64]);

    /// The gradients of the sum to a 1x1 convolution's weight `[C_t, C_s]` and bias `[C_t]`.
    fn pull_projection(
        &self,
        maps: &Maps<'_>,
        state: &[f64],
        weight: &mut [f64],
        bias: &mut [f64],
        on: &dyn Executor,
    ) {
        let _ = (maps, state, on);
        weight.fill(0.0);
        bias.fill(0.0);
    }
}

/// What is told of a formula. Apart from [`Formula`], so that a program which runs a loss need not link the
/// formatting of numbers.
pub(crate) trait Explain {
    /// The formula with its divisor and these settings, for a reader.
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}
