//! A question about a map loss: maps, labels, a projection, and the settings by name.

use super::Number;
use super::vectors::Vector;

/// Bits of the numbers of map losses: a difference over 2^-60 leaves 130 of them.
const BITS: usize = 192;

/// A number of map losses, exactly.
pub(super) fn number(x: f64) -> Number {
    Number::with_bits(x, BITS)
}

/// A count as a number.
pub(super) fn count(n: usize) -> Number {
    number(f64::from(u32::try_from(n).expect("counts are small")))
}

/// The value of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// Left out.
    Null,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// The name of a choice.
    Name(&'static str),
    /// Height and width.
    Pair([i64; 2]),
}

/// A question to a loss of whole maps.
#[derive(Clone, Debug)]
pub struct MapCase {
    /// The name of the loss.
    pub loss: String,
    /// Every setting of the loss, by name.
    pub settings: Vec<(&'static str, Setting)>,
    /// `[N, C, H, W]` of the student.
    pub shape: [usize; 4],
    /// `[N, C, H, W]` of the teacher.
    pub teacher_shape: [usize; 4],
    /// The student's map, row-major.
    pub student: Vec<f64>,
    /// The teacher's map, where the loss has one.
    pub teacher: Option<Vec<f64>>,
    /// Labels `[N, HL, WL]`, with HL and WL.
    pub labels: Option<(Vec<i64>, [usize; 2])>,
    /// Which positions `[N, H, W]` count; all where absent.
    pub counted: Option<Vec<bool>>,
    /// The weight of a 1x1 convolution of the student, `[C_t, C_s]`.
    pub weight: Option<Vec<f64>>,
    /// Its bias, `[C_t]`.
    pub bias: Option<Vec<f64>>,
}

impl MapCase {
    /// Maps of one shape, with no settings.
    pub fn new(loss: &str, shape: [usize; 4], student: Vec<f64>, teacher: Option<Vec<f64>>) -> Self {
        Self {
            loss: loss.to_owned(),
            settings: Vec::new(),
            shape,
            teacher_shape: shape,
            student,
            teacher,
            labels: None,
            counted: None,
            weight: None,
            bias: None,
        }
    }

    /// The same question with a setting of another value.
    ///
    /// # Panics
    /// Where the question has no such setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: Setting) -> Self {
        let setting = self.settings.iter_mut().find(|(known, _)| *known == name);
        setting.unwrap_or_else(|| panic!("there is no {name}")).1 = value;
        self
    }

    /// The setting of this name.
    ///
    /// # Panics
    /// Where there is none.
    pub fn setting(&self, name: &str) -> Setting {
        self.find(name).unwrap_or_else(|| panic!("{} needs {name}", self.loss))
    }

    fn find(&self, name: &str) -> Option<Setting> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, setting)| *setting)
    }

    pub(super) fn number(&self, name: &str) -> Number {
        match self.setting(name) {
            Setting::Number(x) => number(x),
            Setting::Integer(n) => number(f64::from(i32::try_from(n).expect("settings are small"))),
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(super) fn integer(&self, name: &str) -> i64 {
        match self.setting(name) {
            Setting::Integer(n) => n,
            other => panic!("{name} is {other:?}"),
        }
    }

    pub(super) fn size(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or_else(|_| panic!("{name} is negative"))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.setting(name) == Setting::Flag(true)
    }

    pub(super) fn is(&self, name: &str, choice: &str) -> bool {
        matches!(self.setting(name), Setting::Name(name) if name == choice)
    }

    pub(super) fn pair(&self, name: &str) -> Option<[usize; 2]> {
        match self.find(name) {
            Some(Setting::Pair(pair)) => Some(pair.map(|n| usize::try_from(n).expect("a size"))),
            _ => None,
        }
    }

    /// The label of a position, by the nearest label: index floor(i * HL / H).
    pub(super) fn label(&self, n: usize, position: usize) -> i64 {
        let [_, _, h, w] = self.shape;
        let (labels, [hl, wl]) = self.labels.as_ref().expect("the loss takes labels");
        let (y, x) = (position / w * hl / h, position % w * wl / w);
        labels[(n * hl + y) * wl + x]
    }

    /// Whether a position is counted by the mask.
    pub(super) fn counts(&self, n: usize, position: usize) -> bool {
        let [_, _, h, w] = self.shape;
        self.counted.as_ref().is_none_or(|counted| counted[n * h * w + position])
    }
}

/// A map of numbers.
#[derive(Clone, Debug)]
pub(super) struct Map {
    pub(super) images: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) x: Vec<Number>,
}

impl Map {
    pub(super) fn new([images, channels, height, width]: [usize; 4], x: &[f64]) -> Self {
        Self { images, channels, height, width, x: x.iter().map(|&x| number(x)).collect() }
    }

    /// M = H W.
    pub(super) const fn positions(&self) -> usize {
        self.height * self.width
    }

    pub(super) fn at(&self, n: usize, c: usize, position: usize) -> &Number {
        &self.x[(n * self.channels + c) * self.positions() + position]
    }

    /// The channels of a position.
    pub(super) fn pixel(&self, n: usize, position: usize) -> Vector {
        (0..self.channels).map(|c| self.at(n, c, position).clone()).collect()
    }

    /// All numbers of an image.
    pub(super) fn image(&self, n: usize) -> Vector {
        let len = self.channels * self.positions();
        self.x[n * len..(n + 1) * len].to_vec()
    }

    /// All numbers of a channel, over every image.
    pub(super) fn channel(&self, c: usize) -> Vector {
        let places = (0..self.images).flat_map(|n| (0..self.positions()).map(move |i| (n, i)));
        places.map(|(n, i)| self.at(n, c, i).clone()).collect()
    }
}

/// What a formula reads.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    pub(super) student: Map,
    /// The student again where the loss has no teacher.
    pub(super) teacher: Map,
    /// The maps where they stand, for what a formula takes as constant while they are moved.
    pub(super) unmoved: [Map; 2],
    pub(super) weight: Option<Vec<Number>>,
    pub(super) bias: Option<Vec<Number>>,
}

impl Inputs {
    pub(super) fn new(case: &MapCase) -> Self {
        let student = Map::new(case.shape, &case.student);
        let teacher = match &case.teacher {
            Some(teacher) => Map::new(case.teacher_shape, teacher),
            None => student.clone(),
        };
        let numbers =
            |x: &Option<Vec<f64>>| x.as_ref().map(|x| x.iter().map(|&x| number(x)).collect::<Vec<_>>());
        Self {
            unmoved: [teacher.clone(), student.clone()],
            student,
            teacher,
            weight: numbers(&case.weight),
            bias: numbers(&case.bias),
        }
    }
}
