//! The value under every published setting.

use super::case::Case;
use super::text::optional;
use crate::backend::BackendError;
use crate::term::TermSubmission;
use densekd_core::{
    Divisor, Ignore, Inputs, Options, Outcome, Overflowed, Plan, Preset, Recipe, RowOptions, Term, Weight,
};
use serde::Serialize;

/// Elements of an enlarged map beyond which a preset with `upsample` is not run.
const MOST: usize = 1 << 26;

/// Elements beyond which a map loss is not run, as some compare every position with every other.
const MOST_OF_MAPS: usize = 1 << 22;

/// What a preset gives for the two maps.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// let preset = report.presets.iter().find(|preset| preset.name == "skd-pi");
/// assert_eq!(preset.and_then(|preset| preset.divisor_number), Some(2.0));
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct PresetValue {
    /// The preset.
    pub name: &'static str,
    /// What it divides by; of a map loss `its own`.
    pub divisor: &'static str,
    /// That number, where the preset goes with the shape.
    #[serde(serialize_with = "optional")]
    pub divisor_number: Option<f64>,
    /// The loss.
    #[serde(serialize_with = "optional")]
    pub value: Option<f64>,
    /// Why there is none.
    pub note: Option<String>,
}

/// The sums over rows that were taken, by the options that they depend on.
#[derive(Default)]
struct Sums(Vec<(RowOptions, f64)>);

impl Sums {
    fn get(&mut self, case: Case<'_>, options: RowOptions) -> Result<f64, BackendError> {
        // Presets of several code bases differ in weight and divisor alone.
        let key = RowOptions {
            divisor: Divisor::Sum,
            divisor_channels: None,
            tau_square: false,
            weight: Weight::new(1.0)?,
            ignore: if case.mask.is_all() { Ignore::Before } else { options.ignore },
            ..options
        };
        if let Some((_, sum)) = self.0.iter().find(|(known, _)| *known == key) {
            return Ok(*sum);
        }
        let plan = Plan::new(Recipe::new(key)?, case.shape, case.order)?;
        let outcome = case.backend.submit(case.submission(&plan))?;
        case.backend.synchronise()?;
        self.0.push((key, outcome.sum));
        Ok(outcome.sum)
    }
}

/// All of them, in the order of [`Preset::ALL`]. What a preset refuses is said in its note.
pub(super) fn values(case: Case<'_>) -> Vec<PresetValue> {
    let mut sums = Sums::default();
    let value = |preset: &Preset| match preset.options.row() {
        Some(options) => value(case, (preset, options), &mut sums),
        None => map_value(case, preset),
    };
    Preset::ALL.iter().map(value).collect()
}

/// A preset of a map loss, whose divisor is part of its formula.
fn map_value(case: Case<'_>, preset: &Preset) -> PresetValue {
    let none =
        PresetValue { name: preset.name, divisor: "its own", divisor_number: None, value: None, note: None };
    let name = preset.name;
    let noted = |note: String| PresetValue { note: Some(note), ..none.clone() };
    if !preset.options.takes_teacher() {
        return noted(format!("looks at one tensor alone: densekd loss STUDENT --preset {name}"));
    }
    if preset.options.takes_labels() {
        return noted(format!("takes class labels: densekd loss T S --preset {name} --labels FILE"));
    }
    if !case.mask.is_all() {
        return noted("takes no labels or mask: its value would be that of all positions".to_owned());
    }
    if case.shape.len() > MOST_OF_MAPS {
        return noted(format!("skipped: more than {MOST_OF_MAPS} elements; try it on a smaller batch"));
    }
    match map_outcome(case, preset.options) {
        Ok(outcome) => {
            PresetValue { divisor_number: Some(outcome.divisor), value: Some(outcome.value()), ..none }
        }
        Err(error) => noted(error.to_string()),
    }
}

fn map_outcome(case: Case<'_>, options: Options) -> Result<Outcome, BackendError> {
    let term = Term::new(options, case.shape, case.shape, case.order)?;
    let outcome = TermSubmission::new(&term, Some(case.teacher), case.student).submit(case.backend)?;
    case.backend.synchronise()?;
    Ok(outcome)
}

fn value(case: Case<'_>, (preset, options): (&Preset, &RowOptions), sums: &mut Sums) -> PresetValue {
    let divisor = options.divisor.name();
    let none = PresetValue { name: preset.name, divisor, divisor_number: None, value: None, note: None };
    let noted = |error: BackendError| PresetValue { note: Some(error.to_string()), ..none.clone() };
    let plan = match plan(case, options) {
        Ok(plan) => plan,
        Err(error) => return noted(error),
    };
    let number = plan.divisor(&case.mask);
    let enlarged = plan.counted_shape().len();
    if plan.is_upsampled() && enlarged > MOST {
        let factor = options.upsample;
        let note = format!(
            "skipped: upsample {factor} makes {enlarged} elements (more than {MOST}); try it on a smaller batch"
        );
        return PresetValue { divisor_number: Some(number), note: Some(note), ..none };
    }
    match sums.get(case, *options) {
        Ok(sum) => {
            let scale = plan.recipe().scale();
            let outcome = Outcome { sum, divisor: number, scale, overflowed: Overflowed::default() };
            PresetValue { divisor_number: Some(number), value: Some(outcome.value()), ..none }
        }
        Err(error) => noted(error),
    }
}

/// The preset on the case's shape, which its mask goes with.
fn plan(case: Case<'_>, options: &RowOptions) -> Result<Plan, BackendError> {
    let plan = Plan::new(Recipe::new(*options)?, case.shape, case.order)?;
    Inputs::new(&plan, case.teacher, case.student, case.mask)?;
    Ok(plan)
}
