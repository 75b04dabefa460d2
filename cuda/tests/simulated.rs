//! The whole way on the simulated device: driver, module, launch, the shipped kernels, against the core.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{
    Divergence, Element, Inputs, Mask, Norm, Order, Outcome, Outputs, Plan, Recipe, RowOptions, Shape, Slab,
    Temperature, Tensor, Upstream, run,
};
use densekd_cuda::{Device, HostCall, Sum};
use half::{bf16, f16};
use std::sync::OnceLock;

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        // SAFETY: every test comes here first, and the others wait: nobody reads the environment meanwhile.
        unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
        Device::open(0).unwrap()
    })
}

/// Relative to the value and to a row's largest gradient; half gradients are rounded once more.
const VALUE: f64 = 4e-6;
const GRADIENT: f64 = 4e-6;

#[derive(Clone, Copy, Debug)]
struct Case {
    options: RowOptions,
    shape: [usize; 4],
    order: Order,
    masked: bool,
    distance: f32,
    /// What one entry of each channel differs by, beyond that.
    outlier: f32,
}

fn compare<E: Element>(case: Case, (half, subnormal): (f64, f64))
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> densekd_core::TensorMut<'a>: From<&'a mut [E]>,
{
    let mut random = fastrand::Rng::with_seed(case.shape.iter().sum::<usize>() as u64);
    let shape = Shape::new(case.shape).unwrap();
    let plan = Plan::new(Recipe::new(case.options).unwrap(), shape, case.order).unwrap();
    let mut one = |center: f32, spread: f32| center + spread * (2.0 * random.f32() - 1.0);
    let base: Vec<f32> = (0..shape.len()).map(|_| one(0.0, 4.0)).collect();
    let outlier = |i: usize| if i.is_multiple_of(shape.positions()) { case.outlier } else { 0.0 };
    let teacher: Vec<E> =
        base.iter().enumerate().map(|(i, &x)| E::narrow(one(x + outlier(i), case.distance))).collect();
    let student: Vec<E> = base.iter().map(|&x| E::narrow(x)).collect();
    let counted: Vec<u8> =
        (0..shape.images() * shape.positions()).map(|_| u8::from(one(0.0, 1.0) > -0.6)).collect();
    let mask = if case.masked { Mask::new(shape, None, Some(&counted)).unwrap() } else { Mask::ALL };

    let mut wanted = vec![0.0_f64; shape.len()];
    let mut rows = vec![0.0; plan.rows()];
    let inputs = Inputs::new(&plan, &teacher[..], &student[..], mask).unwrap();
    let outputs = Outputs {
        grad_student: Some(&mut Slab::new(&mut wanted, 0)),
        row_values: Some(&mut rows),
        ..Outputs::default()
    };
    let outcome: Outcome = run(&inputs, Upstream::ONE, outputs).unwrap();

    let mut found = vec![E::default(); shape.len()];
    let mut values = vec![-1.0; plan.rows()];
    let factor = if outcome.divisor == 0.0 { 0.0 } else { outcome.scale / outcome.divisor };
    let call = HostCall {
        plan: &plan,
        teacher: teacher[..].into(),
        student: student[..].into(),
        mask: case.masked.then_some(&counted[..]),
        factor,
        gradient: Some((&mut found[..]).into()),
        row_values: Some(&mut values),
    };
    let Sum { sum, overflowed } = device().submit(call).unwrap();
    assert!(!overflowed);
    let close = |what: &str, found: f64, wanted: f64, tolerance: f64| {
        assert!((found - wanted).abs() <= tolerance, "{case:?} {}: {what} {found} {wanted}", E::DTYPE);
    };
    close("sum", sum, outcome.sum, VALUE * outcome.sum);
    for (&found, &wanted) in values.iter().zip(&rows) {
        close("row", found, wanted, VALUE * wanted + 1e-30);
    }
    let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    for (&found, &wanted) in found.iter().zip(&wanted) {
        close("gradient", found.widen(), wanted, GRADIENT * largest + half * wanted.abs() + subnormal);
    }
}

fn all_types(case: Case) {
    compare::<f32>(case, (0.0, 0.0));
    compare::<f16>(case, (2.0_f64.powi(-11), 2.0_f64.powi(-25)));
    compare::<bf16>(case, (2.0_f64.powi(-8), 0.0));
}

#[test]
fn rows_of_every_length_agree_with_the_core() {
    for width in [1, 2, 19, 64, 65, 300, 1001, 4096, 4097, 8193, 13_000] {
        for distance in [3.0, 1e-3] {
            for masked in [false, true] {
                let shape = [2, 3, 1, width];
                all_types(Case {
                    options: RowOptions::CWD,
                    shape,
                    order: Order::Nchw,
                    masked,
                    distance,
                    outlier: 0.0,
                });
            }
        }
    }
}

#[test]
fn columns_of_every_length_agree_with_the_core() {
    for (options, order, shape) in [
        (RowOptions::PI, Order::Nchw, [2, 19, 5, 9]),
        (RowOptions::PI, Order::Nchw, [1, 150, 3, 3]),
        (RowOptions::PI, Order::Nhwc, [2, 19, 5, 9]),
        (RowOptions::CWD, Order::Nhwc, [2, 5, 20, 20]),
        (RowOptions::CWD, Order::Nhwc, [3, 3, 7, 7]),
    ] {
        for masked in [false, true] {
            all_types(Case { options, shape, order, masked, distance: 1.0, outlier: 0.0 });
        }
    }
}

#[test]
fn cross_entropy_agrees_with_the_core() {
    let tau = Temperature::new(0.7).unwrap();
    for norm in [Norm::Channel, Norm::Spatial] {
        let options = RowOptions { divergence: Divergence::Ce, norm, tau, ..RowOptions::CWD };
        for shape in [[2, 19, 6, 7], [1, 2, 70, 70]] {
            all_types(Case { options, shape, order: Order::Nchw, masked: true, distance: 2.0, outlier: 0.0 });
        }
    }
}

#[test]
fn a_bad_first_guess_of_the_log_ratio_is_made_good() {
    // Close rows but for one entry, so that the middle of all differences is off by half of its.
    for width in [19, 300, 1001, 5000] {
        let (options, shape) = (RowOptions::CWD, [2, 3, 1, width]);
        all_types(Case { options, shape, order: Order::Nchw, masked: false, distance: 1e-3, outlier: 3.6 });
    }
}
