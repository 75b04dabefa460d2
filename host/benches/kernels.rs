//! Losses and gradients on the CPU backend, by stored type, shape, threads and size of the KL divergence.
//!
//! For developers who change a kernel: `cargo bench --bench kernels`, with a part of a name to pick some.
//! One iteration is one whole map, in elements per second. Only figures of one run compare.

use densekd::core::{Element, Loss, Options, Order, Plan, Recipe, Shape};
use densekd::{Backend, Cpu, Submission};
use divan::Bencher;
use divan::counter::ItemsCount;
use half::{bf16, f16};
use std::f64::consts::TAU;
use std::fmt;
use std::num::NonZeroUsize;

fn main() {
    divan::main();
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    loss: Loss,
    shape: [usize; 4],
    data: &'static str,
    /// The student is `kept` of the teacher plus `noise` of unrelated normals.
    kept: f64,
    noise: f64,
    threads: usize,
}

const SEGMENTATION: [usize; 4] = [8, 19, 128, 256];
const FEATURES: [usize; 4] = [2, 512, 64, 64];

/// A student that has learnt nothing, so that the KL divergence is near 1 at either loss's temperature.
const fn far(loss: Loss, shape: [usize; 4], threads: usize) -> Case {
    let (kept, noise) = match loss {
        Loss::Cwd => (0.0, 1.0),
        _ => (0.5, 0.4),
    };
    Case { loss, shape, data: "KL ~ 1", kept, noise, threads }
}

/// A student that has all but become its teacher.
const fn near(loss: Loss, shape: [usize; 4], threads: usize) -> Case {
    let noise = match loss {
        Loss::Cwd => 1.4e-3,
        _ => 5e-4,
    };
    Case { loss, shape, data: "KL ~ 1e-6", kept: 1.0, noise, threads }
}

const CASES: &[Case] = &[
    far(Loss::Cwd, SEGMENTATION, 1),
    far(Loss::Cwd, SEGMENTATION, 2),
    near(Loss::Cwd, SEGMENTATION, 1),
    near(Loss::Cwd, SEGMENTATION, 2),
    far(Loss::Cwd, FEATURES, 1),
    far(Loss::Cwd, FEATURES, 2),
    near(Loss::Cwd, FEATURES, 1),
    near(Loss::Cwd, FEATURES, 2),
    far(Loss::Pi, SEGMENTATION, 1),
    far(Loss::Pi, SEGMENTATION, 2),
    near(Loss::Pi, SEGMENTATION, 1),
    near(Loss::Pi, SEGMENTATION, 2),
];

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, c, h, w] = self.shape;
        let Self { data, threads, .. } = self;
        write!(f, "{} {n}x{c}x{h}x{w} {data} {threads} thread(s)", self.loss.name())
    }
}

/// A case with its data, made once.
struct Maps<E> {
    plan: Plan,
    cpu: Cpu,
    teacher: Vec<E>,
    student: Vec<E>,
}

impl<E: Element> Maps<E> {
    fn new(case: &Case) -> Self {
        let shape = Shape::new(case.shape).expect("the shapes above are not empty");
        let (Options::Cwd(options) | Options::Pi(options)) = case.loss.defaults() else {
            unreachable!("the cases above are row losses")
        };
        let recipe = Recipe::new(options).expect("a loss's defaults go together");
        let threads = NonZeroUsize::new(case.threads).expect("the threads above are not 0");
        let mut rng = fastrand::Rng::with_seed(1);
        // Box and Muller's: the far tails decide how deep a row is, and with it which arithmetic it asks for.
        let mut normal = || 4.0 * (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos();
        let teacher: Vec<f64> = (0..shape.len()).map(|_| normal()).collect();
        let student = teacher.iter().map(|t| case.kept * t + case.noise * normal());
        Self {
            plan: Plan::new(recipe, shape, Order::Nchw).expect("the shapes above fit"),
            cpu: Cpu::with_threads(threads).expect("a machine has so many threads"),
            student: student.map(E::narrow).collect(),
            teacher: teacher.iter().copied().map(E::narrow).collect(),
        }
    }

    fn submission(&self) -> Submission<'_> {
        Submission::new(&self.plan, &self.teacher[..], &self.student[..])
    }

    fn run(&self, submission: Submission<'_>) -> f64 {
        self.cpu.submit(submission).expect("the lengths are the plan's").value()
    }
}

/// The type is the outermost name, so that it can be picked.
#[divan::bench(types = [f32, f16, bf16, f64], args = CASES, sample_count = 20, sample_size = 1)]
fn loss<E: Element>(bencher: Bencher<'_, '_>, case: &Case) {
    let maps = Maps::<E>::new(case);
    bencher.counter(ItemsCount::new(maps.teacher.len())).bench_local(|| maps.run(maps.submission()));
}

/// The gradient's buffer is made once, as a training loop would keep it.
#[divan::bench(types = [f32, f16, bf16, f64], args = CASES, sample_count = 20, sample_size = 1)]
fn loss_and_gradient<E: Element>(bencher: Bencher<'_, '_>, case: &Case) {
    let maps = Maps::<E>::new(case);
    let mut gradient = vec![E::default(); maps.teacher.len()];
    bencher.counter(ItemsCount::new(maps.teacher.len())).bench_local(|| {
        let grad_student = Some(gradient.as_mut_slice().into());
        maps.run(Submission { grad_student, ..maps.submission() })
    });
}
