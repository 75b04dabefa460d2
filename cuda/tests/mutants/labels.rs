//! Labels that become classes, in memory of the caller's.
#![allow(unsafe_code, reason = "the driver's functions")]

use crate::driver::Driver;
use crate::uses::Numbers;
use densekd_core::{Loss, Order, Shape, Term};
use densekd_cuda::{Device, Error, LabelsDeviceCall};

/// The classes of so many images' positions, from labels of another size, of which some are no class.
pub(crate) fn classes(
    device: &Device,
    [images, height, width]: [usize; 3],
    size: [usize; 2],
) -> Result<Numbers, Error> {
    let shape = Shape::new([images, 1, height, width]).unwrap();
    let Term::Map(plan) = Term::new(Loss::Ifvd.defaults(), shape, shape, Order::Nchw).unwrap() else {
        unreachable!()
    };
    let count = images * size[0] * size[1];
    // From below 0 to beyond the last class, and what is left out by its number.
    let labels: Vec<i64> =
        (0..count).map(|i| i64::try_from((i * 37 + i * i % 89) % 23).unwrap() - 1).collect();
    let labels: Vec<i64> = labels.iter().map(|&label| if label == 7 { 255 } else { label }).collect();
    let mask: Vec<u8> = (0..images * height * width).map(|i| u8::from((i * i + i / 3) % 5 != 0)).collect();
    let mut found = vec![0_i32; mask.len()];
    let driver = Driver::open();
    driver.set_current(driver.context);
    let (labels, mask, classes) =
        (driver.copy(&labels), driver.copy(&mask), driver.allocate(4 * found.len()));
    driver.set_current(std::ptr::null_mut());
    let stream = std::ptr::null_mut();
    let call = LabelsDeviceCall { plan: &plan, labels, size, mask: Some(mask), classes, stream };
    // SAFETY: all addresses are of allocations above, as long as plan and size say.
    unsafe { device.launch_labels(&call) }?;
    // SAFETY: the default stream.
    unsafe { device.synchronise(stream) }?;
    driver.set_current(driver.context);
    driver.download(&mut found, classes);
    driver.set_current(std::ptr::null_mut());
    Ok(vec![found.into_iter().map(f64::from).collect()])
}
