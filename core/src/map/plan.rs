//! A map loss on shapes: what is to be done, without the data.

use super::{Formula, Shapes};
use crate::loss::MapOptions;
use crate::{Error, Order, Shape};
use core::ops::Range;

/// Elements of a band: enough that the cost of handing one out does not show.
const BAND: usize = 1 << 15;

/// One of the two maps.
///
/// ```
/// assert_ne!(densekd_core::Side::Teacher, densekd_core::Side::Student);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The large network's.
    Teacher,
    /// The small network's.
    Student,
}

/// A map loss on a pair of shapes in a memory order: plain checked data. Made by [`Term::new`](crate::Term::new).
///
/// ```
/// use densekd_core::{Loss, Order, Shape, Term};
/// let (student, teacher) = (Shape::new([2, 16, 8, 8])?, Shape::new([2, 64, 8, 8])?);
/// let Term::Map(plan) = Term::new(Loss::At.defaults(), student, teacher, Order::Nchw)? else { unreachable!() };
/// assert_eq!(plan.student().channels(), 16);
/// assert!(plan.scratch() > 0);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapPlan {
    options: MapOptions,
    shapes: Shapes,
    order: Order,
}

impl MapPlan {
    pub(crate) fn new(options: MapOptions, shapes: Shapes, order: Order) -> Result<Self, Error> {
        options.formula().check(&shapes)?;
        Ok(Self { options, shapes, order })
    }

    /// The loss and its settings.
    pub const fn options(&self) -> &MapOptions {
        &self.options
    }

    /// The student's shape.
    pub const fn student(&self) -> Shape {
        self.shapes.student
    }

    /// The teacher's shape.
    pub const fn teacher(&self) -> Shape {
        self.shapes.teacher
    }

    /// The shape of a side.
    pub const fn shape(&self, side: Side) -> Shape {
        self.shapes.of(side)
    }

    /// The memory order of both maps and of their gradients.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// What the sum is multiplied by before it is divided: weight, and tau^2 where the loss has it.
    pub fn scale(&self) -> f64 {
        self.formula().scale()
    }

    /// Numbers of `f64` that the caller lends: written by the value, read by the gradient.
    pub fn scratch(&self) -> usize {
        self.formula().state(&self.shapes)
    }

    /// Whether the loss compares with a teacher.
    pub fn takes_teacher(&self) -> bool {
        self.formula().needs().teacher
    }

    /// Whether the loss has a gradient to the teacher.
    pub fn has_teacher_gradient(&self) -> bool {
        self.formula().needs().teacher_gradient
    }

    /// Whether the loss takes classes from labels.
    pub fn takes_labels(&self) -> bool {
        self.formula().needs().labels
    }

    /// Whether the loss takes a 1x1 convolution of the student.
    pub fn takes_projection(&self) -> bool {
        self.formula().needs().projection
    }

    /// A side's elements in pieces that can be written side by side: ranges of memory, whole channels of an image
    /// (NCHW) or whole positions (NHWC), by the shape alone.
    pub fn bands(&self, side: Side) -> impl Iterator<Item = Range<usize>> + use<> {
        let shape = self.shape(side);
        let image = shape.channels() * shape.positions();
        let line = match self.order {
            Order::Nchw => shape.positions(),
            Order::Nhwc => shape.channels(),
        };
        // Of some channels at once, which share what is kept of their positions, where there are enough of them.
        let least = match self.order {
            Order::Nchw => (shape.images() * shape.channels() / 8).clamp(1, 8),
            Order::Nhwc => 1,
        };
        let band = line * (BAND / line.max(1)).max(least);
        (0..shape.len()).step_by(image.max(1)).flat_map(move |start| {
            let end = start + image;
            (start..end).step_by(band.max(1)).map(move |from| from..(from + band).min(end))
        })
    }

    pub(crate) const fn formula(&self) -> &dyn Formula {
        self.options.formula()
    }

    pub(crate) const fn shapes(&self) -> &Shapes {
        &self.shapes
    }
}
