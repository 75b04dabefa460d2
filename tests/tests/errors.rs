//! Every way in which a request can be wrong, provoked, with its code and what it says; and a look at the
//! sources for one that was forgotten.

#![allow(clippy::unwrap_used, reason = "a refusal is what is asked for")]

mod map_errors;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::num::NonZeroUsize;

use densekd::{Backend, BackendError, Cpu, Cuda, Statistics, Submission, Unsupported, selftest};
use densekd_core::{
    DType, Divergence, Epsilon, Error, Ignore, Inputs, Isa, KeptStatistics, Kl, Mask, Norm, Order, Outcome,
    Outputs, Plan, PreparedTeacher, Recipe, RowLoss, RowOptions, RowStatistics, Shape, Slab, Softmax,
    Temperature, TensorMut, Upstream, Weight, run,
};

/// An error, its code, and what its text must say: the value found and the way out.
type Provoked = (Error, &'static str, &'static [&'static str]);

const DIMS: [usize; 4] = [1, 2, 1, 3];

fn shape() -> Shape {
    Shape::new(DIMS).expect("a shape")
}

fn plan_of(options: RowOptions) -> Plan {
    let recipe = Recipe::new(options).expect("options that go together");
    Plan::new(recipe, shape(), Order::Nchw).expect("a plan")
}

fn plan() -> Plan {
    plan_of(RowOptions::CWD)
}

fn enlarging() -> RowOptions {
    RowOptions { upsample: NonZeroUsize::new(2).expect("2 is not 0"), ..RowOptions::PI }
}

fn numbers() -> Vec<Provoked> {
    let wrong = [0.0, -1.0, 1e-308, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let mut provoked: Vec<Provoked> = wrong
        .into_iter()
        .map(|x| (Temperature::new(x).unwrap_err(), "temperature", &["tau is", "above 0"][..]))
        .collect();
    for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        provoked.push((Weight::new(x).unwrap_err(), "weight", &["weight is", "finite"]));
        provoked.push((Epsilon::new(x).unwrap_err(), "epsilon", &["eps is", "at least 0"]));
        provoked.push((Upstream::new(x).unwrap_err(), "upstream", &["upstream", "skip this step"]));
    }
    provoked.push((Epsilon::new(-1e-300).unwrap_err(), "epsilon", &["eps is -", "at least 0"]));
    provoked.push((Temperature::new(-2.5).unwrap_err(), "temperature", &["tau is -2.5"]));
    provoked
}

fn shapes() -> Vec<Provoked> {
    let mut provoked: Vec<Provoked> = (0..4)
        .map(|dimension| {
            let mut dims = DIMS;
            dims[dimension] = 0;
            (Shape::new(dims).unwrap_err(), "empty_dimension", &["[N, C, H, W]", "at least 1"][..])
        })
        .collect();
    for dims in [[usize::MAX, 2, 1, 1], [usize::MAX / 8, 1, 1, 1], [1 << 20, 1 << 20, 1 << 20, 1 << 20]] {
        provoked.push((Shape::new(dims).unwrap_err(), "too_large", &["does not fit in memory"]));
    }
    let upsample = NonZeroUsize::MAX;
    let recipe = Recipe::new(RowOptions { upsample, ..RowOptions::PI }).expect("a recipe");
    let error = Plan::new(recipe, shape(), Order::Nchw).unwrap_err();
    provoked.push((error, "too_large", &["does not fit in memory"]));
    let beside =
        |teacher| Shape::of_pair(Shape::new(teacher).expect("a shape"), shape()).expect_err("two shapes");
    provoked.push((
        beside([1, 4, 1, 3]),
        "shape_mismatch",
        &["[1, 4, 1, 3]", "[1, 2, 1, 3]", "1x1 convolution"],
    ));
    provoked.push((beside([1, 2, 2, 3]), "shape_mismatch", &["[1, 2, 2, 3]", "resize one of them"]));
    assert_eq!(Shape::of_pair(shape(), shape()), Ok(shape()));
    provoked
}

fn options() -> Vec<Provoked> {
    let wrong = |options: RowOptions| Recipe::new(options).unwrap_err();
    let mut provoked: Vec<Provoked> = Vec::new();
    for norm in [Norm::ChannelMean, Norm::None] {
        for divergence in [Divergence::Kl, Divergence::Ce, Divergence::Js, Divergence::ReverseKl] {
            let error = wrong(RowOptions { norm, divergence, ..RowOptions::CWD });
            assert_eq!(error, Error::NotADistribution { norm, divergence });
            provoked.push((error, "not_a_distribution", &["divergence mse", "norm channel or spatial"]));
        }
    }
    let eps = Epsilon::new(1e-5).expect("an epsilon");
    for divergence in [Divergence::Mse, Divergence::Js, Divergence::ReverseKl] {
        let error = wrong(RowOptions { divergence, eps, ..RowOptions::CWD });
        provoked.push((error, "epsilon_unused", &["logarithms of kl and ce", "set eps to 0"]));
        let error = wrong(RowOptions { divergence, ignore: Ignore::After, ..RowOptions::CWD });
        provoked.push((error, "ignore_after", &["use ignore before"]));
    }
    let error = wrong(RowOptions { eps, ignore: Ignore::After, ..RowOptions::CWD });
    provoked.push((error, "ignore_after", &["kl as given"]));
    for norm in [Norm::Channel, Norm::ChannelMean, Norm::None] {
        let divergence = if norm == Norm::Channel { Divergence::Kl } else { Divergence::Mse };
        let error = wrong(RowOptions { norm, divergence, ..enlarging() });
        provoked.push((error, "upsample", &["upsample 2", "norm spatial"]));
    }
    provoked
}

fn buffers() -> Vec<Provoked> {
    let (plan, six, five) = (plan(), [0.0_f32; 6], [0.0_f32; 5]);
    let upstream = Upstream::ONE;
    let inputs = Inputs::new(&plan, &six[..], &six[..], Mask::ALL).expect("they fit");
    let mut one_row = [0.0];
    let mut one_statistic = [RowStatistics::default()];
    let enlarged = plan_of(enlarging());
    let enlarged_inputs = Inputs::new(&enlarged, &six[..], &six[..], Mask::ALL).expect("they fit");
    let mut gradient = six;
    let row_loss = RowLoss::new(Softmax::new(Temperature::ONE), Kl);
    let wrong_length = [
        ("teacher", 5, 6, Inputs::new(&plan, &five[..], &six[..], Mask::ALL).err()),
        ("student", 5, 6, Inputs::new(&plan, &six[..], &five[..], Mask::ALL).err()),
        ("labels", 2, 3, Mask::new(shape(), Some((&[0, 1], 255)), None).err()),
        ("mask", 4, 3, Mask::new(shape(), None, Some(&[1, 1, 1, 0])).err()),
        (
            "row_values",
            1,
            2,
            run(&inputs, upstream, Outputs { row_values: Some(&mut one_row), ..Outputs::default() }).err(),
        ),
        (
            "statistics",
            1,
            2,
            run(
                &inputs,
                upstream,
                Outputs { statistics: KeptStatistics::Write(&mut one_statistic), ..Outputs::default() },
            )
            .err(),
        ),
        (
            "scratch",
            0,
            6,
            run(
                &enlarged_inputs,
                upstream,
                Outputs { grad_student: Some(&mut Slab::new(&mut gradient, 0)), ..Outputs::default() },
            )
            .err(),
        ),
        (
            "table",
            5,
            6,
            PreparedTeacher::prepare(&plan, &six[..], Mask::ALL, TensorMut::from(&mut [0.0_f32; 5][..]))
                .err(),
        ),
        ("table", 5, 6, PreparedTeacher::from_table(&plan, &five[..]).err()),
        ("student", 1, 2, row_loss.gradient(&[0.0, 1.0], &[0.0_f32], upstream, &mut [0.0]).err()),
        ("grad_student", 1, 2, row_loss.gradient(&[0.0, 1.0], &[0.0_f32, 1.0], upstream, &mut [0.0]).err()),
    ];
    wrong_length
        .into_iter()
        .map(|(buffer, found, wanted, error)| -> Provoked {
            let error = error.unwrap_or_else(|| panic!("{buffer} of a wrong length was taken"));
            assert_eq!(error, Error::Length { buffer, found, wanted });
            (error, "length", &["elements, but the plan asks for"])
        })
        .collect()
}

fn uses() -> Vec<Provoked> {
    let (plan, six) = (plan(), [0.0_f32; 6]);
    let enlarged = plan_of(enlarging());
    let mask = Mask::new(shape(), None, Some(&[1, 1, 1])).expect("it fits");
    let unfilled = [RowStatistics::default(); 2];
    let inputs = Inputs::new(&plan, &six[..], &six[..], Mask::ALL).expect("they fit");
    let outputs = Outputs { statistics: KeptStatistics::Read(&unfilled), ..Outputs::default() };
    let mut provoked: Vec<Provoked> = vec![
        (
            Inputs::new(&enlarged, &six[..], &six[..], mask).unwrap_err(),
            "mask_with_upsample",
            &["cannot be combined with upsample", "resize the maps first"],
        ),
        (
            run(&inputs, Upstream::ONE, outputs).unwrap_err(),
            "statistics",
            &["the statistics of row 0", "run the loss first"],
        ),
    ];
    let prepared = PreparedTeacher::from_table(&plan, &six[..]).expect("it fits");
    let means = RowOptions { norm: Norm::ChannelMean, divergence: Divergence::Mse, ..RowOptions::CWD };
    let others = [
        plan_of(RowOptions { tau: Temperature::ONE, ..RowOptions::CWD }),
        plan_of(RowOptions { norm: Norm::Spatial, ..RowOptions::CWD }),
        plan_of(means),
        enlarged,
        Plan::new(*plan.recipe(), shape(), Order::Nhwc).expect("a plan"),
        Plan::new(*plan.recipe(), Shape::new([1, 3, 1, 2]).expect("a shape"), Order::Nchw).expect("a plan"),
    ];
    for other in &others {
        let error = prepared.inputs(other, &six[..], Mask::ALL).unwrap_err();
        provoked.push((error, "prepared", &["another temperature or shape", "prepare it with this plan"]));
    }
    for other in [plan_of(means), enlarged] {
        let error = PreparedTeacher::from_table(&other, &six[..]).unwrap_err();
        provoked.push((error, "prepared", &["prepare it with this plan"]));
    }
    let interleaved = Plan::new(*plan.recipe(), shape(), Order::Nhwc).expect("a plan");
    provoked.extend([
        (
            interleaved.in_place().unwrap_err(),
            "in_place",
            &["rows that interleave", "a tensor of its own"][..],
        ),
        (enlarged.in_place().unwrap_err(), "in_place", &["with upsample", "a tensor of its own"][..]),
    ]);
    provoked
}

fn provoked() -> Vec<Provoked> {
    [numbers(), shapes(), options(), buffers(), uses(), map_errors::provoked()].concat()
}

#[test]
fn every_error_has_its_code_and_says_what_to_do() {
    for (error, code, says) in provoked() {
        let text = error.to_string();
        assert_eq!(error.code(), code, "{error:?}");
        for part in says {
            assert!(text.contains(part), "{error:?} does not say {part:?}: {text}");
        }
        let sentence = text.chars().next().is_some_and(char::is_alphanumeric) && !text.contains('\n');
        assert!(sentence && text.len() < 200, "{text}");
        assert!(error.source().is_none());
    }
}

/// The variants of an enum, as its source has them.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let head = format!("pub enum {name} {{\n");
    let body = source.split(&head).nth(1).unwrap_or_else(|| panic!("{name} is not where it was"));
    let body = body.split("\n}\n").next().unwrap_or_default();
    let at_depth_one = body.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    at_depth_one
        .filter(|line| line.trim_start().starts_with(char::is_uppercase))
        .map(|line| line.trim().chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect()
}

fn name_of(error: &impl std::fmt::Debug) -> String {
    format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn no_error_is_forgotten() {
    let named = provoked().iter().map(|(error, ..)| name_of(error)).collect();
    let all = variants(include_str!("../../core/src/error.rs"), "Error");
    assert!(all.len() >= 15, "{all:?}");
    assert_eq!(all, named);
}

#[test]
fn codes_are_of_one_error_each() {
    let mut codes: Vec<(&str, String)> =
        provoked().iter().map(|(error, code, _)| (*code, name_of(error))).collect();
    codes.sort();
    codes.dedup();
    let distinct: BTreeSet<&str> = codes.iter().map(|(code, _)| *code).collect();
    assert_eq!(distinct.len(), codes.len(), "{codes:?}");
}

/// A backend that runs nothing.
#[derive(Debug)]
struct Refusing;

const REFUSAL: Unsupported = Unsupported { backend: "refusing", reason: "it runs nothing" };

impl Backend for Refusing {
    fn name(&self) -> &'static str {
        "refusing"
    }

    fn capability(&self, _plan: &Plan, _teacher: DType, _student: DType) -> Result<(), Unsupported> {
        Err(REFUSAL)
    }

    fn scratch(&self, _plan: &Plan, _gradients: usize) -> usize {
        0
    }

    fn submit(&self, _submission: Submission<'_>) -> Result<Outcome, BackendError> {
        Err(REFUSAL.into())
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

fn backend_errors() -> Vec<(BackendError, &'static str)> {
    let (plan, five) = (plan(), [0.0_f32; 5]);
    let too_short = Cpu::new().submit(Submission::new(&plan, &five[..], &five[..])).unwrap_err();
    let refused = Refusing.submit(Submission::new(&plan, &five[..], &five[..])).unwrap_err();
    // The global pool cannot be made twice: an error of rayon's without a machine that is out of threads.
    let make = || rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    let source = make().and_then(|()| make()).expect_err("there is one global pool");
    let missing = Isa::ALL.iter().find(|isa| !isa.is_available()).expect("no CPU is x86 and Arm at once");
    let elsewhere = Cpu::new().with_isa(*missing).unwrap_err();
    // No machine has so many, with a driver or without.
    let no_device = Cuda::open(u32::MAX).unwrap_err();
    vec![
        (elsewhere, "is not one of this CPU"),
        (no_device, "no CUDA device"),
        (too_short, "teacher holds 5 elements, but the plan asks for 6"),
        (refused, "backend refusing cannot run this loss: it runs nothing"),
        (BackendError::Threads { threads: 7, source }, "7 threads could not be started"),
    ]
}

#[test]
fn every_backend_error_says_what_to_do_and_none_is_forgotten() {
    let provoked = backend_errors();
    for (error, says) in &provoked {
        assert!(error.to_string().contains(says), "{error}");
    }
    let threads = provoked.iter().find(|(error, _)| matches!(error, BackendError::Threads { .. }));
    assert!(
        threads.is_some_and(|(error, _)| error.source().is_some() && error.to_string().contains("--threads"))
    );
    let named = provoked.iter().map(|(error, _)| name_of(error)).collect();
    assert_eq!(variants(include_str!("../../host/src/backend.rs"), "BackendError"), named);
}

#[test]
fn the_backend_checks_what_it_is_given() {
    let (plan, six) = (plan(), [0.0_f32; 6]);
    let (mut short, mut one, mut kept) = ([0.0_f32; 5], [0.0], [RowStatistics::default()]);
    let unfilled = [RowStatistics::default(); 2];
    let new = || Submission::new(&plan, &six[..], &six[..]);
    let length = |buffer, found, wanted| Error::Length { buffer, found, wanted };
    let wrong = [
        (Submission { grad_student: Some((&mut short[..]).into()), ..new() }, length("grad_student", 5, 6)),
        (Submission { row_values: Some(&mut one), ..new() }, length("row_values", 1, 2)),
        (Submission { statistics: Statistics::Write(&mut kept), ..new() }, length("statistics", 1, 2)),
        (Submission { statistics: Statistics::Read(&unfilled), ..new() }, Error::Statistics { row: 0 }),
    ];
    for (submission, want) in wrong {
        let error = Cpu::new().submit(submission).unwrap_err();
        assert!(matches!(error, BackendError::Request(found) if found == want), "{error:?}");
    }
}

/// A backend without a loss neither passes nor fails its vectors.
#[test]
fn what_a_backend_does_not_support_is_reported() {
    let report = selftest::run(&Refusing, &selftest::built_in());
    assert_eq!((report.passed, report.failed), (0, 0));
    assert_eq!(report.unsupported.len(), selftest::built_in().len());
}
