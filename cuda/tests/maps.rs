//! Losses of whole maps on the simulated device, the shipped kernels against the core.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{
    AtMode, AtOptions, Divisor, DkdOptions, Element, Labels, MapCall, MapInputs, MapOptions, Mask,
    MimicOptions, Options, Order, Outcome, PkdOptions, Shape, Share, Slab, SmoothCeOptions, Temperature,
    Tensor, TensorMut, Term, Upstream, run_map,
};
use densekd_cuda::{Device, MapHostCall};
use half::{bf16, f16};
use std::sync::OnceLock;

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        // `cargo xtask gpu` names the driver of a device.
        if std::env::var_os("DENSEKD_CUDA_LIBRARY").is_none() {
            // SAFETY: every test comes here first, and the others wait: nobody reads the environment meanwhile.
            unsafe { std::env::set_var("DENSEKD_CUDA_LIBRARY", densekd_device::library()) };
        }
        Device::open(0).unwrap()
    });
    // Memory of before has values and room that would hide what is wrong.
    device.trim().unwrap();
    device
}

/// Relative to the value and to the largest entry of a gradient; half gradients are rounded once more.
const VALUE: f64 = 1e-6;
const GRADIENT: f64 = 1e-6;

/// What rounding to the stored type adds: its unit roundoff, and half its smallest number.
const F32: (f64, f64) = (0.0, 7.1e-46);

/// What is compared: a loss on shapes, and how its maps are made.
#[derive(Clone, Copy, Debug)]
struct Case {
    options: MapOptions,
    student: [usize; 4],
    teacher: [usize; 4],
    order: Order,
    /// What the student's numbers are about.
    offset: f32,
    /// How far the teacher is from the student, where they are of one shape.
    distance: f32,
    /// What all numbers are multiplied by.
    unit: f32,
}

impl Case {
    const fn new(options: MapOptions, shape: [usize; 4], order: Order) -> Self {
        Self { options, student: shape, teacher: shape, order, offset: 0.0, distance: 1.0, unit: 1.0 }
    }

    /// Teacher and student.
    fn maps<E: Element>(&self) -> (Vec<E>, Vec<E>) {
        let mut random = fastrand::Rng::with_seed(self.student.iter().sum::<usize>() as u64);
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|_| self.offset + 2.0 * random.f32() - 1.0).collect()
        };
        let student = numbers(self.student.iter().product());
        let noise = numbers(self.teacher.iter().product());
        let stored = |x: f32| E::narrow(x * self.unit);
        let teacher = noise.iter().enumerate().map(|(i, &noise)| {
            let base = if self.student == self.teacher { student[i] } else { 0.0 };
            stored(base + self.distance * (noise - self.offset))
        });
        (teacher.collect(), student.iter().map(|&x| stored(x)).collect())
    }
}

struct Found<E> {
    value: f64,
    student: Vec<E>,
    teacher: Vec<E>,
}

/// The device's answer and the core's, whose gradients are not rounded to the stored type.
fn both<E: Element>(case: &Case, teacher: &[E], student: &[E]) -> (Found<E>, Found<f64>)
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let shapes = [case.student, case.teacher].map(|dims| Shape::new(dims).unwrap());
    let Term::Map(plan) = Term::new(Options::Map(case.options), shapes[0], shapes[1], case.order).unwrap()
    else {
        unreachable!()
    };
    let inputs = MapInputs::new(&plan, Some(teacher.into()), student).unwrap();
    let mut state = vec![0.0; plan.scratch()];
    let mut wanted =
        Found { value: 0.0, student: vec![0.0; student.len()], teacher: vec![0.0; teacher.len()] };
    let upstream = Upstream::new(1.5).unwrap();
    let outcome: Outcome = run_map(
        inputs,
        upstream,
        &mut state,
        Some(&mut Slab::new(&mut wanted.student, 0)),
        Some(&mut Slab::new(&mut wanted.teacher, 0)),
    )
    .unwrap();
    wanted.value = outcome.value();
    let mut found = Found {
        value: 0.0,
        student: vec![E::default(); student.len()],
        teacher: vec![E::default(); teacher.len()],
    };
    let done = device()
        .submit_map(MapHostCall {
            plan: &plan,
            teacher: Some(teacher.into()),
            student: student.into(),
            classes: None,
            upstream: upstream.get(),
            grad_student: Some((&mut found.student[..]).into()),
            grad_teacher: Some((&mut found.teacher[..]).into()),
        })
        .unwrap();
    assert_eq!(done.divisor, outcome.divisor, "{case:?}");
    found.value = plan.scale() * done.sum / done.divisor;
    (found, wanted)
}

fn compare<E: Element>(case: Case, (half, subnormal): (f64, f64))
where
    for<'a> Tensor<'a>: From<&'a [E]>,
    for<'a> TensorMut<'a>: From<&'a mut [E]>,
{
    let (teacher, student) = case.maps::<E>();
    let (found, wanted) = both(&case, &teacher, &student);
    let close = |what: &str, found: f64, wanted: f64, tolerance: f64| {
        assert!((found - wanted).abs() <= tolerance, "{case:?} {}: {what} {found:e} {wanted:e}", E::DTYPE);
    };
    close("value", found.value, wanted.value, VALUE * wanted.value);
    for (what, found, wanted) in
        [("student", &found.student, &wanted.student), ("teacher", &found.teacher, &wanted.teacher)]
    {
        let largest = wanted.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (&found, &wanted) in found.iter().zip(wanted) {
            close(what, found.widen(), wanted, GRADIENT * largest + half * wanted.abs() + subnormal);
        }
    }
}

fn all_types(case: Case) {
    compare::<f32>(case, F32);
    compare::<f16>(case, (2.0_f64.powi(-11), 2.0_f64.powi(-25)));
    compare::<bf16>(case, (2.0_f64.powi(-8), 2.0_f64.powi(-134)));
    compare::<f64>(case, (0.0, 0.0));
}

const PKD: MapOptions = MapOptions::Pkd(PkdOptions::DEFAULT);

#[test]
fn channels_of_every_shape_agree_with_the_core() {
    for order in [Order::Nchw, Order::Nhwc] {
        for shape in [[2, 3, 5, 7], [3, 2, 1, 1], [2, 40, 3, 3], [1, 2, 70, 70], [3, 1, 1, 2], [5, 33, 1, 61]]
        {
            all_types(Case::new(PKD, shape, order));
        }
    }
}

#[test]
fn offsets_units_and_close_maps_cost_no_digits() {
    for order in [Order::Nchw, Order::Nhwc] {
        let case = Case::new(PKD, [2, 3, 9, 11], order);
        for (offset, distance) in [(1000.0, 1.0), (0.0, 1e-3), (100.0, 1e-3), (-3.0, 1e-5)] {
            compare::<f32>(Case { offset, distance, ..case }, F32);
        }
        for unit in [1e-30, 1e-12, 1e12, 1e30] {
            compare::<f32>(Case { unit, ..case }, F32);
        }
    }
}

#[test]
fn mimicking_agrees_with_the_core() {
    for standardise in [false, true] {
        let options = MapOptions::Mimic(MimicOptions { standardise, ..MimicOptions::DEFAULT });
        for order in [Order::Nchw, Order::Nhwc] {
            for shape in [[2, 3, 5, 7], [1, 1, 1, 1], [1, 2, 70, 70]] {
                all_types(Case::new(options, shape, order));
            }
            for (unit, distance) in [(1e-30, 1.0), (1e30, 1.0), (1.0, 1e-6)] {
                let case = Case::new(options, [2, 3, 5, 7], order);
                compare::<f32>(Case { distance, unit, ..case }, F32);
            }
        }
    }
}

#[test]
fn attention_agrees_with_the_core() {
    for mode in [AtMode::Code, AtMode::Paper] {
        for p in [1, 2, 4] {
            let options = AtOptions { mode, p: p.try_into().unwrap(), ..AtOptions::DEFAULT };
            for order in [Order::Nchw, Order::Nhwc] {
                let of =
                    |student, teacher| Case { teacher, ..Case::new(MapOptions::At(options), student, order) };
                all_types(of([2, 3, 5, 7], [2, 6, 5, 7]));
                all_types(of([2, 70, 3, 50], [2, 70, 3, 50]));
                let close = of([2, 9, 10, 14], [2, 9, 10, 14]);
                compare::<f32>(Case { distance: 1e-4, ..close }, F32);
                for unit in [1e-30, 1e30] {
                    compare::<f32>(Case { unit, ..close }, F32);
                }
            }
        }
    }
}

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
    let inputs = MapInputs::new(&plan, plan.takes_teacher().then_some(teacher[..].into()), &student[..])
        .unwrap()
        .with_labels(Labels::new(&labels, images, height, width).unwrap())
        .unwrap()
        .with_mask(Mask::new(shape, None, Some(&counted)).unwrap())
        .unwrap();
    let classes: Vec<i32> = MapCall::new(inputs)
        .unwrap()
        .classes(255)
        .unwrap()
        .map(|class| class.map_or(-1, |class| i32::try_from(class).unwrap()))
        .collect();
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

/// Every number of a NaN, and the value; of what is not finite in one vector nothing reaches another.
#[test]
fn what_is_not_finite_stays_where_it_is() {
    for options in [PKD, MapOptions::At(AtOptions::DEFAULT), MapOptions::Mimic(MimicOptions::DEFAULT)] {
        for order in [Order::Nchw, Order::Nhwc] {
            for junk in [f32::NAN, f32::INFINITY] {
                let case = Case::new(options, [2, 3, 5, 7], order);
                let (teacher, mut student) = case.maps::<f32>();
                student[40] = junk;
                let (found, wanted) = both(&case, &teacher, &student);
                assert_eq!(found.value.is_finite(), wanted.value.is_finite(), "{case:?}");
                for (found, wanted) in [(&found.student, &wanted.student), (&found.teacher, &wanted.teacher)]
                {
                    for (found, wanted) in found.iter().zip(wanted) {
                        assert_eq!(found.is_nan(), wanted.is_nan(), "{case:?} {junk}: {found} {wanted}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_has_no_direction_has_no_gradient() {
    for options in [PKD, MapOptions::At(AtOptions::DEFAULT)] {
        for order in [Order::Nchw, Order::Nhwc] {
            for constant in [0.0, 0.1] {
                let case = Case::new(options, [2, 3, 5, 7], order);
                let (teacher, student) = case.maps::<f32>();
                let student = vec![constant; student.len()];
                let (found, wanted) = both(&case, &teacher, &student);
                assert!((found.value - wanted.value).abs() <= VALUE * wanted.value, "{case:?} {constant}");
                if wanted.student.iter().all(|&x| x == 0.0) {
                    assert!(found.student.iter().all(|&x| x == 0.0), "{case:?} {constant}");
                }
            }
        }
    }
}
