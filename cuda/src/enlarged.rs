//! Rows of enlarged maps: those of maps behind an adapter that enlarges them.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::adapter::AdapterPlan;
use crate::gpu::Entered;
use crate::{AdaptedDeviceCall, AdaptedLoss, AdaptedMap, Device, DeviceCall, Error, KeptStates};
use densekd_core::{DType, Plan, Recipe, ResizeMode, RowOptions};
use std::num::NonZeroUsize;

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
