//! The best backend that there is, submission by submission.

use crate::adapter::{AdaptedOutcome, AdaptedPair, Gradients};
use crate::backend::{Backend, BackendError, MapSubmission, Submission, Unsupported};
use crate::cpu::Cpu;
use crate::cuda::Cuda;
use densekd_core::{DType, MapPlan, Outcome, Plan};
use std::sync::OnceLock;

/// A GPU for what its kernels cover, the CPU for the rest; a fault of the GPU's is an error, not a reason to go on.
///
/// ```
/// use densekd::{Auto, Backend, Cpu, Cuda};
/// if let Ok(cuda) = Cuda::open(0) {
///     assert_eq!(Auto::new(cuda, Cpu::new()).name(), "cuda");
/// }
/// ```
#[derive(Debug)]
pub struct Auto {
    cuda: Cuda,
    cpu: Cpu,
    passed_over: OnceLock<Unsupported>,
}

impl Auto {
    /// Of the two.
    pub const fn new(cuda: Cuda, cpu: Cpu) -> Self {
        Self { cuda, cpu, passed_over: OnceLock::new() }
    }

    fn pass_over(&self, refusal: Unsupported) -> &Cpu {
        let _ = self.passed_over.set(refusal);
        &self.cpu
    }
}

impl Backend for Auto {
    /// `cuda`, until something was left to the CPU.
    fn name(&self) -> &'static str {
        if self.passed_over.get().is_some() { self.cpu.name() } else { self.cuda.name() }
    }

    fn passed_over(&self) -> Option<Unsupported> {
        self.passed_over.get().copied()
    }

    fn capability(&self, plan: &Plan, teacher: DType, student: DType) -> Result<(), Unsupported> {
        self.cpu.capability(plan, teacher, student)
    }

    fn scratch(&self, plan: &Plan, gradients: usize) -> usize {
        self.cpu.scratch(plan, gradients)
    }

    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError> {
        match Cuda::refusal(&submission) {
            None => self.cuda.submit(submission),
            Some(refusal) => self.pass_over(refusal).submit(submission),
        }
    }

    fn map_capability(&self, plan: &MapPlan) -> Result<(), Unsupported> {
        self.cpu.map_capability(plan)
    }

    fn submit_map(&self, submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        match Cuda::map_refusal(&submission) {
            None => self.cuda.submit_map(submission),
            Some(refusal) => self.pass_over(refusal).submit_map(submission),
        }
    }

    fn submit_adapted(
        &self,
        pair: &AdaptedPair<'_>,
        wanted: Gradients,
    ) -> Result<Option<AdaptedOutcome>, BackendError> {
        self.cuda.submit_adapted(pair, wanted)
    }

    fn synchronise(&self) -> Result<(), BackendError> {
        self.cuda.synchronise()?;
        self.cpu.synchronise()
    }
}
