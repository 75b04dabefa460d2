//! The teacher's and the student's tensor, found by name where no name is given.

use super::entry::{Entry, Item, list};
use super::kind::Kind;
use super::{Array, Error, TensorPath, read};

/// A teacher's and a student's tensor with the places they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The teacher's tensor.
    pub teacher: Array,
    /// The student's tensor.
    pub student: Array,
    /// Where the teacher's tensor was found, with its name.
    pub teacher_at: TensorPath,
    /// Where the student's tensor was found, with its name.
    pub student_at: TensorPath,
}

/// Reads the tensors of a teacher and a student.
///
/// A name that is left out is the only one of its file. Where a file has several, it is the one
/// float tensor that both files have under the same name with the same shape; where one of the two
/// is settled by itself, the other is its namesake, whatever its shape.
///
/// # Errors
///
/// As [`read`], and where no tensor or more than one could be meant.
///
/// ```
/// use densekd::io::{self, Array, TensorPath};
///
/// let folder = tempfile::tempdir()?;
/// let (logits, wide, narrow) = (
///     Array::new([1, 3], vec![0.1_f32, 0.7, 0.2])?,
///     Array::new([1, 8], vec![0.0_f32; 8])?,
///     Array::new([1, 4], vec![0.0_f32; 4])?,
/// );
/// let teacher = folder.path().join("teacher.safetensors");
/// let student = folder.path().join("student.safetensors");
/// io::write_safetensors(&teacher, &[("logits", &logits), ("features", &wide)], &[])?;
/// io::write_safetensors(&student, &[("logits", &logits), ("features", &narrow)], &[])?;
///
/// let pair = io::read_pair(&TensorPath::parse(&teacher)?, &TensorPath::parse(&student)?)?;
/// assert_eq!(pair.teacher_at.name(), Some("logits"));
/// assert_eq!(pair.teacher, pair.student);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_pair(teacher: &TensorPath, student: &TensorPath) -> Result<Pair, Error> {
    let (teacher_at, student_at) = settle(teacher, student)?;
    Ok(Pair { teacher: read(&teacher_at)?, student: read(&student_at)?, teacher_at, student_at })
}

/// The tensors of a file that may be meant, or none if the place is settled without a look at them.
fn open_items(at: &TensorPath) -> Result<Option<Vec<Item>>, Error> {
    if at.name().is_some() {
        return Ok(None);
    }
    let items = list(at)?;
    // An empty list is left to `read`, which says what is there instead.
    Ok((items.len() > 1).then_some(items))
}

fn settle(teacher: &TensorPath, student: &TensorPath) -> Result<(TensorPath, TensorPath), Error> {
    match (open_items(teacher)?, open_items(student)?) {
        (None, None) => Ok((only(teacher)?, only(student)?)),
        (Some(items), None) => {
            let student = only(student)?;
            Ok((namesake(teacher, &items, &student)?, student))
        }
        (None, Some(items)) => {
            let teacher = only(teacher)?;
            let student = namesake(student, &items, &teacher)?;
            Ok((teacher, student))
        }
        (Some(teachers), Some(students)) => {
            let name = shared((teacher, &teachers), (student, &students))?;
            Ok((teacher.named(&name), student.named(&name)))
        }
    }
}

/// A place that needs no look at the other file, with its name where the format has names.
fn only(at: &TensorPath) -> Result<TensorPath, Error> {
    let name = || Ok(list(at)?.into_iter().next().and_then(|item| item.name));
    let name = at.name().map_or_else(name, |name| Ok(Some(name.to_owned())))?;
    Ok(name.map_or_else(|| at.clone(), |name| at.named(&name)))
}

fn namesake(at: &TensorPath, items: &[Item], other: &TensorPath) -> Result<TensorPath, Error> {
    let there = items.iter().any(|item| item.name.is_some() && item.name.as_deref() == other.name());
    if let Some(name) = other.name().filter(|_| there) {
        return Ok(at.named(name));
    }
    // A name that its own file does not have is at fault, not the namesake it cannot have.
    Entry::read(other)?;
    Err(Error::NameNeeded {
        path: at.path().to_owned(),
        found: items.iter().filter_map(|item| item.name.clone()).collect(),
    })
}

fn shared(
    (teacher, teachers): (&TensorPath, &[Item]),
    (student, students): (&TensorPath, &[Item]),
) -> Result<String, Error> {
    let float = |item: &&Item| matches!(item.kind, Kind::Float(_));
    let twin = |t: &Item| students.iter().filter(float).any(|s| s.name == t.name && s.shape == t.shape);
    let mut found: Vec<String> =
        teachers.iter().filter(float).filter(|t| twin(t)).filter_map(|t| t.name.clone()).collect();
    let (teacher, student) = (teacher.path().to_owned(), student.path().to_owned());
    match found.len() {
        0 => Err(Error::PairNone {
            teacher,
            student,
            teacher_has: describe(teachers),
            student_has: describe(students),
        }),
        1 => Ok(found.remove(0)),
        _ => Err(Error::PairAmbiguous { teacher, student, found }),
    }
}

fn describe(items: &[Item]) -> String {
    let one = |item: &Item| format!("{} {:?}", item.name.as_deref().unwrap_or_default(), item.shape);
    items.iter().map(one).collect::<Vec<_>>().join(", ")
}
