//! Class labels and masks: whole numbers of whatever width a file has.

use super::entry::Entry;
use super::kind::{Kind, Label};
use super::{Error, TensorPath, path::Format};
use densekd_core::Shape;

/// Whole numbers with their shape, in C order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The dimensions, slowest first.
    pub shape: Vec<usize>,
    /// The numbers; `false` is 0 and `true` is 1.
    pub values: Vec<i64>,
}

impl Labels {
    /// `[N, H, W]` of labels for a map, or `None` where they do not fit it. N may be left out for a map of one image,
    /// H and W for logits `[N, C]`; with `any_size` H and W need not be the map's.
    ///
    /// ```
    /// use densekd::core::Shape;
    /// let labels = densekd::io::Labels { shape: vec![2, 3], values: vec![0; 6] };
    /// assert_eq!(labels.fit(Shape::new([1, 19, 2, 3])?, false), Some([1, 2, 3]));
    /// assert_eq!(labels.fit(Shape::new([1, 19, 4, 6])?, false), None);
    /// assert_eq!(labels.fit(Shape::new([1, 19, 4, 6])?, true), Some([1, 2, 3]));
    /// # Ok::<(), densekd::core::Error>(())
    /// ```
    pub fn fit(&self, map: Shape, any_size: bool) -> Option<[usize; 3]> {
        let [n, _, h, w] = map.dims();
        let dims = match self.shape[..] {
            [a, b, c] => [a, b, c],
            [a, b] if n == 1 => [1, a, b],
            [a] if [h, w] == [1, 1] => [a, 1, 1],
            _ => return None,
        };
        let fits = if any_size { dims[0] == n } else { dims == [n, h, w] };
        fits.then_some(dims)
    }

    /// As a mask: 1 where a position counts, 0 elsewhere.
    ///
    /// # Errors
    /// The first number that is neither, and where it stands in C order.
    ///
    /// ```
    /// use densekd::io::Labels;
    /// assert_eq!(Labels { shape: vec![3], values: vec![0, 1, 1] }.to_mask(), Ok(vec![0, 1, 1]));
    /// assert_eq!(Labels { shape: vec![2], values: vec![0, 255] }.to_mask(), Err((255, 1)));
    /// ```
    pub fn to_mask(&self) -> Result<Vec<u8>, (i64, usize)> {
        let one = |(i, &number): (usize, &i64)| match number {
            0 => Ok(0),
            1 => Ok(1),
            _ => Err((number, i)),
        };
        self.values.iter().enumerate().map(one).collect()
    }
}

/// Reads labels or a mask: whole numbers of 8 to 32 bits, signed or not, of 64 bits signed, or bool.
///
/// # Errors
///
/// As [`read`](super::read); floats are refused, as a label that went through them may be off.
///
/// ```
/// use densekd::io::{self, TensorPath};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("mask.npy");
/// let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }\n";
/// let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
/// bytes.extend(u16::try_from(header.len())?.to_le_bytes());
/// bytes.extend(header.bytes());
/// bytes.extend([0, 255, 2]);
/// std::fs::write(&path, bytes)?;
///
/// let labels = io::read_labels(&TensorPath::parse(&path)?)?;
/// assert_eq!((labels.shape, labels.values), (vec![3], vec![0, 255, 2]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_labels(at: &TensorPath) -> Result<Labels, Error> {
    let Entry { at, kind, dtype: found, shape, bytes } = Entry::read(at)?;
    let Kind::Label(label) = kind else { return Err(no_label(at, found)) };
    let bytes = bytes.as_slice();
    let values = match label {
        Label::Bool => bytes.iter().map(|&byte| i64::from(byte != 0)).collect(),
        Label::U8 => bytes.iter().copied().map(i64::from).collect(),
        Label::I8 => widen(bytes, i8::from_le_bytes),
        Label::U16 => widen(bytes, u16::from_le_bytes),
        Label::I16 => widen(bytes, i16::from_le_bytes),
        Label::U32 => widen(bytes, u32::from_le_bytes),
        Label::I32 => widen(bytes, i32::from_le_bytes),
        Label::I64 => widen(bytes, i64::from_le_bytes),
    };
    Ok(Labels { shape, values })
}

fn widen<const N: usize, E: Into<i64>>(bytes: &[u8], number: fn([u8; N]) -> E) -> Vec<i64> {
    bytes.as_chunks().0.iter().map(|&chunk| number(chunk).into()).collect()
}

fn no_label(at: TensorPath, found: String) -> Error {
    let fix = match at.format() {
        Format::Safetensors => "save t.to(torch.int64)",
        Format::Npy | Format::Npz => "save a.astype('<i8')",
    };
    Error::Dtype { at, found, wanted: "bool, u8, i8, u16, i16, u32, i32 or i64", fix }
}
