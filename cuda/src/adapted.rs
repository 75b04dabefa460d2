//! Losses of maps behind their adapters, in device memory: the map adapted, the loss, its gradient brought back.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::adapter::AdapterPlan;
use crate::device::check_all;
use crate::gpu::Entered;
use crate::on::{On, Places, Room};
use crate::project::{Parameters, Projecting};
use crate::resize::{Numbers, Resizing};
use crate::{Device, DeviceCall, Error, KeptStates, MapDeviceCall, uncovered, uncovered_map};
use densekd_core::{DType, MapPlan, Order, Plan, Recipe, ResizeMode, RowOptions, Shape};
use std::ffi::c_void;
use std::num::NonZeroUsize;

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
/// Adapted maps are `f64` where the loss has kernels for that, else `f32`; where nothing is adapted and all is of one
/// type, the loss takes the maps as they are.
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

    const fn numbers(&self) -> Numbers {
        Numbers { address: self.map, dtype: self.dtype }
    }

    const fn parameters(&self) -> Parameters {
        Parameters { weight: self.weight, bias: self.bias }
    }

    const fn wants_parameters(&self) -> bool {
        self.grad_weight.is_some() || self.grad_bias.is_some()
    }

    const fn wants_gradient(&self) -> bool {
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

    fn workspace(&self, dtype: DType) -> Result<usize, Error> {
        match self {
            Self::Rows { plan, .. } => Device::workspace(plan, dtype),
            Self::Map { plan, .. } => Device::map_workspace(plan, dtype),
        }
    }
}

/// A map on its way to the loss and its gradient on the way back.
struct Way {
    of: AdaptedMap,
    project: Option<Project>,
    /// A resize, or a conversion to the loss's type and order, or only of the gradient.
    resize: Option<Resizing>,
    /// What the loss takes.
    adapted: Numbers,
    /// Where its gradient goes, of the same type.
    gradient: Option<u64>,
    bit: u32,
}

struct Project {
    projecting: Projecting,
    projected: u64,
    /// The gradient to it, where any is wanted.
    pulled: u64,
    parts: u64,
}

impl Way {
    fn new(of: AdaptedMap, (dtype, order): (DType, Order), bit: u32, room: &mut Room) -> Self {
        let AdaptedMap { adapter, .. } = of;
        let wanted = of.wants_gradient();
        let between = adapter.between();
        let after =
            if adapter.outputs().is_some() { (DType::F64, order) } else { (of.dtype, adapter.order()) };
        let forwards = adapter.resize().is_some() || after != (dtype, order);
        // Behind a convolution what comes back is the gradient to what it made, of its type.
        let back = if adapter.outputs().is_some() { Some(DType::F64) } else { of.gradient.map(|(_, of)| of) };
        let backwards = wanted && back.is_some_and(|back| back != dtype);
        let resize =
            (forwards || backwards).then(|| Resizing::new(between, [after.1, order], adapter.resize(), room));
        let resized = resize.as_ref().map_or(between.len() as u64, Resizing::resized);
        let project = adapter.outputs().map(|outputs| {
            let orders = [adapter.order(), order];
            let projecting = Projecting::new(adapter.from(), outputs, orders, of.parameters());
            let projected = room.take(projecting.projected(), size_of::<f64>());
            Project { projected, pulled: 0, parts: 0, projecting }
        });
        let input = project
            .as_ref()
            .map_or(of.numbers(), |project| Numbers { address: project.projected, dtype: DType::F64 });
        let adapted =
            if forwards { Numbers { address: room.take(resized, dtype.size()), dtype } } else { input };
        let mut way = Self { of, project, resize, adapted, gradient: None, bit };
        if wanted {
            let direct = of.gradient.filter(|_| way.project.is_none() && way.resize.is_none());
            let gradient = match direct {
                Some((address, _)) => address,
                None => room.take(resized, dtype.size()),
            };
            way.gradient = Some(gradient);
            if let Some(project) = &mut way.project {
                let is_between = way.resize.is_some();
                let numbers = project.projecting.projected();
                project.pulled = if is_between { room.take(numbers, size_of::<f64>()) } else { gradient };
                if of.wants_parameters() {
                    project.parts = project.projecting.room(room);
                }
            }
        }
        way
    }

    /// # Safety
    /// As [`Device::launch_adapted`].
    unsafe fn forward(&self, on: &On<'_>) -> Result<(), Error> {
        let mut map = self.of.numbers();
        if let Some(Project { projecting, projected, .. }) = &self.project {
            // SAFETY: the map is the caller's, and `new` has taken room for what it becomes.
            unsafe { projecting.forward(on, map, *projected) }?;
            map = Numbers { address: *projected, dtype: DType::F64 };
        }
        let Some(resizing) = &self.resize else { return Ok(()) };
        // SAFETY: the same, for the axes.
        unsafe { resizing.prepare(on) }?;
        if self.adapted == map {
            return Ok(());
        }
        // SAFETY: the same.
        unsafe { resizing.forward(on, map, self.adapted) }
    }

    /// # Safety
    /// As [`Device::launch_adapted`], after the loss has written its gradient.
    unsafe fn pull(&self, on: &On<'_>) -> Result<(), Error> {
        let Some(address) = self.gradient else { return Ok(()) };
        let to = self.of.gradient.map(|(address, dtype)| Numbers { address, dtype });
        let of_projected =
            self.project.as_ref().map(|project| Numbers { address: project.pulled, dtype: DType::F64 });
        if let (Some(resizing), Some(to)) = (&self.resize, of_projected.or(to)) {
            let from = Numbers { address, dtype: self.adapted.dtype };
            // SAFETY: the gradient was just written, and it goes to the caller's, or to where `new` has taken room.
            unsafe { resizing.pull(on, from, to, self.bit) }?;
        }
        let Some(Project { projecting, pulled, parts, .. }) = &self.project else { return Ok(()) };
        if let Some(to) = to {
            // SAFETY: the same.
            unsafe { projecting.pull(on, *pulled, to, self.bit) }?;
        }
        if !self.of.wants_parameters() {
            return Ok(());
        }
        let to = Parameters { weight: self.of.grad_weight, bias: self.of.grad_bias };
        // SAFETY: the same.
        unsafe { projecting.pull_parameters(on, (self.of.numbers(), *pulled), *parts, to) }
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
        if let Some(reason) = self.loss.uncovered(DType::F64)
            && sides().any(|side| side.dtype == DType::F64)
        {
            return Err(reason);
        }
        let dtype = if sides().all(|side| side.is_plain(dtype, order)) {
            dtype
        } else if self.loss.uncovered(DType::F64).is_none() {
            DType::F64
        } else {
            DType::F32
        };
        self.loss.uncovered(dtype).map_or(Ok(dtype), Err)
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

/// Rows of an enlarged map (`upsample`): the same of maps that are enlarged, and the adapter that does it.
pub(crate) struct Enlarged {
    plan: Plan,
    adapter: AdapterPlan,
}

impl Enlarged {
    /// `None` for rows of a map as it is.
    pub(crate) fn of(plan: &Plan) -> Result<Option<Self>, densekd_core::Error> {
        if !plan.is_upsampled() {
            return Ok(None);
        }
        let options = RowOptions { upsample: NonZeroUsize::MIN, ..*plan.recipe().options() };
        let [_, _, height, width] = plan.counted_shape().dims();
        let mode = ResizeMode::Bilinear { align_corners: true };
        let adapter = AdapterPlan::new(plan.shape(), plan.order()).with_resize(mode, [height, width])?;
        let plan = Plan::new(Recipe::new(options)?, plan.counted_shape(), plan.order())?;
        Ok(Some(Self { plan, adapter }))
    }

    fn call(&self, of: &DeviceCall<'_>) -> AdaptedDeviceCall<'_> {
        let map = |map, gradient: Option<u64>| AdaptedMap {
            gradient: gradient.map(|gradient| (gradient, of.dtype)),
            ..AdaptedMap::new(self.adapter, of.dtype, map)
        };
        let DeviceCall { mask, factor, states, workspace, sum, overflowed, stream, .. } = *of;
        AdaptedDeviceCall {
            loss: AdaptedLoss::Rows { plan: &self.plan, mask, factor, states },
            teacher: Some(map(of.teacher, of.grad_teacher)),
            student: map(of.student, of.grad_student),
            workspace,
            sum,
            overflowed,
            stream,
        }
    }

    /// Bytes of workspace, for both gradients.
    pub(crate) fn workspace(&self, dtype: DType) -> Result<usize, Error> {
        let of = DeviceCall {
            plan: &self.plan,
            dtype,
            teacher: 0,
            student: 0,
            mask: None,
            factor: 0.0,
            grad_student: Some(0),
            grad_teacher: Some(0),
            states: KeptStates::Drop,
            workspace: 0,
            sum: 0,
            overflowed: 0,
            stream: std::ptr::null_mut(),
        };
        Device::adapted_workspace(&self.call(&of))
    }

    /// # Safety
    /// As [`Device::launch`].
    pub(crate) unsafe fn start(
        &self,
        device: &Device,
        gpu: &Entered<'_>,
        of: &DeviceCall<'_>,
    ) -> Result<(), Error> {
        // SAFETY: the caller's promise; the workspace has room for both gradients.
        unsafe { device.start_adapted(gpu, &self.call(of)) }.map(drop)
    }
}
