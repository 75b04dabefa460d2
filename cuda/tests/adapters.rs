//! What adapters that do not fit are refused with, before any device is asked.
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{
    DType, Divergence, Loss, MapPlan, Order, Plan, Recipe, ResizeMode, RowOptions, Shape, Term,
};
use densekd_cuda::{AdaptedDeviceCall, AdaptedLoss, AdaptedMap, AdapterPlan, Device, Error, KeptStates};

fn plan(dims: [usize; 4]) -> AdapterPlan {
    AdapterPlan::new(Shape::new(dims).unwrap(), Order::Nchw)
}

fn mimic(dims: [usize; 4]) -> MapPlan {
    let shape = Shape::new(dims).unwrap();
    let Term::Map(plan) = Term::new(Loss::Mimic.defaults(), shape, shape, Order::Nchw).unwrap() else {
        unreachable!()
    };
    plan
}

fn workspace(loss: AdaptedLoss<'_>, student: AdaptedMap) -> Result<usize, Error> {
    Device::adapted_workspace(&AdaptedDeviceCall {
        loss,
        teacher: Some(AdaptedMap::new(plan([1, 4, 6, 6]), DType::F16, 0)),
        student,
        workspace: 0,
        sum: 0,
        overflowed: 0,
        stream: std::ptr::null_mut(),
    })
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let of = mimic([1, 4, 6, 6]);
    let loss = AdaptedLoss::Map { plan: &of, classes: None, upstream: 1.0 };
    let map = |adapter| AdaptedMap::new(adapter, DType::F16, 0);
    let small = plan([1, 4, 3, 3]);
    let size = ResizeMode::Nearest;
    let short = Error::Length { buffer: "student", found: 36, wanted: 144 };
    assert_eq!(workspace(loss, map(small)), Err(short));
    let fits = small.with_resize(size, [6, 6]).unwrap();
    assert!(workspace(loss, map(fits)).is_ok());
    let projected = |weight, grad_weight| AdaptedMap {
        weight: Some(weight),
        grad_weight: Some(grad_weight),
        ..map(plan([1, 2, 6, 6]).with_projection(4).unwrap())
    };
    assert_eq!(workspace(loss, projected(0, 0)), workspace(loss, projected(4096, 8192)));
    let refused = [
        (map(small.with_resize(size, [4, 9]).unwrap()), "another shape"),
        (map(plan([1, 2, 6, 6]).with_projection(4).unwrap()), "wants a weight"),
        (AdaptedMap { bias: Some(0), ..map(fits) }, "parameters are those of a convolution"),
        (AdaptedMap { grad_bias: Some(0), ..map(fits) }, "gradients to parameters"),
        (AdaptedMap { grad_weight: Some(0), ..map(fits.with_projection(4).unwrap()) }, "no gradient to it"),
    ];
    for (map, why) in refused {
        let Err(Error::Unsupported { reason }) = workspace(loss, map) else { panic!("{why}") };
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn rows_have_a_teacher_and_few_are_of_f64() {
    let shape = Shape::new([1, 4, 6, 6]).unwrap();
    let Term::Row(of) = Term::new(Loss::Cwd.defaults(), shape, shape, Order::Nchw).unwrap() else {
        unreachable!()
    };
    let rows = AdaptedLoss::Rows { plan: &of, mask: None, factor: 1.0, states: KeptStates::Drop };
    let student = AdaptedMap::new(plan([1, 4, 6, 6]), DType::F64, 0);
    assert!(workspace(rows, student).is_ok());
    let js = Recipe::new(RowOptions { divergence: Divergence::Js, ..RowOptions::CWD }).unwrap();
    let js = Plan::new(js, shape, Order::Nchw).unwrap();
    let refused = [
        AdaptedLoss::Rows { plan: &js, mask: None, factor: 1.0, states: KeptStates::Drop },
        AdaptedLoss::Rows { plan: &of, mask: None, factor: 1.0, states: KeptStates::Write(4096) },
    ];
    for rows in refused {
        let Err(Error::Unsupported { reason }) = workspace(rows, student) else { panic!("f64 rows") };
        assert!(reason.contains("f64"), "{reason}");
    }
    let alone = AdaptedDeviceCall {
        loss: rows,
        teacher: None,
        student: AdaptedMap { dtype: DType::F32, ..student },
        workspace: 0,
        sum: 0,
        overflowed: 0,
        stream: std::ptr::null_mut(),
    };
    assert!(matches!(Device::adapted_workspace(&alone), Err(Error::Unsupported { .. })));
}
