//! Several terms as one objective: named losses on named pairs of tensors, each with a weight that may change over
//! training, beside the task's own loss.
//!
//! ```text
//! total = task + sum over terms of  weight * schedule(step) * loss( adapt(teacher), adapt(student) )
//! ```
//!
//! In a file:
//!
//! ```toml
//! [[term]]
//! name = "logits"
//! teacher = "logits"            # tensors by name: of an archive, or files of a folder, without ending
//! student = "logits"
//! preset = "mmrazor-cwd"        # or loss = "cwd"
//! tau = 2.0                     # any option of the loss
//! weight = 3.0
//! schedule = { kind = "linear", from = 0.0, to = 1.0, steps = 1000 }
//! labels = "labels"             # whole numbers [N, H, W], of the student's tensors or else of the teacher's
//! mask = "mask"                 # likewise, 1 where a position counts and 0 elsewhere
//! resize = { side = "student", mode = "bilinear", align_corners = false }   # to the other side's size
//! project = { side = "student", weight = "align.weight", bias = "align.bias" }   # of the student's tensors
//! ```
//!
//! `name`, `student`, and one of `loss` and `preset` must be there, `teacher` where the loss compares with one. A
//! projection comes before a resize. The parameters of a projection are trained with the student, whichever side
//! they adapt, and so are tensors of the student with gradients of their own.
//!
//! Labels and mask are of the adapted maps' positions. A position with the loss's `ignore_index` for a label, or with 0 in
//! the mask, does not count. Row losses take either, and so do losses of classes, whose labels may have any H and W.

mod error;
mod evaluate;
mod file;
mod positions;
mod read;
mod schedule;
mod tensors;

pub use error::{ObjectiveError, Place, Problem};
pub use evaluate::{Evaluation, Step, StudentGradient, TermReport};
pub use schedule::{Ramp, Schedule};
pub use tensors::Tensors;

use densekd_core::{Options, ResizeMode, Side};
use std::collections::BTreeMap;
use std::path::Path;

/// Terms, in the order in which they are reported.
///
/// ```
/// use densekd::objective::{Objective, ObjectiveTerm, Step, Tensors};
/// use densekd::{Cpu, core::Loss, io::Array};
/// let objective = Objective { terms: vec![ObjectiveTerm::new("logits", Loss::Cwd.defaults())] };
/// let (mut teacher, mut student) = (Tensors::default(), Tensors::default());
/// teacher.insert("logits", Array::new([1, 1, 1, 3], vec![0.0_f32, 1.0, 2.0])?);
/// student.insert("logits", Array::new([1, 1, 1, 3], vec![2.0_f32, 1.0, 0.0])?);
/// let step = Step { task_loss: Some(0.5), ..Step::default() };
/// let done = objective.evaluate(&teacher, &student, step, &Cpu::new())?;
/// assert_eq!(done.total, 0.5 + done.terms[0].weighted);
/// assert_eq!(done.gradients["logits"].array.shape(), [1, 1, 1, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objective {
    /// The terms.
    pub terms: Vec<ObjectiveTerm>,
}

/// One loss on one pair of tensors.
///
/// ```
/// use densekd::core::Loss;
/// let term = densekd::objective::ObjectiveTerm::new("logits", Loss::Pi.defaults());
/// assert_eq!((term.teacher.as_deref(), term.student.as_str()), (Some("logits"), "logits"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveTerm {
    /// The name in reports, different for every term.
    pub name: String,
    /// The loss and its settings, among them the weight.
    pub options: Options,
    /// The preset that they come from.
    pub preset: Option<&'static str>,
    /// The teacher's tensor, where the loss compares with one.
    pub teacher: Option<String>,
    /// The student's tensor.
    pub student: String,
    /// Labels, looked for among the student's tensors and then among the teacher's.
    pub labels: Option<String>,
    /// A mask, looked for likewise: 1 where a position counts, 0 elsewhere.
    ///
    /// ```
    /// use densekd::objective::{Objective, ObjectiveTerm, Step, Tensors};
    /// use densekd::{Cpu, core::Loss, io::{Array, Labels}};
    /// let mut term = ObjectiveTerm::new("logits", Loss::Cwd.defaults());
    /// term.mask = Some("mask".to_owned());
    /// let (mut teacher, mut student) = (Tensors::default(), Tensors::default());
    /// teacher.insert("logits", Array::new([1, 1, 1, 3], vec![0.0_f32, 1.0, f32::NAN])?);
    /// student.insert("logits", Array::new([1, 1, 1, 3], vec![0.0_f32, 1.0, 2.0])?);
    /// student.insert_labels("mask", Labels { shape: vec![1, 1, 3], values: vec![1, 1, 0] });
    /// let objective = Objective { terms: vec![term] };
    /// assert_eq!(objective.evaluate(&teacher, &student, Step::default(), &Cpu::new())?.total, 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub mask: Option<String>,
    /// What the weight is multiplied by.
    pub schedule: Schedule,
    /// A resize of one side to the other's height and width.
    pub resize: Option<ResizeStep>,
    /// A 1x1 convolution of one side's channels.
    pub project: Option<ProjectStep>,
    /// Where its keys stand in the file that it was read from.
    places: BTreeMap<String, Place>,
}

/// Which side is resized to the other's height and width, and how.
///
/// ```
/// use densekd::core::{ResizeMode, Side};
/// let step = densekd::objective::ResizeStep { side: Side::Student, mode: ResizeMode::Nearest };
/// assert_eq!(step.mode.name(), "nearest");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeStep {
    /// The side that changes.
    pub side: Side,
    /// How.
    pub mode: ResizeMode,
}

/// Which side's channels are mapped, and by which of the student's tensors.
///
/// ```
/// use densekd::core::Side;
/// let step = densekd::objective::ProjectStep { side: Side::Student, weight: "align.weight".into(), bias: None };
/// assert_eq!(step.weight, "align.weight");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectStep {
    /// The side that changes.
    pub side: Side,
    /// `[C_out, C_in]`, or `[C_out, C_in, 1, 1]`.
    pub weight: String,
    /// `[C_out]`.
    pub bias: Option<String>,
}

impl ObjectiveTerm {
    /// A loss on the tensors of the term's name, of teacher and student.
    pub fn new(name: impl Into<String>, options: Options) -> Self {
        let name = name.into();
        Self {
            teacher: Some(name.clone()),
            student: name.clone(),
            name,
            options,
            preset: None,
            labels: None,
            mask: None,
            schedule: Schedule::Constant,
            resize: None,
            project: None,
            places: BTreeMap::new(),
        }
    }

    /// The tensors of the student that the term has a gradient to.
    ///
    /// ```
    /// use densekd::core::Loss;
    /// let term = densekd::objective::ObjectiveTerm::new("logits", Loss::Cwd.defaults());
    /// assert_eq!(term.trained().collect::<Vec<_>>(), ["logits"]);
    /// ```
    pub fn trained(&self) -> impl Iterator<Item = &str> {
        let parameters =
            self.project.iter().flat_map(|project| [Some(&project.weight), project.bias.as_ref()]);
        [Some(&self.student)].into_iter().chain(parameters).flatten().map(String::as_str)
    }

    /// Where a key stands, or the nearest to it that is known.
    fn place(&self, key: &str) -> Place {
        let known = self.places.get(key).or_else(|| self.places.get("name"));
        let file = known.and_then(|place| place.file.clone());
        Place { file, term: Some(self.name.clone()), key: Some(key.to_owned()) }
    }
}

impl Objective {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ObjectiveError`] with file, line, column and key.
    ///
    /// ```
    /// use densekd::objective::Objective;
    /// let error = Objective::read("no-such-folder/kd.toml").unwrap_err();
    /// assert!(error.to_string().starts_with("`no-such-folder/kd.toml`: it cannot be read"));
    /// ```
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ObjectiveError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| {
            let place = Place { key: Some(path.display().to_string()), ..Place::default() };
            ObjectiveError::new(place, Problem::Read(source))
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; the path is for messages.
    ///
    /// # Errors
    /// [`ObjectiveError`] with file, line, column and key.
    ///
    /// ```
    /// use densekd::objective::Objective;
    /// let text = r#"
    ///     [[term]]
    ///     name = "pixels"
    ///     teacher = "logits"
    ///     student = "logits"
    ///     loss = "pi"
    ///     weight = 10.0
    ///     schedule = { kind = "yolov6", steps = 300 }
    /// "#;
    /// let objective = Objective::parse(text, "kd.toml")?;
    /// assert_eq!(objective.terms[0].schedule.at(300), 0.01);
    /// # Ok::<(), densekd::objective::ObjectiveError>(())
    /// ```
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self, ObjectiveError> {
        read::read(&file::File::new(text, path.as_ref()))
    }
}
