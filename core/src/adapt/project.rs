//! Channels: a 1x1 convolution y = W x + b of every position, and its gradients to input, weight and bias.
//!
//! Cost: a product of `[C_out, C_in]` and `[C_in, M]`, and as much again for either gradient. The map losses that
//! take a convolution of their own ([`Projection`](crate::Projection)) need none of this.

use crate::map::{Executor, Matrix};
use crate::{Error, Shape};

/// A 1x1 convolution of images `[C, M]`, M positions in any order.
///
/// ```
/// use densekd_core::{Alone, Conv1x1};
/// let sum = Conv1x1::new(&[1.0, 1.0], Some(&[0.5]), 2, 1)?;
/// let image = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
/// let mut mapped = [0.0; 3];
/// sum.forward(&image, &mut mapped, &Alone)?;
/// assert_eq!(mapped, [11.5, 22.5, 33.5]);
///
/// let (mut input, mut weight, mut bias) = ([0.0; 6], [0.0; 2], [0.0; 1]);
/// sum.pull(&[1.0, 0.0, 2.0], &mut input, &Alone)?;
/// assert_eq!(input, [1.0, 0.0, 2.0, 1.0, 0.0, 2.0]);
/// sum.pull_parameters(&image, &[1.0, 0.0, 2.0], (&mut weight, &mut bias), &Alone)?;
/// assert_eq!((weight, bias), ([7.0, 70.0], [3.0]));
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv1x1<'a> {
    weight: &'a [f64],
    bias: Option<&'a [f64]>,
    inputs: usize,
    outputs: usize,
}

impl<'a> Conv1x1<'a> {
    /// From a weight `[C_out, C_in]` and a bias `[C_out]`, or none.
    ///
    /// # Errors
    /// [`Error::Length`] where they have other sizes, [`Error::EmptyDimension`] where there are no channels.
    pub fn new(
        weight: &'a [f64],
        bias: Option<&'a [f64]>,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, Error> {
        let wanted = Shape::new([outputs, inputs, 1, 1])?.len();
        check("projection", weight.len(), wanted)?;
        bias.map_or(Ok(()), |bias| check("bias", bias.len(), outputs))?;
        Ok(Self { weight, bias, inputs, outputs })
    }

    /// Channels of the input.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels of the output.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// y = W x + b, from `[C_in, M]` to `[C_out, M]`.
    ///
    /// # Errors
    /// [`Error::Length`] where the two have not the same M.
    pub fn forward(&self, from: &[f64], to: &mut [f64], on: &dyn Executor) -> Result<(), Error> {
        let m = self.positions(from.len(), to.len())?;
        on.multiply(self.matrix(), Matrix::new(from, self.inputs, m), to);
        for (row, bias) in to.chunks_mut(m.max(1)).zip(self.bias.unwrap_or_default()) {
            for y in row {
                *y += bias;
            }
        }
        Ok(())
    }

    /// The gradient to the input: W^T g.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn pull(
        &self,
        gradient_to: &[f64],
        gradient_from: &mut [f64],
        on: &dyn Executor,
    ) -> Result<(), Error> {
        let m = self.positions(gradient_from.len(), gradient_to.len())?;
        on.multiply(self.matrix().transposed(), Matrix::new(gradient_to, self.outputs, m), gradient_from);
        Ok(())
    }

    /// The gradients of one image to the weight, g x^T, and to the bias, the sum of g over positions.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and for gradients of other sizes than weight and bias.
    pub fn pull_parameters(
        &self,
        from: &[f64],
        gradient_to: &[f64],
        (weight, bias): (&mut [f64], &mut [f64]),
        on: &dyn Executor,
    ) -> Result<(), Error> {
        let m = self.positions(from.len(), gradient_to.len())?;
        check("grad_projection", weight.len(), self.weight.len())?;
        check("grad_bias", bias.len(), self.outputs)?;
        let from = Matrix::new(from, self.inputs, m).transposed();
        on.multiply(Matrix::new(gradient_to, self.outputs, m), from, weight);
        for (row, bias) in gradient_to.chunks(m.max(1)).zip(bias) {
            *bias = row.iter().sum();
        }
        Ok(())
    }

    const fn matrix(&self) -> Matrix<'a> {
        Matrix::new(self.weight, self.outputs, self.inputs)
    }

    /// M, of an input and an output.
    fn positions(&self, from: usize, to: usize) -> Result<usize, Error> {
        let m = from.checked_div(self.inputs).unwrap_or_default();
        check("input", from, m.saturating_mul(self.inputs))?;
        check("output", to, m.saturating_mul(self.outputs))?;
        Ok(m)
    }
}

fn check(buffer: &'static str, found: usize, wanted: usize) -> Result<(), Error> {
    if found == wanted { Ok(()) } else { Err(Error::Length { buffer, found, wanted }) }
}
