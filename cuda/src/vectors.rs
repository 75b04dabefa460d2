//! Pairs of vectors that are brought to a scale and compared: what the kernels of `vectors.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::kernel::{Kernel, Typed};
use crate::on::{On, Places, Pulled};
use densekd_core::DType;

/// The parameter of the kernels: the same bytes as `VectorTask` in `kernels/vectors.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct VectorTask {
    teacher: u64,
    student: u64,
    gradient: u64,
    values: u64,
    parts: u64,
    vectors: u64,
    overflowed: u64,
    outer: u64,
    count: u64,
    inner: u64,
    parts_of_vector: u64,
    eps_of_teacher: f64,
    eps_of_student: f64,
    share: f64,
    factor: f64,
    normalisation: u32,
    has_root: u32,
    to_teacher: u32,
    unused: u32,
}

const _: () = assert!(size_of::<VectorTask>() == 136 && align_of::<VectorTask>() == 8);

/// Bytes of `Vector` in `kernels/vectors.h`.
const VECTOR: usize = 72;
/// Bytes of the sums of a part.
const PART: usize = 4 * size_of::<f64>();

/// How a vector is made comparable: the numbers of `Normalisation` in `kernels/vectors.h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Raw,
    Standardise { eps: f64 },
    UnitLength { eps_of_teacher: f64, eps_of_student: f64 },
}

/// Pairs of vectors in tensors `[outer, count, inner]`, and what is made of their squared distances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Vectors {
    pub(crate) outer: usize,
    pub(crate) count: usize,
    pub(crate) inner: usize,
    pub(crate) scale: Scale,
    /// What a squared distance counts in the value.
    pub(crate) share: f64,
    /// The value is the sum of roots.
    pub(crate) has_root: bool,
}

/// The kernels of a layout: moments, comparison, gradient.
const fn kernels(apart: bool) -> [Typed; 3] {
    if apart {
        [Typed::APART_MOMENTS, Typed::APART_COMPARE, Typed::APART_PULL]
    } else {
        [Typed::LINES_MOMENTS, Typed::LINES_COMPARE, Typed::LINES_PULL]
    }
}

impl Vectors {
    /// Vectors of a block, and the blocks that one takes: by the shape alone.
    fn split(&self, dtype: DType) -> (u64, u64) {
        let (outer, inner) = (self.outer as u64, self.inner as u64);
        if inner == 1 {
            return (32, outer.div_ceil(256));
        }
        let pack = if dtype == DType::F64 { 1 } else { 16 / dtype.size() as u64 };
        // Lines begin anywhere between two boundaries.
        let packs = (inner + 2 * (pack - 1)) / pack;
        (1, (outer * packs).div_ceil(8 * u64::from(Kernel::THREADS)))
    }

    /// Bytes of values, sums of parts, vectors, and levels of the values' sum.
    fn sizes(&self, dtype: DType) -> [usize; 4] {
        let (_, parts) = self.split(dtype);
        let parts = self.count.saturating_mul(usize::try_from(parts).unwrap_or(usize::MAX));
        [
            self.count * size_of::<f64>(),
            parts.saturating_mul(PART),
            self.count * VECTOR,
            Device::levels(self.count),
        ]
    }

    /// Bytes of workspace.
    pub(crate) fn workspace(&self, dtype: DType) -> usize {
        self.sizes(dtype).into_iter().fold(0, usize::saturating_add)
    }

    fn task(&self, dtype: DType, at: &Places) -> VectorTask {
        let [values, parts, ..] = self.sizes(dtype).map(|bytes| bytes as u64);
        let (normalisation, eps_of_teacher, eps_of_student) = match self.scale {
            Scale::Raw => (0, 0.0, 0.0),
            Scale::Standardise { eps } => (1, eps, eps),
            Scale::UnitLength { eps_of_teacher, eps_of_student } => (2, eps_of_teacher, eps_of_student),
        };
        VectorTask {
            teacher: at.teacher,
            student: at.student,
            values: at.workspace,
            parts: at.workspace + values,
            vectors: at.workspace + values + parts,
            overflowed: at.overflowed,
            outer: self.outer as u64,
            count: self.count as u64,
            inner: self.inner as u64,
            parts_of_vector: self.split(dtype).1,
            eps_of_teacher,
            eps_of_student,
            share: self.share,
            normalisation,
            has_root: u32::from(self.has_root),
            ..VectorTask::default()
        }
    }

    /// Starts the value: the vectors' scales and distances stay in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let [moments, compare, _] = kernels(self.inner == 1);
        let task = self.task(on.dtype, &on.at);
        let (of_block, parts) = self.split(on.dtype);
        let (pieces, warps) = (task.count.div_ceil(of_block) * parts, u64::from(Kernel::THREADS / 32));
        let scale = |task: VectorTask| {
            // SAFETY: the kernels' one parameter is a `VectorTask`, whose memory the caller vouches for; sums and vectors
            // lie in the workspace where `sizes` has counted room for them.
            unsafe { on.run_each(&task, [(Kernel::VECTORS_SCALE, task.count, warps)]) }
        };
        if self.scale == Scale::Raw {
            // Numbers as they stand have no moments.
            scale(VectorTask { parts_of_vector: 0, ..task })?;
        } else {
            // SAFETY: as above.
            unsafe { on.run(on.kernel(moments)?, task, pieces, 1) }?;
            scale(task)?;
        }
        let compared = [(on.kernel(compare)?, pieces, 1), (Kernel::VECTORS_CLOSE, task.count, warps)];
        // SAFETY: as above.
        unsafe { on.run_each(&task, compared) }?;
        let [values, parts, vectors, _] = self.sizes(on.dtype).map(|bytes| bytes as u64);
        // SAFETY: the values were just written, and the levels have room at the workspace's end.
        unsafe { on.total(task.count, on.at.workspace + values + parts + vectors) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let [.., pull] = kernels(self.inner == 1);
        let (of_block, parts) = self.split(on.dtype);
        let Pulled { gradient, to_teacher, factor } = to;
        let to_teacher = u32::from(to_teacher);
        let task = VectorTask { gradient, factor, to_teacher, ..self.task(on.dtype, &on.at) };
        // SAFETY: as above.
        unsafe { on.run(on.kernel(pull)?, task, task.count.div_ceil(of_block) * parts, 1) }
    }
}
