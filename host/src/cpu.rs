//! The CPU backend: the core's jobs spread over threads.

mod map;

pub(crate) use map::Threads;

use crate::backend::{Backend, BackendError, MapSubmission, Statistics, Submission, Unsupported};
use crate::sinks::{GradientTasks, Sinks};
use densekd_core::{Call, DType, Isa, KeptStatistics, MapPlan, Outcome, Outputs, Partial, Plan};
use rayon::prelude::*;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::OnceLock;

/// Runs on all cores, or on a number of threads of its own.
///
/// The same bits for any number of threads: jobs are cut by the shape alone, and their sums are added in
/// order.
///
/// ```
/// use densekd::{Backend, Cpu, Submission};
/// use densekd::core::{Order, Plan, Recipe, RowOptions, Shape};
/// use std::num::NonZeroUsize;
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([2, 8, 16, 16])?, Order::Nchw)?;
/// let teacher: Vec<f32> = (0..4096).map(|i| (i * 37 % 101) as f32 / 10.0).collect();
/// let student: Vec<f32> = (0..4096).map(|i| (i * 53 % 97) as f32 / 10.0).collect();
/// let two = Cpu::with_threads(NonZeroUsize::new(2).unwrap())?;
/// let a = Cpu::new().submit(Submission::new(&plan, &teacher[..], &student[..]))?;
/// let b = two.submit(Submission::new(&plan, &teacher[..], &student[..]))?;
/// assert_eq!(a.value().to_bits(), b.value().to_bits());
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Debug, Default)]
pub struct Cpu {
    pool: Option<rayon::ThreadPool>,
    isa: Option<Isa>,
}

impl Cpu {
    /// The process's threads: one a core, or what `RAYON_NUM_THREADS` says.
    pub const fn new() -> Self {
        Self { pool: None, isa: None }
    }

    /// So many threads of its own.
    ///
    /// # Errors
    /// [`BackendError::Threads`] where the system does not give them.
    pub fn with_threads(threads: NonZeroUsize) -> Result<Self, BackendError> {
        let threads = threads.get();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|source| BackendError::Threads { threads, source })?;
        Ok(Self { pool: Some(pool), isa: None })
    }

    /// The same on this instruction set, whatever `DENSEKD_ISA` says.
    ///
    /// # Errors
    /// [`BackendError::Isa`] where this CPU does not have it.
    ///
    /// ```
    /// use densekd::{Cpu, core::Isa};
    /// assert_eq!(Cpu::new().with_isa(Isa::Plain)?.isa()?, Isa::Plain);
    /// # Ok::<(), densekd::BackendError>(())
    /// ```
    pub fn with_isa(self, isa: Isa) -> Result<Self, BackendError> {
        if isa.is_available() { Ok(Self { isa: Some(isa), ..self }) } else { Err(not_here(isa.name())) }
    }

    /// The instruction set that losses run on: that of [`Self::with_isa`], else what the environment variable
    /// `DENSEKD_ISA` names (`avx512`, `avx2`, `neon`, `plain`; read once), else the widest of this CPU.
    ///
    /// # Errors
    /// [`BackendError::Isa`] where the variable names one that this CPU does not have.
    pub fn isa(&self) -> Result<Isa, BackendError> {
        static NAMED: OnceLock<Option<String>> = OnceLock::new();
        let named = || NAMED.get_or_init(|| std::env::var("DENSEKD_ISA").ok()).as_deref();
        match (self.isa, named()) {
            (Some(isa), _) => Ok(isa),
            (None, None) => Ok(Isa::detect()),
            (None, Some(name)) => {
                let found = Isa::available().find(|isa| isa.name() == name);
                found.ok_or_else(|| not_here(name))
            }
        }
    }

    /// How many threads it runs on.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or_else(rayon::current_num_threads, rayon::ThreadPool::current_num_threads)
    }
}

fn not_here(name: &str) -> BackendError {
    let available: Vec<_> = Isa::available().map(Isa::name).collect();
    BackendError::Isa { name: name.to_owned(), available: available.join(", ") }
}

/// Some neighbouring jobs and the parts of all outputs that belong to them.
struct Task<'a> {
    jobs: Vec<Range<usize>>,
    statistics: Statistics<'a>,
    row_values: Option<&'a mut [f64]>,
    sinks: Sinks<'a>,
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn capability(&self, _plan: &Plan, _teacher: DType, _student: DType) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch(&self, plan: &Plan, gradients: usize) -> usize {
        self.threads() * gradients * plan.scratch() * size_of::<f64>()
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        let call = Call::new(submission.inputs()?, submission.upstream).with_isa(self.isa()?);
        let tasks = tasks(submission, self.threads());
        let run = || -> Result<Vec<Vec<Partial>>, densekd_core::Error> {
            tasks.into_par_iter().map(|task| task.run(&call)).collect()
        };
        let partials = match &self.pool {
            Some(pool) => pool.install(run),
            None => run(),
        }?;
        let mut total = Partial::default();
        partials.into_iter().flatten().for_each(|partial| total.add(partial));
        Ok(call.outcome(total))
    }

    fn map_capability(&self, _plan: &MapPlan) -> Result<(), Unsupported> {
        Ok(())
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        let call = submission.call()?.with_isa(self.isa()?);
        let run = move || map::run(&call, submission);
        Ok(match &self.pool {
            Some(pool) => pool.install(run),
            None => run(),
        }?)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Cuts the outputs along the plan's jobs.
fn tasks(submission: Submission<'_>, threads: usize) -> Vec<Task<'_>> {
    let Submission { plan, grad_student, grad_teacher, mut row_values, mut statistics, .. } = submission;
    let grouped = GradientTasks::new(plan, threads);
    let sinks = grouped.sinks(grad_student, grad_teacher);
    let mut tasks = Vec::with_capacity(sinks.len());
    for (jobs, sinks) in grouped.into_jobs().into_iter().zip(sinks) {
        let rows = jobs.iter().map(ExactSizeIterator::len).sum();
        tasks.push(Task {
            jobs,
            statistics: match &mut statistics {
                Statistics::Drop => Statistics::Drop,
                Statistics::Write(rest) => Statistics::Write(take_mut(rest, rows)),
                Statistics::Read(rest) => Statistics::Read(take(rest, rows)),
            },
            row_values: row_values.as_mut().map(|rest| take_mut(rest, rows)),
            sinks,
        });
    }
    tasks
}

#[allow(clippy::mut_mut, reason = "the rest of a borrowed slice is what moves")]
fn take_mut<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let whole = std::mem::take(rest);
    let n = n.min(whole.len());
    let (head, tail) = whole.split_at_mut(n);
    *rest = tail;
    head
}

fn take<'a, T>(rest: &mut &'a [T], n: usize) -> &'a [T] {
    let (head, tail) = rest.split_at(n.min(rest.len()));
    *rest = tail;
    head
}

impl Task<'_> {
    fn run(mut self, call: &Call<'_>) -> Result<Vec<Partial>, densekd_core::Error> {
        let mut scratch = vec![0.0; self.sinks.scratch()];
        let mut partials = Vec::with_capacity(self.jobs.len());
        for job in self.jobs {
            let rows = job.len();
            let (grad_student, grad_teacher) = self.sinks.both();
            let outputs = Outputs {
                grad_student,
                grad_teacher,
                row_values: self.row_values.as_mut().map(|rest| take_mut(rest, rows)),
                statistics: match &mut self.statistics {
                    Statistics::Drop => KeptStatistics::Drop,
                    Statistics::Write(rest) => KeptStatistics::Write(take_mut(rest, rows)),
                    Statistics::Read(rest) => KeptStatistics::Read(take(rest, rows)),
                },
                scratch: &mut scratch,
            };
            partials.push(call.run(job, outputs)?);
        }
        Ok(partials)
    }
}
