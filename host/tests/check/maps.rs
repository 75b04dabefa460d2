//! Gradients of losses of whole maps.

use crate::support::{SHAPE, noise};
use densekd::check::{Failure, Options, Report, check_term};
use densekd::core::{DType, Element, Loss, MapPlan, Order, Outcome, Plan, Shape, Term, Upstream};
use densekd::{Backend, BackendError, Cpu, MapSubmission, Submission, TermSubmission, Unsupported};
use half::{bf16, f16};

/// Runs map losses, with gradients a thousandth too large.
struct Stretched;

impl Backend for Stretched {
    fn name(&self) -> &'static str {
        "stretched"
    }

    fn capability(&self, _: &Plan, _: DType, _: DType) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch(&self, _: &Plan, _: usize) -> usize {
        0
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        Cpu::new().submit(submission)
    }

    fn map_capability(&self, _: &MapPlan) -> Result<(), Unsupported> {
        Ok(())
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        let upstream = Upstream::new(submission.upstream.get() * 1.001)?;
        Cpu::new().submit_map(MapSubmission { upstream, ..submission })
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Attention transfer between numbers of a type, checked on a backend.
fn check_at<E: Element>(backend: &dyn Backend, size: f64) -> Report {
    let shape = Shape::new(SHAPE).expect("a shape");
    let wide = Shape::new([2, 9, 6, 7]).expect("a shape");
    let term = Term::new(Loss::At.defaults(), shape, wide, Order::Nhwc).expect("a loss");
    let numbers = |n, seed| noise(n, seed).into_iter().map(|x| E::narrow(x * size)).collect::<Vec<E>>();
    let (teacher, student) = (numbers(wide.len(), 3), numbers(shape.len(), 4));
    let submission = TermSubmission::new(&term, Some(E::tensor(&teacher)), E::tensor(&student));
    check_term(backend, &submission, Options::default()).expect("a report")
}

#[test]
fn the_gradient_of_a_map_loss_passes_in_every_type_and_a_wrong_one_does_not() {
    for report in [
        check_at::<f32>(&Cpu::new(), 1.0),
        check_at::<f64>(&Cpu::new(), 1e-20),
        check_at::<f16>(&Cpu::new(), 100.0),
        check_at::<bf16>(&Cpu::new(), 1e10),
    ] {
        assert!(report.ok && (report.entries, report.unresolved) == (64, 0), "{report}");
        assert!(report.to_string().contains("of the tensor's largest entry"), "{report}");
    }
    for report in [check_at::<f32>(&Stretched, 1.0), check_at::<f64>(&Stretched, 1.0)] {
        assert_eq!(report.failure, Some(Failure::Differs), "{report}");
    }
}

#[test]
fn a_map_loss_that_is_not_finite_or_has_no_slope_is_told_from_a_wrong_one() {
    let nan = check_at::<f32>(&Cpu::new(), f64::NAN);
    assert_eq!((nan.failure, nan.skipped_non_finite), (Some(Failure::NothingChecked), 1), "{nan}");
    // The gradient of a zero map is 0 by definition, where no derivative exists.
    let shape = Shape::new([1, 2, 2, 2]).expect("a shape");
    let mut options = Loss::At.defaults();
    options.set("p", densekd::core::OptionValue::Integer(1)).expect("a power");
    let term = Term::new(options, shape, shape, Order::Nchw).expect("a loss");
    let (teacher, student) = ([1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [0.0_f64; 8]);
    let submission = TermSubmission::new(&term, Some(teacher[..].into()), &student[..]);
    let report = check_term(&Cpu::new(), &submission, Options::default()).expect("a report");
    assert_ne!(report.failure, Some(Failure::Differs), "{report}");
}
