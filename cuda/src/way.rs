//! A map between its tensor and the loss: what it becomes on the way in, its gradient on the way out.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::adapted::AdaptedMap;
use crate::on::{On, Room};
use crate::project::{Parameters, Projecting};
use crate::resize::{Numbers, Resizing};
use densekd_core::{DType, Order};

/// A map on its way to the loss and its gradient on the way back.
pub(crate) struct Way {
    of: AdaptedMap,
    project: Option<Project>,
    /// A resize, or a conversion to the loss's type and order, or only of the gradient.
    resize: Option<Resizing>,
    /// What the loss takes.
    pub(crate) adapted: Numbers,
    /// Where its gradient goes, of the same type.
    pub(crate) gradient: Option<u64>,
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
    pub(crate) fn new(of: AdaptedMap, (dtype, order): (DType, Order), bit: u32, room: &mut Room) -> Self {
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
    pub(crate) unsafe fn forward(&self, on: &On<'_>) -> Result<(), Error> {
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
    pub(crate) unsafe fn pull(&self, on: &On<'_>) -> Result<(), Error> {
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
