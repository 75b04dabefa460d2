//! A teacher's rows as a file in flash: log-probabilities in two bytes, or in one.

use super::Row;
use core::fmt;
use core::ops::Range;
use half::f16;

/// How a [`TeacherTable`] stores a log-probability.
///
/// ```
/// use densekd_core::single::Stored;
/// assert_eq!((Stored::F16.bytes(), Stored::U8 { step: 0.1 }.bytes()), (2, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    /// As `f16`.
    F16,
    /// In steps below the row's largest; the last step of the byte is no mass at all.
    U8 {
        /// In units of logits.
        step: f32,
    },
}

impl Stored {
    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::U8 { .. } => 1,
        }
    }
}

const HEADER: usize = 28;

/// The step of a `u8` table that stands for no mass.
const NO_MASS: u8 = u8::MAX;

/// A fixed teacher's rows, prepared on another machine (`densekd prepare`) and read where they lie: borrowed bytes, of any
/// alignment.
///
/// A number is `tau log p` less the row's largest: a softmax does not see what is added to its row, so that the table stands
/// in for the teacher's logits at its temperature, as numbers that are as small as they can be.
///
/// | bytes | what, the lowest byte first |
/// | --- | --- |
/// | 0..8 | `dkd-rows` |
/// | 8..12 | version, 1 |
/// | 12..16 | number of rows |
/// | 16..20 | entries of a row |
/// | 20..24 | tau, `f32` |
/// | 24..28 | `f32`: 0 for `f16`, or the step of `u8` |
/// | 28.. | rows, one after another |
///
/// *Error.* With `d` what a number is off by over tau (2^-11 of its magnitude for `f16`, half a step for `u8`, over tau each)
/// at most, a probability is off by `e^(2d) - 1` of itself at most, the gradient of an entry by this times its p/tau, and the
/// divergence by `d^2/2 + (e^(2d) - 1) E`, E being the mean of |r - KL| under p for r = log p - log q. What a `u8` table takes
/// for no mass is less than e^-20 of the row's largest probability.
///
/// ```
/// use densekd_core::single::{Polynomial, RowKl, TeacherTable};
/// // A row of three at temperature 1, in steps of 1/8: 0, -1, -2.
/// let mut bytes = [0; TeacherTable::HEADER + 3];
/// bytes[..8].copy_from_slice(b"dkd-rows");
/// for (at, word) in [(8, 1), (12, 1), (16, 3), (20, 1_f32.to_bits()), (24, 0.125_f32.to_bits())] {
///     bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
/// }
/// bytes[TeacherTable::HEADER..].copy_from_slice(&[0, 8, 16]);
///
/// let table = TeacherTable::new(&bytes)?;
/// let loss = RowKl::<Polynomial>::new(table.tau()).expect("a temperature");
/// let teacher = table.row(0).expect("there is one");
/// assert_eq!(loss.value(&teacher, &[5.0_f32, 4.0, 3.0]), 0.0);
/// # Ok::<(), densekd_core::single::TableError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TeacherTable<'a> {
    rows: usize,
    entries: usize,
    tau: f32,
    stored: Stored,
    numbers: &'a [u8],
}

/// Why bytes are no table.
///
/// ```
/// use densekd_core::single::{TableError, TeacherTable};
/// assert_eq!(TeacherTable::new(b"dkd-").unwrap_err(), TableError::Header);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// They do not begin as a table does.
    Header,
    /// It is of another version.
    Version,
    /// Its temperature, or its step, is none.
    Number,
    /// There are more or fewer bytes than its rows have.
    Length,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "the bytes are no teacher's table",
            Self::Version => "the table is of another version",
            Self::Number => "the table's temperature or step is not a number from 1e-30 to 1e30",
            Self::Length => "the table has more or fewer bytes than its rows",
        })
    }
}

impl core::error::Error for TableError {}

impl<'a> TeacherTable<'a> {
    /// Bytes before the rows.
    pub const HEADER: usize = HEADER;

    const MAGIC: &'static [u8] = b"dkd-rows";
    const VERSION: u32 = 1;

    /// The table that these bytes are.
    ///
    /// # Errors
    /// Where they are none, see [`TableError`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, TableError> {
        let rest = bytes.strip_prefix(Self::MAGIC).ok_or(TableError::Header)?;
        let (words, numbers) = rest.split_first_chunk::<{ HEADER - 8 }>().ok_or(TableError::Header)?;
        let mut words = words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        if next() != Self::VERSION {
            return Err(TableError::Version);
        }
        let mut size = || usize::try_from(next()).map_err(|_| TableError::Length);
        let (rows, entries) = (size()?, size()?);
        let (tau, step) = (f32::from_bits(next()), f32::from_bits(next()));
        let is_number = |x: f32| (1e-30..=1e30).contains(&x);
        if !is_number(tau) || step != 0.0 && !is_number(step) {
            return Err(TableError::Number);
        }
        let stored = if step == 0.0 { Stored::F16 } else { Stored::U8 { step } };
        let wanted = rows.checked_mul(entries).and_then(|all| all.checked_mul(stored.bytes()));
        if wanted != Some(numbers.len()) {
            return Err(TableError::Length);
        }
        Ok(Self { rows, entries, tau, stored, numbers })
    }

    /// The first bytes of a table: rows follow as [`Stored::store`] makes them. None where sizes are beyond 32 bits.
    pub fn header(rows: usize, entries: usize, tau: f32, stored: Stored) -> Option<[u8; HEADER]> {
        let step = match stored {
            Stored::F16 => 0.0,
            Stored::U8 { step } => step,
        };
        let (rows, entries) = (u32::try_from(rows).ok()?, u32::try_from(entries).ok()?);
        let words = [Self::VERSION, rows, entries, tau.to_bits(), step.to_bits()].map(u32::to_le_bytes);
        let mut header = [0; HEADER];
        for (to, &from) in header.iter_mut().zip(Self::MAGIC.iter().chain(words.as_flattened())) {
            *to = from;
        }
        Some(header)
    }

    /// How many rows there are.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Entries of a row.
    pub const fn entries(&self) -> usize {
        self.entries
    }

    /// The temperature of which the rows are, and of a loss by them.
    pub const fn tau(&self) -> f32 {
        self.tau
    }

    /// How numbers are stored.
    pub const fn stored(&self) -> Stored {
        self.stored
    }

    /// A row; none beyond the last.
    pub fn row(&self, index: usize) -> Option<TableRow<'a>> {
        if index >= self.rows {
            return None;
        }
        let bytes = self.entries.checked_mul(self.stored.bytes())?;
        let start = index.checked_mul(bytes)?;
        let numbers = self.numbers.get(start..start.checked_add(bytes)?)?;
        Some(TableRow { stored: self.stored, numbers })
    }
}

impl Stored {
    /// The bytes of a number: `tau log p` less its row's largest, so at most 0; minus infinity is no mass.
    ///
    /// ```
    /// use densekd_core::single::Stored;
    /// assert_eq!(Stored::U8 { step: 0.5 }.store(-1.2), [2, 0]);
    /// assert_eq!(Stored::F16.store(-1.0), half::f16::NEG_ONE.to_le_bytes());
    /// ```
    pub fn store(self, below: f64) -> [u8; 2] {
        match self {
            Self::F16 => f16::from_f64(below).to_le_bytes(),
            Self::U8 { step } => {
                let steps = -below / f64::from(step) + 0.5;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
                [if steps < f64::from(NO_MASS) { steps as u8 } else { NO_MASS }, 0]
            }
        }
    }
}

/// A row of a [`TeacherTable`].
///
/// ```
/// use densekd_core::single::{Row, TableRow};
/// fn largest(row: &TableRow<'_>) -> f32 {
///     row.values(row.entries()).fold(f32::NEG_INFINITY, f32::max)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    stored: Stored,
    numbers: &'a [u8],
}

impl<'a> TableRow<'a> {
    /// Some of its entries: what stands beside a piece of the student's. None beyond the end.
    pub fn part(&self, entries: Range<usize>) -> Option<TableRow<'a>> {
        let size = self.stored.bytes();
        let bytes = entries.start.checked_mul(size)?..entries.end.checked_mul(size)?;
        Some(TableRow { stored: self.stored, numbers: self.numbers.get(bytes)? })
    }
}

impl Row for TableRow<'_> {
    fn entries(&self) -> usize {
        match self.stored {
            Stored::F16 => self.numbers.len() / 2,
            Stored::U8 { .. } => self.numbers.len(),
        }
    }

    #[inline(always)]
    fn values(&self, len: usize) -> impl Iterator<Item = f32> {
        let (bytes, step) = match self.stored {
            Stored::F16 => (2, 0.0),
            Stored::U8 { step } => (1, -step),
        };
        self.numbers.chunks_exact(bytes).take(len).map(move |number| match *number {
            [NO_MASS] => f32::NEG_INFINITY,
            [steps] => step * f32::from(steps),
            [low, high] => f16::from_le_bytes([low, high]).to_f32(),
            _ => f32::NAN,
        })
    }
}
