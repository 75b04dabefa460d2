//! Losses of maps behind their adapters, in host memory: copied to the device, and the results back.
#![allow(unsafe_code, reason = "kernels write through addresses, here of buffers made for them")]

use crate::adapted::{AdaptedDeviceCall, AdaptedLoss, AdaptedMap};
use crate::adapter::AdapterPlan;
use crate::gpu::{Buffer, Entered};
use crate::host::{address, bytes, bytes_mut};
use crate::{Device, Error, KeptStates};
use densekd_core::{MapPlan, Overflowed, Plan, Shape, Tensor, TensorMut};

/// A map in host memory, and what is done to it before a loss. Gradients may be of any type.
///
/// ```
/// use densekd_core::{Order, Shape};
/// use densekd_cuda::{AdaptedHostMap, AdapterPlan};
/// let plan = AdapterPlan::new(Shape::new([1, 1, 1, 2])?, Order::Nchw);
/// assert!(AdaptedHostMap::new(plan, &[1.0_f32, 2.0][..]).gradient.is_none());
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdaptedHostMap<'a> {
    /// What is done to it.
    pub adapter: AdapterPlan,
    /// Its elements.
    pub map: Tensor<'a>,
    /// The convolution's weight `[C_out, C_in]`; without one the convolution is the identity.
    pub weight: Option<&'a [f64]>,
    /// The convolution's bias `[C_out]`.
    pub bias: Option<&'a [f64]>,
    /// Where the gradient to the map goes.
    pub gradient: Option<TensorMut<'a>>,
    /// Where the gradient to the weight goes.
    pub grad_weight: Option<&'a mut [f64]>,
    /// Where the gradient to the bias goes.
    pub grad_bias: Option<&'a mut [f64]>,
}

/// A loss of adapted maps.
///
/// ```
/// use densekd_core::Plan;
/// use densekd_cuda::AdaptedHostLoss;
/// fn of(plan: &Plan) -> AdaptedHostLoss<'_> {
///     AdaptedHostLoss::Rows { plan, mask: None, factor: plan.recipe().scale() }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum AdaptedHostLoss<'a> {
    /// Of rows; as in [`HostCall`](crate::HostCall).
    Rows {
        /// The plan, on the adapted maps.
        plan: &'a Plan,
        /// A byte an adapted position `[N, H, W]`, 0 for one that is left out.
        mask: Option<&'a [u8]>,
        /// What the gradient of the sum of rows is multiplied by: weight, tau^2, divisor and what comes from above.
        factor: f64,
    },
    /// Of whole maps; as in [`MapHostCall`](crate::MapHostCall).
    Map {
        /// The plan, on the adapted maps.
        plan: &'a MapPlan,
        /// The class of every adapted position, below 0 for one that is left out; of a loss that takes labels.
        classes: Option<&'a [i32]>,
        /// The gradient from above.
        upstream: f64,
    },
}

/// One use of a loss on maps behind their adapters.
///
/// ```
/// use densekd_core::{Loss, Order, ResizeMode, Shape, Term};
/// use densekd_cuda::{AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdapterPlan, Device};
/// let (small, large) = (Shape::new([1, 1, 1, 2])?, Shape::new([1, 1, 1, 4])?);
/// let Term::Map(plan) = Term::new(Loss::Mimic.defaults(), large, large, Order::Nchw)? else { unreachable!() };
/// let enlarged = AdapterPlan::new(small, Order::Nchw).with_resize(ResizeMode::Nearest, [1, 4])?;
/// let call = AdaptedHostCall {
///     loss: AdaptedHostLoss::Map { plan: &plan, classes: None, upstream: 1.0 },
///     teacher: Some(AdaptedHostMap::new(AdapterPlan::new(large, Order::Nchw), &[1.0_f32; 4][..])),
///     student: AdaptedHostMap::new(enlarged, &[0.0_f32, 2.0][..]),
/// };
/// if let Ok(device) = Device::open(0) {
///     assert_eq!(device.submit_adapted(call)?.sum, 4.0);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AdaptedHostCall<'a> {
    /// The loss.
    pub loss: AdaptedHostLoss<'a>,
    /// The teacher, where the loss compares with one.
    pub teacher: Option<AdaptedHostMap<'a>>,
    /// The student.
    pub student: AdaptedHostMap<'a>,
}

/// What became of an [`AdaptedHostCall`].
///
/// ```
/// use densekd_cuda::AdaptedSum;
/// let done = AdaptedSum { sum: 6.0, divisor: Some(3.0), overflowed: Default::default() };
/// assert_eq!(done.divisor.map(|divisor| done.sum / divisor), Some(2.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptedSum {
    /// The sum, before the plan's scale.
    pub sum: f64,
    /// What it is to be divided by, of a map loss; of rows the caller knows it.
    pub divisor: Option<f64>,
    /// Which gradients hold an infinity that was a finite number.
    pub overflowed: Overflowed,
}

/// The buffers of a map.
struct Held<'e> {
    map: Buffer<'e>,
    weight: Option<Buffer<'e>>,
    bias: Option<Buffer<'e>>,
    gradient: Option<Buffer<'e>>,
    grad_weight: Option<Buffer<'e>>,
    grad_bias: Option<Buffer<'e>>,
}

impl<'a> AdaptedHostMap<'a> {
    /// A map alone, without parameters and gradients.
    pub fn new(adapter: AdapterPlan, map: impl Into<Tensor<'a>>) -> Self {
        Self {
            adapter,
            map: map.into(),
            weight: None,
            bias: None,
            gradient: None,
            grad_weight: None,
            grad_bias: None,
        }
    }

    /// Whether all is as long as the adapter says.
    fn check(&self, names: [&'static str; 6]) -> Result<(), Error> {
        let (from, outputs) = (self.adapter.from(), self.adapter.to().channels());
        let of_weight = outputs * from.channels();
        let lengths = [
            (Some(self.map.len()), from.len()),
            (self.weight.map(<[f64]>::len), of_weight),
            (self.bias.map(<[f64]>::len), outputs),
            (self.gradient.as_ref().map(TensorMut::len), from.len()),
            (self.grad_weight.as_deref().map(<[f64]>::len), of_weight),
            (self.grad_bias.as_deref().map(<[f64]>::len), outputs),
        ];
        for (buffer, (found, wanted)) in names.into_iter().zip(lengths) {
            if let Some(found) = found.filter(|&found| found != wanted) {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        Ok(())
    }

    /// Where it would be, by addresses that are none.
    fn nowhere(&self) -> AdaptedMap {
        AdaptedMap {
            weight: self.weight.map(|_| 0),
            bias: self.bias.map(|_| 0),
            gradient: self.gradient.as_ref().map(|gradient| (0, gradient.dtype())),
            grad_weight: self.grad_weight.as_ref().map(|_| 0),
            grad_bias: self.grad_bias.as_ref().map(|_| 0),
            ..AdaptedMap::new(self.adapter, self.map.dtype(), 0)
        }
    }

    /// Copies to the device what is read, and makes room for what is written.
    fn hold<'e>(&self, gpu: &'e Entered<'_>) -> Result<Held<'e>, Error> {
        let send = |numbers: Option<&[f64]>| {
            numbers.map(|numbers| gpu.upload(bytemuck::cast_slice(numbers))).transpose()
        };
        let room =
            |numbers: Option<&[f64]>| numbers.map(|numbers| gpu.buffer(size_of_val(numbers))).transpose();
        let gradient = self.gradient.as_ref().map(|gradient| bytes(gradient.as_tensor()).len());
        Ok(Held {
            map: gpu.upload(bytes(self.map))?,
            weight: send(self.weight)?,
            bias: send(self.bias)?,
            gradient: gradient.map(|bytes| gpu.buffer(bytes)).transpose()?,
            grad_weight: room(self.grad_weight.as_deref())?,
            grad_bias: room(self.grad_bias.as_deref())?,
        })
    }

    fn receive(&mut self, gpu: &Entered<'_>, held: &Held<'_>) -> Result<(), Error> {
        if let (Some(gradient), Some(from)) = (&mut self.gradient, &held.gradient) {
            gpu.download(from, bytes_mut(gradient))?;
        }
        let parameters = [(&mut self.grad_weight, &held.grad_weight), (&mut self.grad_bias, &held.grad_bias)];
        for (gradient, from) in parameters {
            if let (Some(gradient), Some(from)) = (gradient, from) {
                gpu.download(from, bytemuck::cast_slice_mut(gradient))?;
            }
        }
        Ok(())
    }
}

impl Held<'_> {
    fn at(&self, of: &AdaptedHostMap<'_>) -> AdaptedMap {
        let at = |buffer: &Option<Buffer<'_>>| buffer.as_ref().map(address);
        let nowhere = of.nowhere();
        AdaptedMap {
            map: self.map.address(),
            weight: at(&self.weight),
            bias: at(&self.bias),
            gradient: at(&self.gradient).zip(nowhere.gradient.map(|(_, dtype)| dtype)),
            grad_weight: at(&self.grad_weight),
            grad_bias: at(&self.grad_bias),
            ..nowhere
        }
    }
}

impl<'a> AdaptedHostLoss<'a> {
    /// The same with its mask, or its classes, on the device.
    fn at(self, positions: Option<u64>) -> AdaptedLoss<'a> {
        match self {
            Self::Rows { plan, factor, .. } => {
                AdaptedLoss::Rows { plan, mask: positions, factor, states: KeptStates::Drop }
            }
            Self::Map { plan, classes, upstream } => {
                let of_class = |classes: &[i32]| classes.iter().filter(|&&class| class >= 0).count();
                AdaptedLoss::Map { plan, classes: positions.zip(classes.map(of_class)), upstream }
            }
        }
    }

    /// Bytes of mask or classes, with their name, and how many there are and are to be.
    fn positions(&self) -> Option<(&'static str, &'a [u8], [usize; 2])> {
        let count = |shape: Shape| shape.images() * shape.positions();
        match *self {
            Self::Rows { plan, mask, .. } => {
                mask.map(|mask| ("mask", mask, [mask.len(), count(plan.shape())]))
            }
            Self::Map { plan, classes, .. } => classes.map(|classes| {
                ("classes", bytemuck::cast_slice(classes), [classes.len(), count(plan.student())])
            }),
        }
    }
}

impl Device {
    /// Runs a loss of adapted maps in host memory: copies them to the device, and the results back.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Length`] before anything is done, [`Error::OutOfMemory`], or what the driver
    /// answers. Device memory is kept for the next submission, see [`Device::trim`].
    pub fn submit_adapted(&self, call: AdaptedHostCall<'_>) -> Result<AdaptedSum, Error> {
        let AdaptedHostCall { loss, mut teacher, mut student } = call;
        student.check(["student", "weight", "bias", "grad_student", "grad_weight", "grad_bias"])?;
        if let Some(teacher) = &teacher {
            teacher.check(["teacher", "weight", "bias", "grad_teacher", "grad_weight", "grad_bias"])?;
        }
        if let Some((buffer, _, [found, wanted])) =
            loss.positions().filter(|(.., [found, wanted])| found != wanted)
        {
            return Err(Error::Length { buffer, found, wanted });
        }
        let mut at = AdaptedDeviceCall {
            loss: loss.at(loss.positions().map(|_| 0)),
            teacher: teacher.as_ref().map(AdaptedHostMap::nowhere),
            student: student.nowhere(),
            workspace: 0,
            sum: 0,
            overflowed: 0,
            stream: std::ptr::null_mut(),
        };
        let room = Self::adapted_workspace(&at)?;

        let gpu = self.gpu.enter()?;
        let positions = loss.positions().map(|(_, bytes, _)| gpu.upload(bytes)).transpose()?;
        let of_teacher = teacher.as_ref().map(|teacher| teacher.hold(&gpu)).transpose()?;
        let of_student = student.hold(&gpu)?;
        let workspace = gpu.buffer(room)?;
        let (sum, overflowed) = (gpu.buffer(size_of::<f64>())?, gpu.buffer(size_of::<u32>())?);
        at = AdaptedDeviceCall {
            loss: loss.at(positions.as_ref().map(address)),
            teacher: of_teacher.as_ref().zip(teacher.as_ref()).map(|(held, teacher)| held.at(teacher)),
            student: of_student.at(&student),
            workspace: workspace.address(),
            sum: sum.address(),
            overflowed: overflowed.address(),
            stream: gpu.stream()?,
        };
        // SAFETY: the buffers are as long as adapters and plan say. Below or after an error they are given back, and then used
        // in the order of the same stream alone, or freed by the driver, which waits for kernels before it frees.
        let divisor = unsafe { self.start_adapted(&gpu, &at) }?;
        gpu.synchronise(at.stream)?;
        student.receive(&gpu, &of_student)?;
        if let (Some(teacher), Some(held)) = (&mut teacher, &of_teacher) {
            teacher.receive(&gpu, held)?;
        }
        let (mut total, mut flags) = ([0.0_f64], [0_u32]);
        gpu.download(&sum, bytemuck::cast_slice_mut(&mut total))?;
        gpu.download(&overflowed, bytemuck::cast_slice_mut(&mut flags))?;
        let overflowed = Overflowed { student: flags[0] & 1 != 0, teacher: flags[0] & 2 != 0 };
        Ok(AdaptedSum { sum: total[0], divisor, overflowed })
    }
}
