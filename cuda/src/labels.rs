//! Labels as the classes of positions that the kernels take.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::{Device, check_all};
use crate::kernel::Kernel;
use densekd_core::{Labels, MapOptions, MapPlan, Mask};
use std::ffi::c_void;

/// The parameter of the kernel: the same bytes as `LabelsTask` in `kernels/labels.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct LabelsTask {
    labels: u64,
    mask: u64,
    classes: u64,
    images: u64,
    height: u64,
    width: u64,
    label_height: u64,
    label_width: u64,
    count: u64,
    ignored: i64,
}

const _: () = assert!(size_of::<LabelsTask>() == 80 && align_of::<LabelsTask>() == 8);

/// The class of every position `[N, H, W]` of a map loss that takes labels, below 0 for one that is left out.
///
/// # Errors
/// [`densekd_core::Error::Length`] for labels of another size than the map's where the loss wants them of that, and
/// [`densekd_core::Error::Label`] for one that is no channel of it where classes are channels.
///
/// ```
/// use densekd_core::{Labels, Loss, Mask, Order, Shape, Term};
/// let shape = Shape::new([1, 3, 1, 2])?;
/// let Term::Map(plan) = Term::new(Loss::Dkd.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let labels = Labels::new(&[2, 255], 1, 1, 2)?;
/// assert_eq!(densekd_cuda::classes(&plan, labels, Mask::ALL)?, [2, -1]);
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn classes(plan: &MapPlan, labels: Labels<'_>, mask: Mask<'_>) -> Result<Vec<i32>, densekd_core::Error> {
    let class = |class: Option<usize>| class.map_or(-1, |class| i32::try_from(class).unwrap_or(i32::MAX));
    let of_channels = |ignore_index| labels.classes(mask, plan.student(), ignore_index);
    Ok(match plan.options() {
        MapOptions::Dkd(options) => of_channels(options.ignore_index)?.map(class).collect(),
        MapOptions::SmoothCe(options) => of_channels(options.ignore_index)?.map(class).collect(),
        MapOptions::Ifvd(options) => options.classes(labels, mask, plan.student()).map(class).collect(),
        _ => Vec::new(),
    })
}

/// Labels in device memory that are to become classes of positions, in the order of a stream.
///
/// ```
/// use densekd_core::MapPlan;
/// use densekd_cuda::LabelsDeviceCall;
/// /// Labels of the map's own height and width.
/// fn of(plan: &MapPlan, labels: u64, classes: u64) -> LabelsDeviceCall<'_> {
///     let [_, _, height, width] = plan.student().dims();
///     LabelsDeviceCall { plan, labels, size: [height, width], mask: None, classes, stream: std::ptr::null_mut() }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LabelsDeviceCall<'a> {
    /// The plan of a loss that takes labels.
    pub plan: &'a MapPlan,
    /// Labels `[N, height, width]`, an `i64` each.
    pub labels: u64,
    /// Their height and width.
    pub size: [usize; 2],
    /// A byte a position of the map `[N, H, W]`, 0 for one that is left out.
    pub mask: Option<u64>,
    /// Where the classes go `[N, H, W]`, an `i32` each: [`MapDeviceCall::classes`](crate::MapDeviceCall::classes).
    pub classes: u64,
    /// The stream (`CUstream`), null for the default one.
    pub stream: *mut c_void,
}

impl Device {
    /// Starts the classes of labels in device memory, in the order of the caller's stream, and returns before it is done. A
    /// label that is no class leaves its position out: [`classes`] of the same labels says how many count, and which
    /// label is wrong.
    ///
    /// # Errors
    /// Before anything is done [`Error::Unsupported`] for a loss without labels or for labels of another size than the map's where
    /// the loss wants them of that, [`Error::NotOnDevice`] or [`Error::OtherDevice`]; or what the driver answers.
    ///
    /// # Safety
    /// As [`Device::launch`], of the addresses of [`LabelsDeviceCall`].
    pub unsafe fn launch_labels(&self, call: &LabelsDeviceCall<'_>) -> Result<(), Error> {
        let LabelsDeviceCall { plan, labels, size: [label_height, label_width], mask, classes, stream } =
            *call;
        let [images, channels, height, width] = plan.student().dims();
        let (count, ignored, is_any_size) = match plan.options() {
            MapOptions::Dkd(options) => (channels, options.ignore_index, false),
            MapOptions::SmoothCe(options) => (channels, options.ignore_index, false),
            MapOptions::Ifvd(options) => (options.num_classes.get(), options.ignore_index, true),
            _ => return Err(Error::Unsupported { reason: "the loss takes no labels" }),
        };
        if !is_any_size && [label_height, label_width] != [height, width] {
            return Err(Error::Unsupported { reason: "the loss takes a label a position" });
        }
        let gpu = self.gpu.enter()?;
        let buffers = [("labels", Some(labels)), ("mask", mask), ("classes", Some(classes))];
        check_all(&gpu, buffers.into_iter())?;
        let mut task = LabelsTask {
            labels,
            mask: mask.unwrap_or_default(),
            classes,
            images: images as u64,
            height: height as u64,
            width: width as u64,
            label_height: label_height as u64,
            label_width: label_width as u64,
            count: count as u64,
            ignored,
        };
        let positions = (images * height * width) as u64;
        let blocks = self.blocks(positions.div_ceil(u64::from(Kernel::THREADS)));
        // SAFETY: the kernel's one parameter is a `LabelsTask`, whose memory the caller vouches for.
        unsafe { gpu.launch(Kernel::LABELS, blocks, stream, &mut [(&raw mut task).cast()]) }
    }
}
