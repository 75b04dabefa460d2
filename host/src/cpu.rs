//! The CPU backend: the core's jobs spread over threads.

mod map;
mod of_rows;
mod overwrite;
mod room;
mod rounds;

use crate::backend::{Backend, BackendError, MapSubmission, Student, Submission, Unsupported};
use crate::sinks::{GradientTasks, Pair, STREAMED, Sinks};
use densekd_core::{
    Call, DType, Found, Inputs, Isa, Lent, MapPlan, Outcome, Outputs, Partial, Plan, Segmented, Segments,
    TensorMut,
};
use of_rows::OfRows;
use overwrite::Overwrite;
use rayon::prelude::*;
use room::with_room;
use rounds::{Rounds, one_at_a_time};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::OnceLock;

/// Runs on all cores, or on a number of threads of its own.
///
/// The same bits for any number of threads: jobs are cut by the shape alone, and their sums are added in
/// order. What is small runs on the thread that submits it, as does everything but long rows where there is one thread.
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

    /// Runs on its threads; where it is alone, on the caller's, which waits for no other to wake.
    fn spread<T: Send>(&self, crew: Crew, run: impl FnOnce() -> T + Send) -> T {
        match (&self.pool, crew) {
            (Some(pool), Crew::All) => pool.install(run),
            _ => run(),
        }
    }

    /// Who is to run tasks that are independent of each other, and have so many elements in all.
    fn crew(&self, tasks: usize, elements: usize) -> Crew {
        if elements <= SMALL || tasks <= 1 || self.threads() == 1 { Crew::Caller } else { Crew::All }
    }

    /// The same of rows, of which those that are cut fill threads by themselves.
    fn crew_of(&self, plan: &Plan, tasks: usize) -> Crew {
        if plan.is_cut() { Crew::All } else { self.crew(tasks, plan.rows() * plan.row_len()) }
    }

    /// How many threads it runs on.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or_else(rayon::current_num_threads, rayon::ThreadPool::current_num_threads)
    }
}

/// Elements that one thread is through with before it could wake others and wait for them: some 10 microseconds.
const SMALL: usize = 1 << 14;

/// How many times as long as a row loss a map loss takes over an element, or more.
const MAP_LOSS: usize = 4;

/// Who runs the tasks of a submission. The bits are the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crew {
    /// The thread that submits.
    Caller,
    /// Rayon's threads.
    All,
}

fn not_here(name: &str) -> BackendError {
    let available: Vec<_> = Isa::available().map(Isa::name).collect();
    BackendError::Isa { name: name.to_owned(), available: available.join(", ") }
}

/// Some neighbouring jobs and the parts of all outputs that belong to them.
struct Task<'a> {
    jobs: Vec<Range<usize>>,
    of_rows: OfRows<'a>,
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
        let room = if gradients > 0 { plan.room() * size_of::<f32>() } else { 0 };
        self.threads() * (gradients * plan.scratch() * size_of::<f64>() + room)
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        submission.check()?;
        let isa = self.isa()?;
        let Submission { plan, teacher, student, mask, upstream, grad_student, grad_teacher, .. } =
            submission;
        let of_rows = OfRows { statistics: submission.statistics, values: submission.row_values };
        let student = match student {
            Student::Kept(student) => student,
            Student::Overwritten(student) => {
                let crew = self.crew_of(plan, plan.jobs().take(2).count());
                let overwrite = Overwrite { plan, teacher, mask, upstream, isa, of_rows, crew };
                return Ok(self.spread(crew, || overwrite.run(student))?);
            }
        };
        let call = Call::new(Inputs::new(plan, teacher, student, mask)?, upstream).with_isa(isa);
        let keeps = grad_student.as_ref().is_some_and(|to| gains_by_room(to, isa));
        let room = if keeps { plan.room() } else { 0 };
        let tasks = tasks(plan, (grad_student, grad_teacher), of_rows, self.threads());
        let crew = self.crew_of(plan, tasks.len());
        let partials = self.spread(crew, || -> Result<Vec<Vec<Partial>>, densekd_core::Error> {
            if crew == Crew::Caller || one_at_a_time(&plan.segments(), self.threads()) {
                tasks.into_iter().map(|task| task.run(&call, room)).collect()
            } else {
                tasks.into_par_iter().map(|task| task.run(&call, room)).collect()
            }
        })?;
        let mut total = Partial::default();
        partials.into_iter().flatten().for_each(|partial| total.add(partial));
        Ok(call.outcome(total))
    }

    fn map_capability(&self, _plan: &MapPlan) -> Result<(), Unsupported> {
        Ok(())
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        let call = submission.call()?.with_isa(self.isa()?);
        let crew = self.crew(2, submission.plan.student().len() * MAP_LOSS);
        Ok(self.spread(crew, move || map::run(&call, submission, crew))?)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Whether a gradient is sooner there where its parts were kept. Stores past the caches take as long as the widest vectors do
/// to make it anew, which goes on beside them; in bursts they would be waited for.
fn gains_by_room(gradient: &TensorMut<'_>, isa: Isa) -> bool {
    isa != Isa::Avx512 || gradient.len() * gradient.dtype().size() < STREAMED
}

/// Cuts the outputs along the plan's jobs.
fn tasks<'a>(
    plan: &Plan,
    (grad_student, grad_teacher): (Option<TensorMut<'a>>, Option<TensorMut<'a>>),
    mut of_rows: OfRows<'a>,
    threads: usize,
) -> Vec<Task<'a>> {
    let grouped = GradientTasks::new(plan, threads);
    let sinks = grouped.sinks(grad_student, grad_teacher);
    let mut tasks = Vec::with_capacity(sinks.len());
    for (jobs, sinks) in grouped.into_jobs().into_iter().zip(sinks) {
        let rows = jobs.iter().map(ExactSizeIterator::len).sum();
        tasks.push(Task { jobs, of_rows: of_rows.take(rows), sinks });
    }
    tasks
}

impl Task<'_> {
    /// Runs its jobs, in so much room.
    fn run(self, call: &Call<'_>, room: usize) -> Result<Vec<Partial>, densekd_core::Error> {
        with_room(room, |room| self.run_in(call, room))
    }

    fn run_in(mut self, call: &Call<'_>, room: &mut [f32]) -> Result<Vec<Partial>, densekd_core::Error> {
        let mut scratch = vec![0.0; self.sinks.scratch()];
        let mut partials = Vec::with_capacity(self.jobs.len());
        for job in self.jobs {
            let of_rows = self.of_rows.take(job.len());
            if let Some(pairs) = self.sinks.segments() {
                let mut segmented = SideBySide(Rounds::new(pairs));
                partials.push(call.run_segments(job, of_rows.outputs(), &mut segmented)?);
                continue;
            }
            let (grad_student, grad_teacher) = self.sinks.whole();
            let scratch = &mut scratch[..];
            let room = &mut room[..];
            let outputs = Outputs { grad_student, grad_teacher, scratch, room, ..of_rows.outputs() };
            partials.push(call.run(job, outputs)?);
        }
        Ok(partials)
    }
}

/// A job's segments, each with its sinks.
struct SideBySide<'b, 'a>(Rounds<&'b mut [Pair<'a>]>);

impl Segmented for SideBySide<'_, '_> {
    fn gradients(&self) -> (bool, bool) {
        self.0.parts.first().map_or((false, false), Pair::are_there)
    }

    fn each(
        &mut self,
        segments: Segments,
        work: &(dyn Fn(Range<usize>, Lent<'_>) -> Found + Sync),
        take: &mut dyn FnMut(Found),
    ) {
        let lend = |(): &mut (), segment, pair: &mut Pair<'_>| {
            let (student, teacher) = pair.both();
            work(segment, Lent::Sinks { student, teacher })
        };
        self.0.run(segments, || (), lend, take);
    }
}
