//! Losses of maps behind their adapters, in device memory: the map adapted, the loss, its gradient brought back.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::adapter::AdapterPlan;
use crate::device::check_all;
use crate::gpu::Entered;
use crate::on::{On, Places, Room};
use crate::project::Parameters;
use crate::resize::Numbers;
use crate::way::Way;
use crate::{
    Device, DeviceCall, Error, KeptStates, MapDeviceCall, uncovered, uncovered_map, uncovered_statistics,
};
use densekd_core::{DType, MapPlan, Order, Plan, Shape};
use std::ffi::c_void;

/// A map in device memory, and what is done to it before a loss.
///
/// ```
/// use densekd_core::{DType, Order, ResizeMode, Shape};
/// use densekd_cuda::{AdaptedMap, AdapterPlan};
/// /// A student that is enlarged twice, with the gradient to it.
/// fn student(map: u64, gradient: u64) -> Result<AdaptedMap, densekd_core::Error> {
///     let plan = AdapterPlan::new(Shape::new([2, 19, 64, 64])?, Order::Nchw);
///     let mode = ResizeMode::Bilinear { align_corners: false };
///     let gradient = Some((gradient, DType::F16));
///     Ok(AdaptedMap { gradient, ..AdaptedMap::new(plan.with_resize(mode, [128, 128])?, DType::F16, map) })
/// }
/// assert!(student(0x1000, 0x2000)?.gradient.is_some());
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptedMap {
    /// What is done to it.
    pub adapter: AdapterPlan,
    /// The type that it is stored in.
    pub dtype: DType,
    /// Its elements.
    pub map: u64,
    /// The convolution's weight `[C_out, C_in]`, of `f64`; without one the convolution is the identity.
    pub weight: Option<u64>,
    /// The convolution's bias `[C_out]`, of `f64`.
    pub bias: Option<u64>,
    /// Where the gradient to the map goes, and the type that it is rounded to.
    pub gradient: Option<(u64, DType)>,
    /// Where the gradient to the weight goes, of `f64`.
    pub grad_weight: Option<u64>,
    /// Where the gradient to the bias goes, of `f64`.
    pub grad_bias: Option<u64>,
}

/// A loss of adapted maps.
///
/// ```
/// use densekd_core::MapPlan;
/// use densekd_cuda::AdaptedLoss;
/// fn of(plan: &MapPlan) -> AdaptedLoss<'_> {
///     AdaptedLoss::Map { plan, classes: None, upstream: 1.0 }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum AdaptedLoss<'a> {
    /// Of rows; as in [`DeviceCall`].
    Rows {
        /// The plan, on the adapted maps.
        plan: &'a Plan,
        /// A byte an adapted position `[N, H, W]`, 0 for one that is left out.
        mask: Option<u64>,
        /// What the gradient of the sum of rows is multiplied by: weight, tau^2, divisor and what comes from above.
        factor: f64,
        /// What becomes of the rows' states.
        states: KeptStates,
    },
    /// Of whole maps; as in [`MapDeviceCall`].
    Map {
        /// The plan, on the adapted maps.
        plan: &'a MapPlan,
        /// Of a loss that takes labels: the class of every adapted position, and how many count.
        classes: Option<(u64, usize)>,
        /// The gradient from above.
        upstream: f64,
    },
}

/// One use of a loss on maps behind their adapters, in the order of a stream.
///
/// Adapted maps are `f64` where a loss of maps has kernels for that or a map is stored so, else `f32`; where nothing is
/// adapted and all is of one type, the loss takes the maps as they are.
#[derive(Clone, Copy, Debug)]
pub struct AdaptedDeviceCall<'a> {
    /// The loss.
    pub loss: AdaptedLoss<'a>,
    /// The teacher, where the loss compares with one.
    pub teacher: Option<AdaptedMap>,
    /// The student.
    pub student: AdaptedMap,
    /// [`Device::adapted_workspace`] bytes, at a multiple of 16. Afterwards it begins with each row's divergence, of
    /// rows, an `f64`.
    pub workspace: u64,
    /// Where the sum goes, an `f64`.
    pub sum: u64,
    /// Where a `u32` goes: bit 0 where a finite gradient to the student became infinite, bit 1 where one to the teacher.
    pub overflowed: u64,
    /// The stream (`CUstream`), null for the default one.
    pub stream: *mut c_void,
}

impl AdaptedMap {
    /// A map alone, without parameters and gradients.
    pub const fn new(adapter: AdapterPlan, dtype: DType, map: u64) -> Self {
        Self {
            adapter,
            dtype,
            map,
            weight: None,
            bias: None,
            gradient: None,
            grad_weight: None,
            grad_bias: None,
        }
    }

    pub(crate) const fn numbers(&self) -> Numbers {
        Numbers { address: self.map, dtype: self.dtype }
    }

    pub(crate) const fn parameters(&self) -> Parameters {
        Parameters { weight: self.weight, bias: self.bias }
    }

    pub(crate) const fn wants_parameters(&self) -> bool {
        self.grad_weight.is_some() || self.grad_bias.is_some()
    }

    pub(crate) const fn wants_gradient(&self) -> bool {
        self.gradient.is_some() || self.wants_parameters()
    }

    /// Whether a loss in this type and memory order takes it as it is, and writes its gradient.
    fn is_plain(&self, dtype: DType, order: Order) -> bool {
        let of_type = self.dtype == dtype && self.gradient.is_none_or(|(_, of)| of == dtype);
        self.adapter.is_identity() && self.adapter.order() == order && of_type
    }

    /// Addresses of the caller's.
    fn addresses(&self, names: [&'static str; 6]) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        let gradient = self.gradient.map(|(address, _)| address);
        let of = [Some(self.map), self.weight, self.bias, gradient, self.grad_weight, self.grad_bias];
        names.into_iter().zip(of)
    }

    /// Whether the loss, on maps of this shape, can have it.
    fn check(&self, buffer: &'static str, shape: Shape) -> Result<(), Error> {
        let (found, wanted) = (self.adapter.to().len(), shape.len());
        if found != wanted {
            return Err(Error::Length { buffer, found, wanted });
        }
        let changes_channels = self.adapter.outputs().is_some_and(|of| of != self.adapter.from().channels());
        let reasons = [
            (self.adapter.to() != shape, "an adapted map has another shape than the loss"),
            (changes_channels && self.weight.is_none(), "a convolution to other channels wants a weight"),
            (
                self.adapter.outputs().is_none() && (self.weight.is_some() || self.bias.is_some()),
                "parameters are those of a convolution",
            ),
            (
                self.adapter.outputs().is_none() && self.wants_parameters(),
                "gradients to parameters are those of a convolution",
            ),
            (
                self.weight.is_none() && self.grad_weight.is_some(),
                "a convolution without a weight has no gradient to it",
            ),
        ];
        let reason = reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason));
        reason.map_or(Ok(()), |reason| Err(Error::Unsupported { reason }))
    }
}

impl AdaptedLoss<'_> {
    fn order(&self) -> Order {
        match self {
            Self::Rows { plan, .. } => plan.order(),
            Self::Map { plan, .. } => plan.order(),
        }
    }

    /// Shapes of student and teacher.
    const fn shapes(&self) -> [Shape; 2] {
        match self {
            Self::Rows { plan, .. } => [plan.shape(); 2],
            Self::Map { plan, .. } => [plan.student(), plan.teacher()],
        }
    }

    fn uncovered(&self, dtype: DType) -> Option<&'static str> {
        match self {
            Self::Rows { plan, .. } => uncovered(plan, dtype),
            Self::Map { plan, .. } => uncovered_map(plan, dtype),
        }
    }

    /// Rows in `f64` cost many times what they cost in `f32`: they are where the maps are.
    fn is_adapted_in_f64(&self) -> bool {
        matches!(self, Self::Map { .. }) && self.uncovered(DType::F64).is_none()
    }

    fn uncovered_states(&self, dtype: DType) -> Option<&'static str> {
        match self {
            Self::Rows { states: KeptStates::Drop, .. } | Self::Map { .. } => None,
            Self::Rows { plan, .. } => uncovered_statistics(plan, dtype),
        }
    }

    fn workspace(&self, dtype: DType) -> Result<usize, Error> {
        match self {
            Self::Rows { plan, .. } => Device::workspace(plan, dtype),
            Self::Map { plan, .. } => Device::map_workspace(plan, dtype),
        }
    }
}

/// All of a call's places.
struct Plans {
    dtype: DType,
    student: Way,
    teacher: Option<Way>,
    bytes: usize,
}

impl AdaptedDeviceCall<'_> {
    /// The type that the loss is taken in.
    fn dtype(&self) -> Result<DType, &'static str> {
        let sides = || [Some(&self.student), self.teacher.as_ref()].into_iter().flatten();
        let (dtype, order) = (self.student.dtype, self.loss.order());
        let is_wide = sides().any(|side| side.dtype == DType::F64);
        let dtype = if is_wide {
            DType::F64
        } else if sides().all(|side| side.is_plain(dtype, order)) {
            dtype
        } else if self.loss.is_adapted_in_f64() {
            DType::F64
        } else {
            DType::F32
        };
        self.loss.uncovered(dtype).or_else(|| self.loss.uncovered_states(dtype)).map_or(Ok(dtype), Err)
    }

    fn plans(&self) -> Result<Plans, Error> {
        let dtype = self.dtype().map_err(|reason| Error::Unsupported { reason })?;
        let [student, teacher] = self.loss.shapes();
        if self.teacher.is_none() && matches!(self.loss, AdaptedLoss::Rows { .. }) {
            return Err(Error::Unsupported { reason: "rows are compared with a teacher's" });
        }
        self.student.check("student", student)?;
        self.teacher.map_or(Ok(()), |map| map.check("teacher", teacher))?;
        let mut room = Room::from(self.workspace);
        room.take(self.loss.workspace(dtype)? as u64, 1);
        let with = (dtype, self.loss.order());
        let student = Way::new(self.student, with, 1, &mut room);
        let teacher = self.teacher.map(|teacher| Way::new(teacher, with, 2, &mut room));
        let bytes = room.bytes();
        Ok(Plans { dtype, student, teacher, bytes })
    }
}

impl Device {
    /// Bytes of workspace that a loss of adapted maps takes. Which addresses there are counts, not what they are.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Length`], as [`launch_adapted`](Self::launch_adapted).
    pub fn adapted_workspace(call: &AdaptedDeviceCall<'_>) -> Result<usize, Error> {
        Ok(AdaptedDeviceCall { workspace: 0, ..*call }.plans()?.bytes)
    }

    /// Starts a loss of adapted maps in device memory, in the order of the caller's stream, and returns before it is done:
    /// of a map loss, what the sum is to be divided by. Nothing is allocated, and nothing waited for.
    ///
    /// # Errors
    /// Before anything is done [`Error::Unsupported`] where the loss is not covered or an adapter does not fit it,
    /// [`Error::Length`] for an adapted map of another length than the loss's, and [`Error::NotOnDevice`] or
    /// [`Error::OtherDevice`] for an address that is none of the device's; or what the driver answers.
    ///
    /// # Safety
    /// As [`Device::launch`], of the addresses of [`AdaptedDeviceCall`]: maps as long as their adapters say, at a multiple
    /// of their numbers' size, as are parameters and gradients.
    pub unsafe fn launch_adapted(&self, call: &AdaptedDeviceCall<'_>) -> Result<Option<f64>, Error> {
        call.plans()?;
        let gpu = self.gpu.enter()?;
        let student = ["student", "weight", "bias", "grad_student", "grad_weight", "grad_bias"];
        let teacher = ["teacher", "weight", "bias", "grad_teacher", "grad_weight", "grad_bias"];
        let maps = call.student.addresses(student);
        let maps = maps.chain(call.teacher.iter().flat_map(|map| map.addresses(teacher)));
        let positions = match call.loss {
            AdaptedLoss::Rows { mask, .. } => ("mask", mask),
            AdaptedLoss::Map { classes, .. } => ("classes", classes.map(|(classes, _)| classes)),
        };
        let always = [
            positions,
            ("workspace", Some(call.workspace)),
            ("sum", Some(call.sum)),
            ("overflowed", Some(call.overflowed)),
        ];
        check_all(&gpu, maps.chain(always))?;
        // SAFETY: the caller's promise.
        unsafe { self.start_adapted(&gpu, call) }
    }

    /// # Safety
    /// As [`Device::launch_adapted`].
    pub(crate) unsafe fn start_adapted(
        &self,
        gpu: &Entered<'_>,
        call: &AdaptedDeviceCall<'_>,
    ) -> Result<Option<f64>, Error> {
        let AdaptedDeviceCall { workspace, sum, overflowed, stream, .. } = *call;
        let Plans { dtype, student, teacher, .. } = call.plans()?;
        let (from_student, from_teacher) =
            (student.adapted.address, teacher.as_ref().map(|way| way.adapted.address));
        let at = Places {
            teacher: from_teacher.unwrap_or_default(),
            student: from_student,
            workspace,
            sum,
            overflowed,
            stream,
        };
        let on = On { device: self, gpu, dtype, at };
        let ways = || [Some(&student), teacher.as_ref()].into_iter().flatten();
        for way in ways() {
            // SAFETY: the caller's promise.
            unsafe { way.forward(&on) }?;
        }
        let (grad_student, grad_teacher) = (student.gradient, teacher.as_ref().and_then(|way| way.gradient));
        let divisor = match call.loss {
            AdaptedLoss::Rows { plan, mask, factor, states } => {
                let call = DeviceCall {
                    plan,
                    dtype,
                    teacher: at.teacher,
                    student: at.student,
                    mask,
                    factor,
                    grad_student,
                    grad_teacher,
                    states,
                    workspace,
                    sum,
                    overflowed,
                    stream,
                };
                // SAFETY: the maps were just made as the plan says, or are the caller's.
                unsafe { self.start(gpu, &call) }?;
                None
            }
            AdaptedLoss::Map { plan, classes, upstream } => {
                let call = MapDeviceCall {
                    plan,
                    dtype,
                    teacher: from_teacher,
                    student: from_student,
                    classes,
                    upstream,
                    grad_student,
                    grad_teacher,
                    workspace,
                    sum,
                    overflowed,
                    stream,
                };
                // SAFETY: the same.
                Some(unsafe { self.start_map(gpu, &call) }?)
            }
        };
        for way in ways() {
            // SAFETY: the loss has written the gradients that were asked for.
            unsafe { way.pull(&on) }?;
        }
        Ok(divisor)
    }
}
