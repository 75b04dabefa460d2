//! The cases that are counted, run one after the other.

use super::{SLOWER, measured};
use anyhow::{Context, Result};
use densekd::core::{DType, Isa, Labels, Loss, Order, Shape, Term};
use densekd::io::Values;
use densekd::{Backend, Cpu, TermSubmission};
use fastrand::Rng;

/// The case whose work the deliberate rise is made of.
pub(super) const SLOWED: &str = "cwd/f32/rows4096/half/avx2/loss";

/// Sizes of maps: long rows and short ones; lines of whole vectors, and lines shorter than one.
const LONG: (&str, [usize; 4]) = ("rows4096", [1, 4, 64, 64]);
const WIDE: (&str, [usize; 4]) = ("lines64", [1, 20, 16, 64]);
const SHORT: (&str, [usize; 4]) = ("rows49", [4, 64, 7, 7]);

/// How far the student is from the teacher, in standard deviations of the logits.
const STUDENTS: [(&str, f64); 3] = [("far", 1.4), ("half", 0.14), ("near", 1.4e-3)];

/// One call.
struct Case {
    loss: Loss,
    dtype: DType,
    map: (&'static str, [usize; 4]),
    student: (&'static str, f64),
    isa: Isa,
}

/// Runs every case twice and prints its name: the first time is not counted, so that what is done once is done.
pub(crate) fn drive() -> Result<()> {
    // One thread, this one: nothing else is counted, and nothing is left to chance.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
    for case in cases() {
        case.run()?;
    }
    Ok(())
}

/// Row losses by student and instruction set, map losses by one of each: Valgrind knows no AVX-512.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &loss in Loss::ALL {
        let of_rows = loss.defaults().row().is_some();
        let isas: &[Isa] = if of_rows { &[Isa::Avx2, Isa::Plain] } else { &[Isa::Avx2] };
        let students: &[_] = if of_rows { &STUDENTS } else { &STUDENTS[1..2] };
        for dtype in [DType::F32, DType::F16] {
            for map in [if of_rows { LONG } else { WIDE }, SHORT] {
                for &student in students {
                    cases.extend(isas.iter().map(|&isa| Case { loss, dtype, map, student, isa }));
                }
            }
        }
    }
    cases
}

impl Case {
    fn run(&self) -> Result<()> {
        let Self { loss, dtype, map: (map, dims), student: (student, noise), isa } = *self;
        let shape = Shape::new(dims)?;
        let term = Term::new(loss.defaults(), shape, shape, Order::Nchw)?;
        let tau = loss.defaults().row().map_or(1.0, |options| options.tau.get());
        let mut rng = Rng::with_seed(1);
        let mut normal = || (0..12).map(|_| rng.f64() - 0.5).sum::<f64>();
        let teacher: Vec<f64> = (0..shape.len()).map(|_| tau * normal()).collect();
        let changed: Vec<f64> = teacher.iter().map(|t| t + tau * noise * normal()).collect();
        let (teacher, changed) = (Values::from_f64(dtype, &teacher), Values::from_f64(dtype, &changed));
        let mut gradient = Values::zeros(dtype, shape.len());
        let classes: Vec<i64> = (0..).map(|i: i64| i / 7 % 19).take(dims[0] * shape.positions()).collect();
        let (takes_teacher, takes_labels) = match &term {
            Term::Row(_) => (true, false),
            Term::Map(plan) => (plan.takes_teacher(), plan.takes_labels()),
        };
        let [n, _, h, w] = dims;
        let labels = takes_labels.then(|| Labels::new(&classes, n, h, w)).transpose()?;
        let cpu = Cpu::new().with_isa(isa).context("this gate runs on x86-64 with AVX2")?;
        let mut submit = |with_gradient: bool| {
            let submission = TermSubmission {
                labels,
                grad_student: with_gradient.then(|| gradient.as_tensor_mut()),
                ..TermSubmission::new(&term, takes_teacher.then(|| teacher.as_tensor()), changed.as_tensor())
            };
            submission.submit(&cpu as &dyn Backend)
        };
        for (work, with_gradient) in [("loss", false), ("loss+gradient", true)] {
            let name = format!("{}/{}/{map}/{student}/{}/{work}", loss.name(), dtype.name(), isa.name());
            submit(with_gradient)?;
            let mut count = |name: &str, calls: usize| -> Result<()> {
                let mut outcome = None;
                measured(&mut || (0..calls).for_each(|_| outcome = Some(submit(with_gradient))));
                outcome.context("it is called")??;
                println!("{name}");
                Ok(())
            };
            count(&name, 1)?;
            if name == SLOWED {
                count(SLOWER, 2)?;
            }
        }
        Ok(())
    }
}
