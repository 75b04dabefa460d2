//! Labels in device memory become the classes that the host makes of them.
#![allow(unsafe_code, reason = "the driver's functions")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod driver;

use densekd_core::{Labels, Loss, MapPlan, Mask, Order, Shape, Term};
use densekd_cuda::{Device, Error, LabelsDeviceCall, classes};
use driver::Driver;

fn plan(loss: Loss, dims: [usize; 4]) -> MapPlan {
    let shape = Shape::new(dims).unwrap();
    match Term::new(loss.defaults(), shape, shape, Order::Nchw).unwrap() {
        Term::Map(plan) => plan,
        Term::Row(_) => unreachable!(),
    }
}

/// What the device makes of labels.
fn on_device(
    device: &Device,
    plan: &MapPlan,
    (labels, size): (&[i64], [usize; 2]),
    mask: Option<&[u8]>,
) -> Result<Vec<i32>, Error> {
    let [images, _, height, width] = plan.student().dims();
    let mut found = vec![0_i32; images * height * width];
    let driver = Driver::open();
    driver.set_current(driver.context);
    let (labels, to) = (driver.copy(labels), driver.allocate(size_of_val(&found[..])));
    let mask = mask.map(|mask| driver.copy(mask));
    driver.set_current(std::ptr::null_mut());
    let stream = std::ptr::null_mut();
    let call = LabelsDeviceCall { plan, labels, size, mask, classes: to, stream };
    // SAFETY: all addresses are of allocations above, as long as plan and size say.
    unsafe { device.launch_labels(&call) }?;
    // SAFETY: the default stream.
    unsafe { device.synchronise(stream) }?;
    driver.set_current(driver.context);
    driver.download(&mut found, to);
    driver.set_current(std::ptr::null_mut());
    Ok(found)
}

#[test]
fn labels_become_the_classes_that_the_host_makes_of_them() {
    // SAFETY: the only test of its process, before anything else reads the environment.
    unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
    let device = Device::open(0).unwrap();
    let dims = [2, 5, 6, 7];
    // Reduced, enlarged, by no whole number, of their own size, a single one.
    let sizes = [[12, 21], [3, 2], [7, 5], [6, 7], [1, 1]];
    let of_any_size = sizes.map(|size| (Loss::Ifvd, size));
    for (loss, size) in of_any_size.into_iter().chain([(Loss::Dkd, [6, 7]), (Loss::SmoothCe, [6, 7])]) {
        let plan = plan(loss, dims);
        // IFVD leaves out what is no class; the others have each channel as one.
        let beyond = if loss == Loss::Ifvd { 23 } else { 5 };
        let label = |i: usize| if i % 11 == 3 { 255 } else { i64::try_from(i * i % beyond).unwrap() };
        let mut labels: Vec<i64> = (0..2 * size[0] * size[1]).map(label).collect();
        if loss == Loss::Ifvd {
            labels[0] = -1;
        }
        let mask: Vec<u8> = (0..2 * 6 * 7).map(|i| u8::from(i % 3 != 1)).collect();
        let of = Labels::new(&labels, 2, size[0], size[1]).unwrap();
        for mask in [None, Some(&mask[..])] {
            let on_host = Mask::new(plan.student(), None, mask).unwrap();
            let wanted = classes(&plan, of, on_host).unwrap();
            assert_eq!(on_device(&device, &plan, (&labels, size), mask), Ok(wanted), "{loss:?} {size:?}");
        }
    }
    // A label that the host refuses leaves its position out.
    let labels = [0, 5, -7, 4, i64::MIN, i64::MAX];
    let found = on_device(&device, &plan(Loss::Dkd, [1, 5, 2, 3]), (&labels, [2, 3]), None);
    assert_eq!(found, Ok(vec![0, -1, -1, 4, -1, -1]));
    let refused = on_device(&device, &plan(Loss::Dkd, [1, 5, 2, 3]), (&labels, [3, 2]), None);
    assert_eq!(refused, Err(Error::Unsupported { reason: "the loss takes a label a position" }));
    let refused = on_device(&device, &plan(Loss::At, [1, 5, 2, 3]), (&labels, [2, 3]), None);
    assert_eq!(refused, Err(Error::Unsupported { reason: "the loss takes no labels" }));
}
