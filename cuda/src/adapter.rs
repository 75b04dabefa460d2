//! What is done to a map before a loss: shapes and memory orders, without the data.

use densekd_core::{Error, Order, Resize, ResizeMode, Shape};

/// A 1x1 convolution of a map's channels, then a resize, either of which may be left out.
///
/// ```
/// use densekd_core::{Order, ResizeMode, Shape};
/// use densekd_cuda::AdapterPlan;
/// let plan = AdapterPlan::new(Shape::new([2, 64, 32, 32])?, Order::Nchw)
///     .with_projection(256)?
///     .with_resize(ResizeMode::Bilinear { align_corners: false }, [64, 64])?;
/// assert_eq!(plan.to().dims(), [2, 256, 64, 64]);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdapterPlan {
    from: Shape,
    to: Shape,
    order: Order,
    outputs: Option<usize>,
    resize: Option<Resize>,
}

impl AdapterPlan {
    /// The identity on maps of this shape, in this memory order.
    pub const fn new(shape: Shape, order: Order) -> Self {
        Self { from: shape, to: shape, order, outputs: None, resize: None }
    }

    /// With a 1x1 convolution to so many channels.
    ///
    /// # Errors
    /// [`Error::EmptyDimension`] for none, [`Error::TooLarge`] for more than an address reaches.
    pub fn with_projection(self, outputs: usize) -> Result<Self, Error> {
        let [images, _, height, width] = self.to.dims();
        Ok(Self { to: Shape::new([images, outputs, height, width])?, outputs: Some(outputs), ..self })
    }

    /// With a resize to this height and width.
    ///
    /// # Errors
    /// As [`Resize::new`].
    pub fn with_resize(self, mode: ResizeMode, [height, width]: [usize; 2]) -> Result<Self, Error> {
        let [_, _, from_height, from_width] = self.from.dims();
        let resize = Resize::new(mode, [from_height, from_width], [height, width])?;
        let to = Shape::new([self.to.images(), self.to.channels(), height, width])?;
        Ok(Self { to, resize: Some(resize), ..self })
    }

    /// The shape of the maps that it takes.
    pub const fn from(&self) -> Shape {
        self.from
    }

    /// The shape of the maps that it makes.
    pub const fn to(&self) -> Shape {
        self.to
    }

    /// The memory order of the maps that it takes.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Channels after the convolution, where there is one.
    pub const fn outputs(&self) -> Option<usize> {
        self.outputs
    }

    /// The resize, where there is one.
    pub const fn resize(&self) -> Option<Resize> {
        self.resize
    }

    /// The map after the convolution, before the resize.
    pub(crate) fn between(&self) -> Shape {
        let [images, _, height, width] = self.from.dims();
        // As many channels, and no more positions, as in a shape that was checked, or this shape itself.
        Shape::new([images, self.to.channels(), height, width]).unwrap_or(self.to)
    }

    pub(crate) const fn is_identity(&self) -> bool {
        self.outputs.is_none() && self.resize.is_none()
    }
}
