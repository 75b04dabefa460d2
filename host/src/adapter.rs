//! Adapters on tensors: what makes a map comparable with another of other channels, height, width or memory order,
//! and brings the gradient back to the tensor as it was.

mod image;
mod pair;

pub use pair::{AdaptedMap, AdaptedOutcome, AdaptedPair, Gradient, Gradients};

use crate::cpu::Crew;
use densekd_core::{Conv1x1, Error, Order, Resize, ResizeMode, Shape, Tensor};
use image::{read, write};
use rayon::prelude::*;

/// A 1x1 convolution of the channels, then a resize, either of which may be left out.
///
/// The arithmetic is `f64`, into which every stored type goes exactly, so that an adapted map is as good as the
/// stored one and its gradient is rounded once, at the end. Images, and the planes of one, run side by side on
/// rayon's threads; the bits do not depend on how many there are.
///
/// ```
/// use densekd::Adapter;
/// use densekd::core::{Order, ResizeMode, Shape};
/// let shape = Shape::new([1, 2, 1, 2])?;
/// let adapter = Adapter::new(shape, Order::Nchw)
///     .with_projection(vec![1.0, 1.0], None)?
///     .with_resize(ResizeMode::Nearest, [1, 4])?;
/// assert_eq!(adapter.to().dims(), [1, 1, 1, 4]);
/// let map = [1.0_f32, 2.0, 10.0, 20.0];
/// assert_eq!(adapter.adapt(map[..].into(), Order::Nchw)?, [11.0, 11.0, 22.0, 22.0]);
/// let pulled = adapter.pull(map[..].into(), &[1.0, 0.0, 0.0, 2.0], Order::Nchw)?;
/// assert_eq!(pulled.map, [1.0, 2.0, 1.0, 2.0]);
/// assert_eq!(pulled.weight, [1.0 + 2.0 * 2.0, 10.0 + 2.0 * 20.0]);
/// # Ok::<(), densekd::core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    shape: Shape,
    order: Order,
    to: Shape,
    projection: Option<Projection>,
    resize: Option<Resize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Projection {
    weight: Vec<f64>,
    bias: Option<Vec<f64>>,
    outputs: usize,
}

/// The gradients of an adapter's inputs.
///
/// ```
/// use densekd::Adapter;
/// use densekd::core::{Order, Shape};
/// let adapter = Adapter::new(Shape::new([1, 1, 1, 2])?, Order::Nchw);
/// let pulled = adapter.pull([0.0_f32; 2][..].into(), &[1.0, 2.0], Order::Nchw)?;
/// assert_eq!(pulled.map, [1.0, 2.0]);
/// assert!(pulled.weight.is_empty() && pulled.bias.is_empty());
/// # Ok::<(), densekd::core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pulled {
    /// To the map, in its own shape and memory order.
    pub map: Vec<f64>,
    /// To the convolution's weight `[C_out, C_in]`; empty where there is none.
    pub weight: Vec<f64>,
    /// To its bias `[C_out]`; empty where there is none.
    pub bias: Vec<f64>,
}

impl Adapter {
    /// The identity on maps of this shape, in this memory order.
    pub const fn new(shape: Shape, order: Order) -> Self {
        Self { shape, order, to: shape, projection: None, resize: None }
    }

    /// With a 1x1 convolution of weight `[C_out, C_in]` and bias `[C_out]`, or none.
    ///
    /// # Errors
    /// [`Error::Length`] where the weight's length is no multiple of the map's channels, or the bias has another
    /// length than it says; [`Error::EmptyDimension`] where there is no channel.
    pub fn with_projection(self, weight: Vec<f64>, bias: Option<Vec<f64>>) -> Result<Self, Error> {
        let inputs = self.shape.channels();
        let outputs = weight.len() / inputs;
        Conv1x1::new(&weight, bias.as_deref(), inputs, outputs)?;
        let [n, _, h, w] = self.to.dims();
        let to = Shape::new([n, outputs, h, w])?;
        Ok(Self { projection: Some(Projection { weight, bias, outputs }), to, ..self })
    }

    /// With a resize to this height and width.
    ///
    /// # Errors
    /// As [`Resize::new`].
    pub fn with_resize(self, mode: ResizeMode, size: [usize; 2]) -> Result<Self, Error> {
        let [_, _, h, w] = self.shape.dims();
        let resize = Resize::new(mode, [h, w], size)?;
        let to = Shape::new([self.to.images(), self.to.channels(), size[0], size[1]])?;
        Ok(Self { resize: Some(resize), to, ..self })
    }

    /// The shape of the maps that it takes.
    pub const fn from(&self) -> Shape {
        self.shape
    }

    /// The shape of the maps that it makes.
    pub const fn to(&self) -> Shape {
        self.to
    }

    /// The memory order of the maps that it takes.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Whether it leaves numbers where and as they are.
    pub const fn is_identity(&self) -> bool {
        self.projection.is_none() && self.resize.is_none()
    }

    /// The adapted map, in any memory order.
    ///
    /// # Errors
    /// [`Error::Length`] where the tensor has not the shape's length.
    pub fn adapt(&self, map: Tensor<'_>, order: Order) -> Result<Vec<f64>, Error> {
        check("map", map.len(), self.shape.len())?;
        let to = self.to;
        let mut out = vec![0.0; to.len()];
        let images = out.par_chunks_mut(to.len() / to.images());
        images.enumerate().try_for_each(|(n, out)| {
            let image = self.project(read(map, self.shape, self.order, n))?;
            let image = self.resize(image)?;
            write(&image, to, order, out);
            Ok(())
        })?;
        Ok(out)
    }

    /// Brings the gradient to an adapted map, in this memory order, back to the map and to the convolution.
    ///
    /// # Errors
    /// [`Error::Length`] where map or gradient has not its shape's length.
    pub fn pull(&self, map: Tensor<'_>, gradient: &[f64], order: Order) -> Result<Pulled, Error> {
        let (shape, to) = (self.shape, self.to);
        check("map", map.len(), shape.len())?;
        check("gradient", gradient.len(), to.len())?;
        let mut out = vec![0.0; shape.len()];
        let images = out.par_chunks_mut(shape.len() / shape.images()).enumerate();
        let parts: Vec<(Vec<f64>, Vec<f64>)> = images
            .map(|(n, out)| {
                let gradient = self.resize_back(read(gradient.into(), to, order, n))?;
                let Some(projection) = &self.projection else {
                    write(&gradient, shape, self.order, out);
                    return Ok(Default::default());
                };
                let conv = projection.conv(shape)?;
                let image = read(map, shape, self.order, n);
                let mut back = vec![0.0; image.len()];
                conv.pull(&gradient, &mut back, &Crew::All)?;
                write(&back, shape, self.order, out);
                let (mut weight, mut bias) = (vec![0.0; projection.weight.len()], vec![0.0; conv.outputs()]);
                conv.pull_parameters(&image, &gradient, (&mut weight, &mut bias), &Crew::All)?;
                Ok((weight, bias))
            })
            .collect::<Result<_, Error>>()?;
        // In the order of the images, whoever ran them.
        let mut parts = parts.into_iter();
        let (mut weight, mut bias) = parts.next().unwrap_or_default();
        for (other_weight, other_bias) in parts {
            add(&mut weight, &other_weight);
            add(&mut bias, &other_bias);
        }
        if self.projection.as_ref().is_none_or(|projection| projection.bias.is_none()) {
            bias.clear();
        }
        Ok(Pulled { map: out, weight, bias })
    }

    /// The same without its parameters.
    #[cfg(feature = "cuda")]
    pub(crate) fn plan(&self) -> Result<densekd_cuda::AdapterPlan, Error> {
        let mut plan = densekd_cuda::AdapterPlan::new(self.shape, self.order);
        if let Some(projection) = &self.projection {
            plan = plan.with_projection(projection.outputs)?;
        }
        self.resize.map_or(Ok(plan), |resize| plan.with_resize(resize.mode(), resize.to()))
    }

    /// The convolution's weight and bias.
    #[cfg(feature = "cuda")]
    pub(crate) fn parameters(&self) -> (Option<&[f64]>, Option<&[f64]>) {
        let projection = self.projection.as_ref();
        (
            projection.map(|projection| &projection.weight[..]),
            projection.and_then(|projection| projection.bias.as_deref()),
        )
    }

    fn project(&self, image: Vec<f64>) -> Result<Vec<f64>, Error> {
        let Some(projection) = &self.projection else { return Ok(image) };
        let mut out = vec![0.0; projection.outputs * self.shape.positions()];
        projection.conv(self.shape)?.forward(&image, &mut out, &Crew::All)?;
        Ok(out)
    }

    fn resize(&self, image: Vec<f64>) -> Result<Vec<f64>, Error> {
        let Some(resize) = &self.resize else { return Ok(image) };
        let mut out = vec![0.0; self.to.channels() * self.to.positions()];
        let planes = image.par_chunks(self.shape.positions());
        planes
            .zip(out.par_chunks_mut(self.to.positions()))
            .try_for_each(|(from, to)| resize.forward(from, to))?;
        Ok(out)
    }

    fn resize_back(&self, gradient: Vec<f64>) -> Result<Vec<f64>, Error> {
        let Some(resize) = &self.resize else { return Ok(gradient) };
        let (from, to) = (self.shape.positions(), self.to.positions());
        let mut out = vec![0.0; gradient.len() / to * from];
        let planes = gradient.par_chunks(to);
        planes.zip(out.par_chunks_mut(from)).try_for_each(|(to, from)| resize.pull(to, from))?;
        Ok(out)
    }
}

impl Projection {
    fn conv(&self, shape: Shape) -> Result<Conv1x1<'_>, Error> {
        Conv1x1::new(&self.weight, self.bias.as_deref(), shape.channels(), self.outputs)
    }
}

/// Adds number by number.
pub(crate) fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

fn check(buffer: &'static str, found: usize, wanted: usize) -> Result<(), Error> {
    if found == wanted { Ok(()) } else { Err(Error::Length { buffer, found, wanted }) }
}
