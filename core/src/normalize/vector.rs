//! How a vector of numbers is made comparable: what its moments say of each of its coordinates.

use crate::map::Moments;
use crate::space::{Real, VectorSpace};
use core::marker::PhantomData;

/// A normalisation of vectors: of a map's energies, of a channel, of the channels of a place, of a whole image.
///
/// ```
/// use densekd_core::{CentredUnitLength, Moments, NormalizeVector};
/// let scaled = CentredUnitLength.scaled(&Moments::of(&[1.0, 4.0, 7.0]));
/// assert_eq!([1.0, 4.0, 7.0].map(|x| scaled.z(x)), [-3.0 * scaled.step(), 0.0, 3.0 * scaled.step()]);
/// ```
pub trait NormalizeVector: Copy + Send + Sync {
    /// The space its vectors lie in: what a [`Diverge`](crate::Diverge) must be defined on.
    type Space: VectorSpace;

    /// How numbers of these moments become coordinates.
    fn scaled(&self, moments: &Moments) -> Scaled<Self::Space>;
}

/// How the numbers of a vector become coordinates: `z = (x - offset) step`; and what a gradient loses on its way back.
///
/// ```
/// use densekd_core::{Epsilon, Moments, NormalizeVector, UnitLength};
/// let length = UnitLength::at_least(Epsilon::new(1e-12)?).scaled(&Moments::of(&[3.0, 4.0]));
/// assert_eq!((length.z(3.0), length.z(4.0)), (3.0 * 0.2, 4.0 * 0.2));
/// // A gradient that points along the vector changes nothing but its length.
/// assert!(length.pull(0.6, 0.6, 1.0).abs() < 1e-15);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Scaled<S> {
    offset: f64,
    step: f64,
    /// The share of what points along z that is lost.
    lost: f64,
    space: PhantomData<S>,
}

impl<S> Clone for Scaled<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Scaled<S> {}

impl<S> Default for Scaled<S> {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl<S> Scaled<S> {
    /// What has no direction: every coordinate is 0, and nothing of a gradient comes back.
    pub(crate) const NOTHING: Self = Self::new(0.0, 0.0, 0.0);

    pub(crate) const fn new(offset: f64, step: f64, lost: f64) -> Self {
        Self { offset, step, lost, space: PhantomData }
    }

    /// As it is kept in state.
    pub(crate) const fn numbers(self) -> [f64; 3] {
        [self.offset, self.step, self.lost]
    }

    /// From state.
    pub(crate) const fn from_numbers([offset, step, lost]: [f64; 3]) -> Self {
        Self::new(offset, step, lost)
    }

    /// What a number less the offset is multiplied by; 0 where there is no direction.
    pub const fn step(&self) -> f64 {
        self.step
    }

    /// The share of what a gradient has along z that is lost: about 1, and 0 where the divisor is a constant.
    pub const fn lost(&self) -> f64 {
        self.lost
    }

    /// The coordinate of a number.
    #[inline(always)]
    pub fn z(&self, x: f64) -> f64 {
        (x - self.offset) * self.step
    }

    /// The gradient to x from that to z, where the sum of `g z` over the vector is `dot`. Where the offset is a mean,
    /// the mean of g is taken to be 0, as it is for differences of centred vectors.
    #[inline(always)]
    pub fn pull(&self, g: f64, z: f64, dot: f64) -> f64 {
        (g - z * (self.lost * dot)) * self.step
    }
}

/// Numbers as they stand.
impl NormalizeVector for super::Raw {
    type Space = Real;

    fn scaled(&self, _moments: &Moments) -> Scaled<Real> {
        Scaled::new(0.0, 1.0, 0.0)
    }
}
