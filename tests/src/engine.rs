//! The oracle's questions, put to the engine: any stored type, memory order and number of threads, the answer
//! always in `f64` and in the order of the question.

use crate::backends::Sequential;
use crate::oracle::{self, Case};
use densekd::{Backend, Cpu, Submission};
use densekd_core::{
    DType, Divergence, Divisor, Element, Epsilon, Error, Ignore, Mask, Norm, Order, Outcome, Plan, Recipe,
    RowOptions, Samples, Shape, Temperature, Tensor, TensorMut, Upstream, Weight,
};
use half::{bf16, f16};
use std::num::NonZeroUsize;
use std::sync::OnceLock;

/// Every type that a tensor is stored in.
pub const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::Bf16];

/// A tensor's numbers in the type that they are stored in.
#[derive(Clone, Debug)]
pub enum Stored {
    /// `f32` numbers.
    F32(Vec<f32>),
    /// `f64` numbers.
    F64(Vec<f64>),
    /// `f16` numbers.
    F16(Vec<f16>),
    /// `bf16` numbers.
    Bf16(Vec<bf16>),
}

fn narrow<E: Element>(numbers: &[f64]) -> Vec<E> {
    numbers.iter().map(|&x| E::narrow(x)).collect()
}

fn widen<E: Element>(numbers: &[E]) -> Vec<f64> {
    numbers.iter().map(|x| x.widen()).collect()
}

impl Stored {
    /// Each number rounded once.
    ///
    /// # Panics
    /// For a type that is not one of [`DTYPES`].
    pub fn new(dtype: DType, numbers: &[f64]) -> Self {
        let numbers = rounded(dtype, numbers);
        match dtype {
            DType::F32 => Self::F32(narrow(&numbers)),
            DType::F64 => Self::F64(numbers),
            DType::F16 => Self::F16(narrow(&numbers)),
            DType::Bf16 => Self::Bf16(narrow(&numbers)),
            other => panic!("{other} is a type that no test knows"),
        }
    }

    /// The numbers, exactly.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(x) => widen(x),
            Self::F64(x) => widen(x),
            Self::F16(x) => widen(x),
            Self::Bf16(x) => widen(x),
        }
    }

    /// The numbers, to be read.
    pub fn tensor(&self) -> Tensor<'_> {
        match self {
            Self::F32(x) => Tensor::F32(x),
            Self::F64(x) => Tensor::F64(x),
            Self::F16(x) => Tensor::F16(x),
            Self::Bf16(x) => Tensor::Bf16(x),
        }
    }

    /// The numbers, to be written.
    pub fn tensor_mut(&mut self) -> TensorMut<'_> {
        match self {
            Self::F32(x) => TensorMut::F32(x),
            Self::F64(x) => TensorMut::F64(x),
            Self::F16(x) => TensorMut::F16(x),
            Self::Bf16(x) => TensorMut::Bf16(x),
        }
    }
}

/// The numbers as the type holds them.
pub fn rounded(dtype: DType, numbers: &[f64]) -> Vec<f64> {
    numbers.iter().map(|&x| nearest(dtype, x)).collect()
}

/// The nearest number of a type, ties to even: by its definition, since what converts numbers is on trial.
#[allow(clippy::cast_possible_truncation, reason = "exponents of f64 are small")]
pub fn nearest(dtype: DType, x: f64) -> f64 {
    // Bits after the first of a significand, and the exponents of the smallest and the largest normal number.
    let (bits, smallest, largest) = match dtype {
        DType::F16 => (10, -14, 15),
        DType::Bf16 => (7, -126, 127),
        DType::F32 => (23, -126, 127),
        _ => return x,
    };
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let two = |exponent: i32| 2.0_f64.powi(exponent);
    let exponent = (((x.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(smallest);
    let ulp = two(exponent - bits);
    let rounded = (x / ulp).round_ties_even() * ulp;
    if rounded.abs() >= two(largest) * 2.0 { f64::INFINITY.copysign(x) } else { rounded }
}

/// `[N, C, H, W]` as `[N, H, W, C]`.
pub fn to_nhwc<T: Copy>([n, c, h, w]: [usize; 4], x: &[T]) -> Vec<T> {
    let m = h * w;
    (0..n * m * c).map(|i| x[(i / (m * c) * c + i % c) * m + i / c % m]).collect()
}

/// `[N, H, W, C]` as `[N, C, H, W]`.
pub fn to_nchw<T: Copy>([n, c, h, w]: [usize; 4], x: &[T]) -> Vec<T> {
    let m = h * w;
    (0..n * c * m).map(|i| x[(i / (c * m) * m + i % m) * c + i / m % c]).collect()
}

/// Which row of a map an element belongs to, in the order of the answers' `rows`.
pub fn row_of(case: &Case, element: usize) -> usize {
    let [_, c, h, w] = case.shape;
    let m = h * w;
    match case.options.norm {
        oracle::Norm::Spatial => element / (c * m) * m + element % m,
        _ => element / m,
    }
}

/// The engine's options for the oracle's.
///
/// # Errors
/// What the engine's checked numbers refuse.
pub fn row_options(options: &oracle::Options) -> Result<RowOptions, Error> {
    Ok(RowOptions {
        tau: Temperature::new(options.tau)?,
        norm: match options.norm {
            oracle::Norm::Channel => Norm::Channel,
            oracle::Norm::Spatial => Norm::Spatial,
            oracle::Norm::ChannelMean => Norm::ChannelMean,
            oracle::Norm::None => Norm::None,
        },
        divergence: match options.divergence {
            oracle::Divergence::Kl => Divergence::Kl,
            oracle::Divergence::Ce => Divergence::Ce,
            oracle::Divergence::Mse => Divergence::Mse,
            oracle::Divergence::Js => Divergence::Js,
            oracle::Divergence::ReverseKl => Divergence::ReverseKl,
        },
        divisor: match options.divisor {
            oracle::Divisor::Sum => Divisor::Sum,
            oracle::Divisor::Batch => Divisor::Batch,
            oracle::Divisor::Positions => Divisor::Positions,
            oracle::Divisor::BatchChannels => Divisor::BatchChannels,
            oracle::Divisor::BatchPositions => Divisor::BatchPositions,
            oracle::Divisor::Elements => Divisor::Elements,
        },
        divisor_channels: options.divisor_channels.and_then(NonZeroUsize::new),
        tau_square: options.tau_square,
        weight: Weight::new(options.weight)?,
        eps: Epsilon::new(options.eps)?,
        ignore: match options.ignore {
            oracle::Ignore::Before => Ignore::Before,
            oracle::Ignore::After => Ignore::After,
        },
        ignore_index: 255,
        samples: match options.samples {
            oracle::Samples::All => Samples::All,
            oracle::Samples::First => Samples::First,
        },
        upsample: NonZeroUsize::new(options.upsample).unwrap_or(NonZeroUsize::MIN),
    })
}

/// A plan for a question.
///
/// # Panics
/// Where the question is one that the engine refuses.
pub fn plan(case: &Case, order: Order) -> Plan {
    let recipe = row_options(&case.options).and_then(Recipe::new);
    let shape = Shape::new(case.shape);
    recipe.and_then(|recipe| Plan::new(recipe, shape?, order)).unwrap_or_else(|error| panic!("{error}"))
}

/// Who runs the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// [`Sequential`], on the caller's thread.
    Core,
    /// `densekd::Cpu` with so many threads, at most 8.
    Threads(usize),
}

/// The CPU backend with so many threads; pools are made once.
///
/// # Panics
/// For more than 8 threads, or where they cannot be started.
pub fn cpu(threads: usize) -> &'static Cpu {
    static POOLS: [OnceLock<Cpu>; 9] = [const { OnceLock::new() }; 9];
    let start = || {
        let threads = NonZeroUsize::new(threads).expect("at least one thread");
        Cpu::with_threads(threads).expect("a few threads can be started")
    };
    POOLS[threads].get_or_init(start)
}

/// How a question is put.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// What the teacher and its gradient are stored in.
    pub teacher: DType,
    /// What the student and its gradient are stored in.
    pub student: DType,
    /// The memory order.
    pub order: Order,
    /// Who runs it.
    pub runner: Runner,
    /// The gradient from above.
    pub upstream: f64,
    /// Whether the gradient to the student is asked for.
    pub grad_student: bool,
    /// Whether the gradient to the teacher is asked for.
    pub grad_teacher: bool,
}

impl Way {
    /// Both tensors in one type, `[N, C, H, W]`, on the caller's thread, both gradients.
    pub const fn plain(dtype: DType) -> Self {
        Self {
            teacher: dtype,
            student: dtype,
            order: Order::Nchw,
            runner: Runner::Core,
            upstream: 1.0,
            grad_student: true,
            grad_teacher: true,
        }
    }
}

/// The engine's answer; gradients in the order of the question, empty where they were not asked for.
#[derive(Clone, Debug)]
pub struct Got {
    /// Sum and divisor.
    pub outcome: Outcome,
    /// The loss.
    pub value: f64,
    /// Each row's divergence.
    pub rows: Vec<f64>,
    /// The gradient to the student.
    pub grad_student: Vec<f64>,
    /// The gradient to the teacher.
    pub grad_teacher: Vec<f64>,
}

impl Got {
    /// The bits of everything.
    pub fn bits(&self) -> Vec<u64> {
        let numbers = [self.outcome.sum, self.outcome.divisor, self.outcome.scale, self.value];
        let rest = self.rows.iter().chain(&self.grad_student).chain(&self.grad_teacher);
        numbers.iter().chain(rest).map(|x| x.to_bits()).collect()
    }
}

/// Puts the question. Numbers are stored as the way says, each rounded once.
///
/// # Panics
/// Where the engine refuses it.
pub fn ask(case: &Case, way: Way) -> Got {
    let ordered = |x: &[f64]| match way.order {
        Order::Nchw => x.to_vec(),
        Order::Nhwc => to_nhwc(case.shape, x),
    };
    let plan = plan(case, way.order);
    let teacher = Stored::new(way.teacher, &ordered(&case.teacher));
    let student = Stored::new(way.student, &ordered(&case.student));
    let counted: Option<Vec<u8>> = case.counted.as_ref().map(|x| x.iter().map(|&x| u8::from(x)).collect());
    let mask = Mask::new(plan.shape(), None, counted.as_deref()).expect("the mask fits the shape");
    let upstream = Upstream::new(way.upstream).expect("the upstream gradient is finite");
    // NaN stays wherever nothing is written, and no comparison lets it pass.
    let fresh = |dtype: DType, asked: bool| {
        Stored::new(dtype, &vec![f64::NAN; if asked { plan.shape().len() } else { 0 }])
    };
    let mut grad_student = fresh(way.student, way.grad_student);
    let mut grad_teacher = fresh(way.teacher, way.grad_teacher);
    let mut rows = vec![f64::NAN; plan.rows()];
    let submission = Submission {
        mask,
        upstream,
        grad_student: way.grad_student.then(|| grad_student.tensor_mut()),
        grad_teacher: way.grad_teacher.then(|| grad_teacher.tensor_mut()),
        row_values: Some(&mut rows),
        ..Submission::new(&plan, teacher.tensor(), student.tensor())
    };
    let outcome = match way.runner {
        Runner::Core => Sequential.submit(submission),
        Runner::Threads(threads) => cpu(threads).submit(submission),
    }
    .unwrap_or_else(|error| panic!("{error}"));
    let back = |x: &Stored| match way.order {
        Order::Nhwc if !x.tensor().is_empty() => to_nchw(case.shape, &x.to_f64()),
        _ => x.to_f64(),
    };
    let (grad_student, grad_teacher) = (back(&grad_student), back(&grad_teacher));
    Got { outcome, value: outcome.value(), rows, grad_student, grad_teacher }
}
