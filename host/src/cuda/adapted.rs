//! Losses of maps behind adapters, all of it on the device.

use super::{Cuda, NAME, counted};
use crate::adapter::{AdaptedMap, AdaptedOutcome, AdaptedPair, Gradient, Gradients, Pulled};
use crate::backend::{BackendError, MapSubmission, Unsupported};
use crate::term::row_mask;
use densekd_core::{DType, Error, MapOptions, MapPlan, Mask, Options, Outcome, Plan, TensorMut, Term};
use densekd_cuda::{
    AdaptedHostCall, AdaptedHostLoss, AdaptedHostMap, AdaptedSum, AdapterPlan, classes, uncovered,
    uncovered_map,
};

/// Feature mimicking of a student that its projection brings to the teacher's channels: the same of one that has them.
pub(super) fn mimicking(plan: &MapPlan) -> Option<MapPlan> {
    let MapOptions::Mimic(options) = plan.options() else { return None };
    let teacher = plan.teacher();
    match Term::new(Options::Map(MapOptions::Mimic(*options)), teacher, teacher, plan.order()) {
        Ok(Term::Map(plan)) => Some(plan),
        _ => None,
    }
}

fn some(numbers: &mut [f64]) -> Option<&mut [f64]> {
    (!numbers.is_empty()).then_some(numbers)
}

/// Settles a gradient that is 0.
fn fill_with_nothing(gradient: &mut Option<&mut [f64]>) {
    if let Some(gradient) = gradient.take() {
        gradient.fill(0.0);
    }
}

/// A map of a pair with what its gradients are written to.
struct Side<'a> {
    of: AdaptedMap<'a>,
    pulled: Option<Pulled>,
}

impl<'a> Side<'a> {
    fn new(of: AdaptedMap<'a>, wanted: bool) -> Self {
        let (weight, bias) = of.adapter.parameters();
        let pulled = wanted.then(|| Pulled {
            map: vec![0.0; of.map.len()],
            weight: vec![0.0; weight.map_or(0, <[f64]>::len)],
            bias: vec![0.0; bias.map_or(0, <[f64]>::len)],
        });
        Self { of, pulled }
    }

    fn lend(&mut self) -> Result<AdaptedHostMap<'_>, Error> {
        let AdaptedMap { map, adapter } = self.of;
        let (weight, bias) = adapter.parameters();
        let of = AdaptedHostMap { weight, bias, ..AdaptedHostMap::new(adapter.plan()?, map) };
        let Some(Pulled { map, weight, bias }) = &mut self.pulled else { return Ok(of) };
        let gradient = Some(TensorMut::F64(map));
        Ok(AdaptedHostMap { gradient, grad_weight: some(weight), grad_bias: some(bias), ..of })
    }

    fn gradient(self) -> Option<Gradient> {
        let dtype = self.of.map.dtype();
        self.pulled.map(|exact| Gradient { exact, dtype })
    }
}

/// Whether what the loss's own checks would refuse is not there: it is left to them, who say why.
fn is_sound(pair: &AdaptedPair<'_>, term: &Term, wanted: Gradients) -> bool {
    let fits = |map: &AdaptedMap<'_>| map.map.len() == map.adapter.from().len();
    let maps = [Some(&pair.student), pair.teacher.as_ref()];
    let of_loss = match term {
        Term::Row(plan) => {
            let leaves_out = pair.labels.is_some() || pair.mask.is_some();
            pair.teacher.is_some() && !(plan.is_upsampled() && leaves_out)
        }
        Term::Map(plan) => {
            let has_labels = pair.labels.is_some();
            let of_labels = pair.labels.is_none_or(|labels| labels.images() == plan.student().images());
            plan.takes_teacher() == pair.teacher.is_some()
                && plan.takes_labels() == has_labels
                && (has_labels || pair.mask.is_none())
                && of_labels
                && (!wanted.teacher || plan.has_teacher_gradient())
        }
    };
    of_loss && maps.into_iter().flatten().all(fits)
}

impl Cuda {
    /// Why it does not run a loss on adapted maps as they are stored.
    pub(crate) fn adapted_refusal(pair: &AdaptedPair<'_>, term: &Term) -> Option<Unsupported> {
        let lacks = |dtype| match term {
            Term::Row(plan) => uncovered(plan, dtype),
            Term::Map(plan) => uncovered_map(plan, dtype),
        };
        let maps = [Some(&pair.student), pair.teacher.as_ref()];
        let is_wide = maps.into_iter().flatten().any(|map| map.map.dtype() == DType::F64);
        // What is not taken in f64 is taken in f32.
        let reason = lacks(if is_wide { DType::F64 } else { DType::F32 });
        reason.map(|reason| Unsupported { backend: NAME, reason })
    }

    /// Nothing is done where there are no kernels for it, or where something is amiss.
    pub(super) fn run_adapted(
        &self,
        pair: &AdaptedPair<'_>,
        wanted: Gradients,
    ) -> Result<Option<AdaptedOutcome>, BackendError> {
        let term = pair.term()?;
        if Self::adapted_refusal(pair, &term).is_some() || !is_sound(pair, &term, wanted) {
            return Ok(None);
        }
        let mut student = Side::new(pair.student, wanted.student);
        let mut teacher = pair.teacher.map(|teacher| Side::new(teacher, wanted.teacher));
        let maps = (teacher.as_mut().map(Side::lend).transpose()?, student.lend()?);
        let outcome = match &term {
            Term::Row(plan) => self.rows(pair, plan, maps),
            Term::Map(plan) => self.maps(pair, plan, maps),
        }?;
        Ok(Some(AdaptedOutcome {
            outcome,
            student: student.gradient(),
            teacher: teacher.and_then(Side::gradient),
        }))
    }

    fn rows(
        &self,
        pair: &AdaptedPair<'_>,
        plan: &Plan,
        (teacher, student): (Option<AdaptedHostMap<'_>>, AdaptedHostMap<'_>),
    ) -> Result<Outcome, BackendError> {
        let mask = row_mask(plan, pair.labels, pair.mask)?;
        let counted = counted(plan, &mask);
        let (divisor, scale) = (plan.divisor(&mask), plan.recipe().scale());
        let factor = if divisor == 0.0 { 0.0 } else { scale * pair.upstream.get() / divisor };
        let loss = AdaptedHostLoss::Rows { plan, mask: counted.as_deref(), factor };
        let AdaptedSum { sum, overflowed, .. } =
            self.device().submit_adapted(AdaptedHostCall { loss, teacher, student })?;
        Ok(Outcome { sum, divisor, scale, overflowed })
    }

    fn maps(
        &self,
        pair: &AdaptedPair<'_>,
        plan: &MapPlan,
        (teacher, student): (Option<AdaptedHostMap<'_>>, AdaptedHostMap<'_>),
    ) -> Result<Outcome, BackendError> {
        let mask = Mask::new(plan.student(), None, pair.mask)?;
        let classes = pair.labels.map(|labels| classes(plan, labels, mask)).transpose()?;
        let upstream = pair.upstream.get();
        let loss = AdaptedHostLoss::Map { plan, classes: classes.as_deref(), upstream };
        let AdaptedSum { sum, divisor, overflowed } =
            self.device().submit_adapted(AdaptedHostCall { loss, teacher, student })?;
        Ok(Outcome { sum, divisor: divisor.unwrap_or_default(), scale: plan.scale(), overflowed })
    }

    /// Feature mimicking with a projection of the student, or with the gradients to one.
    pub(super) fn mimic(
        &self,
        submission: MapSubmission<'_>,
        projected: &MapPlan,
    ) -> Result<Outcome, BackendError> {
        let MapSubmission { plan, teacher, student, projection, upstream, .. } = submission;
        let MapSubmission { grad_student, grad_teacher, grad_projection, .. } = submission;
        let (mut to_weight, mut to_bias) = grad_projection.unzip();
        // Nothing from above is nothing, whatever it is multiplied by; nor has the weight of no convolution a gradient.
        let is_nothing = plan.scale() * upstream.get() == 0.0;
        if is_nothing || projection.weight.is_none() {
            fill_with_nothing(&mut to_weight);
        }
        if is_nothing {
            fill_with_nothing(&mut to_bias);
        }
        let [at, of_teacher] = [plan.student(), plan.teacher()].map(|of| AdapterPlan::new(of, plan.order()));
        let call = AdaptedHostCall {
            loss: AdaptedHostLoss::Map { plan: projected, classes: None, upstream: upstream.get() },
            teacher: teacher
                .map(|map| AdaptedHostMap { gradient: grad_teacher, ..AdaptedHostMap::new(of_teacher, map) }),
            student: AdaptedHostMap {
                weight: projection.weight,
                bias: projection.bias,
                gradient: grad_student,
                grad_weight: to_weight,
                grad_bias: to_bias,
                ..AdaptedHostMap::new(at.with_projection(plan.teacher().channels())?, student)
            },
        };
        let AdaptedSum { sum, divisor, overflowed } = self.device().submit_adapted(call)?;
        Ok(Outcome { sum, divisor: divisor.unwrap_or_default(), scale: plan.scale(), overflowed })
    }
}
