//! What is examined: a teacher, a student, the positions that count, and the backend that is asked.

use crate::backend::{Backend, BackendError, Submission};
use densekd_core::{Element, Mask, Order, Outcome, Plan, Recipe, RowOptions, Shape, Tensor};

/// Two maps that fit a shape.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) shape: Shape,
    pub(super) order: Order,
    pub(super) teacher: Tensor<'a>,
    pub(super) student: Tensor<'a>,
    pub(super) mask: Mask<'a>,
}

impl<'a> Case<'a> {
    /// How many channel maps there are: N C, numbered as the backend numbers their rows.
    pub(super) const fn maps(self) -> usize {
        self.shape.images() * self.shape.channels()
    }

    /// Where an element stands in memory.
    pub(super) const fn index(self, image: usize, channel: usize, position: usize) -> usize {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        match self.order {
            Order::Nchw => (image * c + channel) * m + position,
            Order::Nhwc => (image * m + position) * c + channel,
        }
    }

    /// The counted positions of a channel map, and where each stands in memory.
    pub(super) fn map(self, map: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<'a> {
        let (c, m) = (self.shape.channels(), self.shape.positions());
        let (image, channel) = (map / c, map % c);
        let all = self.mask.is_all();
        let counts = move |&position: &usize| all || self.mask.counts(image * m + position);
        (0..m).filter(counts).map(move |position| (position, self.index(image, channel, position)))
    }

    /// `[n, c, y, x]`.
    pub(super) fn place(self, map: usize, position: usize) -> [usize; 4] {
        let [_, c, _, w] = self.shape.dims();
        [map / c, map % c, position / w, position % w]
    }

    /// How many positions of each image count.
    pub(super) fn counted(self) -> Vec<usize> {
        let m = self.shape.positions();
        let count = |n: usize| (n * m..(n + 1) * m).filter(|&i| self.mask.counts(i)).count();
        (0..self.shape.images()).map(|n| if self.mask.is_all() { m } else { count(n) }).collect()
    }

    /// A loss of these maps, or of other tensors of their shape.
    pub(super) fn submission<'b>(self, plan: &'b Plan) -> Submission<'b>
    where
        'a: 'b,
    {
        Submission { mask: self.mask, ..Submission::new(plan, self.teacher, self.student) }
    }

    /// The loss and each row's divergence.
    pub(super) fn rows(self, options: RowOptions) -> Result<(Outcome, Vec<f64>), BackendError> {
        let plan = Plan::new(Recipe::new(options)?, self.shape, self.order)?;
        let mut values = vec![0.0; plan.rows()];
        let outcome = self
            .backend
            .submit(Submission { row_values: Some(values.as_mut_slice()), ..self.submission(&plan) })?;
        self.backend.synchronise()?;
        Ok((outcome, values))
    }
}

/// An element, exactly; 0 beyond the end, where no caller reads.
pub(super) fn element(tensor: Tensor<'_>, index: usize) -> f64 {
    fn widen<E: Element>(data: &[E], index: usize) -> f64 {
        data.get(index).map_or(0.0, |x| x.widen())
    }
    match tensor {
        Tensor::F32(x) => widen(x, index),
        Tensor::F64(x) => widen(x, index),
        Tensor::F16(x) => widen(x, index),
        Tensor::Bf16(x) => widen(x, index),
    }
}

/// A share, a mean: counts as a quotient, NaN for 0 of 0.
#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
pub(super) fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
