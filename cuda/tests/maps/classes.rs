//! Losses over the classes of positions.

use crate::device::device;
use crate::support::{Case, F32};
use densekd_core::{
    Divisor, DkdOptions, Element, Labels, MapInputs, MapOptions, Mask, Options, Order, Shape, Share, Slab,
    SmoothCeOptions, Temperature, Tensor, TensorMut, Term, Upstream, run_map,
};
use densekd_cuda::{MapHostCall, classes};
use half::{bf16, f16};

/// Of losses over classes, relative to the value and to the largest entry of the gradient.
const CLASSES: f64 = 4e-6;

fn compare_classes<E: Element>(case: Case, (half, subnormal): (f64, f64))
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let (teacher, student) = case.maps::<E>();
    let shape = Shape::new(case.student).unwrap();
    let Term::Map(plan) = Term::new(Options::Map(case.options), shape, shape, case.order).unwrap() else {
        unreachable!()
    };
    let mut random = fastrand::Rng::with_seed(7);
    let positions = shape.images() * shape.positions();
    let label =
        |_| if random.u8(..) < 50 { 255 } else { random.i64(0..i64::try_from(case.student[1]).unwrap()) };
    let labels: Vec<i64> = (0..positions).map(label).collect();
    let counted: Vec<u8> = (0..positions).map(|i| u8::from(i % 11 > 0)).collect();
    let [images, _, height, width] = case.student;
    let (labels, mask) = (
        Labels::new(&labels, images, height, width).unwrap(),
        Mask::new(shape, None, Some(&counted)).unwrap(),
    );
    let inputs = MapInputs::new(&plan, plan.takes_teacher().then_some(teacher[..].into()), &student[..])
        .unwrap()
        .with_labels(labels)
        .unwrap()
        .with_mask(mask)
        .unwrap();
    let classes = classes(&plan, labels, mask).unwrap();
    let (mut state, mut wanted) = (vec![0.0; plan.scratch()], vec![0.0_f64; student.len()]);
    let outcome =
        run_map(inputs, Upstream::ONE, &mut state, Some(&mut Slab::new(&mut wanted, 0)), None).unwrap();
    let mut found = vec![E::default(); student.len()];
    let done = device()
        .submit_map(MapHostCall {
            plan: &plan,
            teacher: plan.takes_teacher().then_some(teacher[..].into()),
            student: student[..].into(),
            classes: Some(&classes),
            upstream: 1.0,
            grad_student: Some((&mut found[..]).into()),
            grad_teacher: None,
        })
        .unwrap();
    assert_eq!(done.divisor, outcome.divisor, "{case:?}");
    let close = |what: &str, found: f64, wanted: f64, tolerance: f64| {
        assert!((found - wanted).abs() <= tolerance, "{case:?} {}: {what} {found:e} {wanted:e}", E::DTYPE);
    };
    close("sum", done.sum, outcome.sum, CLASSES * outcome.sum);
    let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    for (found, &wanted) in found.iter().zip(&wanted) {
        close("gradient", found.widen(), wanted, CLASSES * largest + half * wanted.abs() + subnormal);
    }
}

#[test]
fn classes_agree_with_the_core() {
    let tau = Temperature::new(0.7).unwrap();
    let dkd = DkdOptions::DEFAULT;
    for options in [
        MapOptions::Dkd(dkd),
        MapOptions::Dkd(DkdOptions { tau, divisor: Divisor::Sum, ..dkd }),
        MapOptions::Dkd(DkdOptions { divisor: Divisor::Batch, ..dkd }),
        MapOptions::SmoothCe(SmoothCeOptions::DEFAULT),
        MapOptions::SmoothCe(SmoothCeOptions {
            tau,
            smoothing: Share::new(0.0).unwrap(),
            ..SmoothCeOptions::DEFAULT
        }),
    ] {
        for order in [Order::Nchw, Order::Nhwc] {
            for shape in [[2, 19, 5, 7], [5, 150, 1, 1], [2, 2, 3, 3], [1, 1, 2, 2]] {
                for (unit, distance, offset) in [(4.0, 1.0, 0.0), (4.0, 1e-3, 20.0), (30.0, 1.0, 0.0)] {
                    let case = Case { offset, distance, unit, ..Case::new(options, shape, order) };
                    compare_classes::<f32>(case, F32);
                    if distance == 1.0 {
                        compare_classes::<f16>(case, (2.0_f64.powi(-11), 2.0_f64.powi(-25)));
                        compare_classes::<bf16>(case, (2.0_f64.powi(-8), 2.0_f64.powi(-134)));
                    }
                }
            }
        }
    }
}
