//! The header of an array in the .npy format, by `npyz` behind guards.
//!
//! `npyz` trusts a header further than a file from elsewhere deserves: it allocates the header's
//! claimed length before reading, multiplies the dimensions unchecked (a panic in debug builds)
//! and parses nested brackets in time exponential in their depth. What is refused before it sees
//! the text is refused for one of these three.

use npyz::{DType as NpyType, Endianness, NpyHeader, Order, TypeChar};

use super::kind::{Float, Kind, Label};
use super::{Error, TensorPath};

/// `NumPy`'s own limit on the header of a file that it does not trust.
const MAX_TEXT: usize = 10_000;

/// Magic, version and the longer form of the length.
const MAX_PREFIX: usize = 12;

/// A file or member never has to be read further than this to parse its header.
pub(super) const MAX_HEADER: usize = MAX_PREFIX + MAX_TEXT;

/// A parsed header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) data_start: usize,
    pub(super) data_len: usize,
}

impl Header {
    /// Bytes of header and data together; cannot overflow, as neither exceeds `isize::MAX`.
    pub(super) const fn total(&self) -> u64 {
        self.data_start as u64 + self.data_len as u64
    }
}

/// Parses the header at the front of `head`, which is the array's first [`MAX_HEADER`] bytes or all.
pub(super) fn parse(at: &TensorPath, head: &[u8]) -> Result<Header, Error> {
    let fault = |found: String| Error::NpyHeader { at: at.clone(), found };
    let (text_start, text_len) = prefix(at, head)?;
    if text_len > MAX_TEXT {
        return Err(fault(format!("a claimed length of {text_len} bytes (the most is {MAX_TEXT})")));
    }
    let data_start = text_start + text_len;
    let Some(text) = head.get(text_start..data_start) else {
        let (found, wanted) = (head.len() as u64, data_start as u64);
        return Err(Error::Truncated { at: at.clone(), found, wanted });
    };
    let text = std::str::from_utf8(text).map_err(|_| fault("text that is no Unicode".into()))?;
    check_text(at, text)?;

    let header = NpyHeader::from_reader(&head[..data_start]).map_err(|e| fault(e.to_string()))?;
    let (kind, dtype, size) = number_type(at, &header.dtype())?;
    if header.order() == Order::Fortran {
        return Err(Error::FortranOrder { at: at.clone() });
    }
    let too_large = || Error::TooLarge { at: at.clone(), found: format!("{:?}", header.shape()) };
    let shape = header.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| too_large())?;
    let data_len = shape.iter().try_fold(size, |bytes, &d| bytes.checked_mul(d));
    let data_len = data_len.filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(too_large)?;
    Ok(Header { kind, dtype, shape, data_start, data_len })
}

/// Where the text starts and how long it claims to be.
fn prefix(at: &TensorPath, head: &[u8]) -> Result<(usize, usize), Error> {
    const MAGIC: &[u8] = b"\x93NUMPY";
    let short = |wanted: u64| Error::Truncated { at: at.clone(), found: head.len() as u64, wanted };
    let Some(rest) = head.strip_prefix(MAGIC) else {
        let found = &head[..head.len().min(MAGIC.len())];
        return Err(Error::NpyMagic { at: at.clone(), found: format!("\"{}\"", found.escape_ascii()) });
    };
    match *rest {
        [1, 0, a, b, ..] => Ok((10, usize::from(u16::from_le_bytes([a, b])))),
        [2 | 3, 0, a, b, c, d, ..] => {
            Ok((MAX_PREFIX, usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX)))
        }
        [1, 0, ..] => Err(short(10)),
        [2 | 3, 0, ..] => Err(short(MAX_PREFIX as u64)),
        [major, minor, ..] => Err(Error::NpyVersion { at: at.clone(), found: format!("{major}.{minor}") }),
        _ => Err(short(8)),
    }
}

/// Refuses what `npyz` must not be given.
fn check_text(at: &TensorPath, text: &str) -> Result<(), Error> {
    let fault = |found: String| Error::NpyHeader { at: at.clone(), found };
    if text.contains("'bfloat16'") {
        return Err(Error::Bf16InNpy { at: at.clone(), found: "'bfloat16'".into() });
    }
    // A plain array's header is one dict with one tuple in it. That bounds the parser's work, and
    // makes the bracket found below the one that is the shape, whatever the strings around it say.
    let brackets = text.matches(['{', '[', '(']).count();
    if brackets > 2 {
        return Err(if text.contains("[(") {
            let found = text.trim_end().chars().take(60).collect::<String>() + "...";
            Error::StructuredArray { at: at.clone(), found }
        } else {
            fault(format!("{brackets} brackets (a plain array has 2)"))
        });
    }
    let Some((_, dims)) = text.split_once(['(', '[']) else { return Ok(()) };
    let dims = dims.split([')', ']']).next().unwrap_or_default();
    let mut product = 1_u64;
    for dim in dims.split(',').map(str::trim).filter(|dim| !dim.is_empty()) {
        if !dim.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fault(format!("the dimension {dim}")));
        }
        // Zeros are left out, as the product over the other dimensions must not overflow either.
        let factor = dim.parse::<u64>().map(|d| d.max(1));
        product = factor
            .ok()
            .and_then(|d| product.checked_mul(d))
            .ok_or_else(|| Error::TooLarge { at: at.clone(), found: format!("[{}]", dims.trim()) })?;
    }
    Ok(())
}

/// What the numbers are, in the file's words too, and the bytes of one.
fn number_type(at: &TensorPath, dtype: &NpyType) -> Result<(Kind, String, usize), Error> {
    let (at, found) = (at.clone(), dtype.descr());
    let NpyType::Plain(plain) = dtype else { return Err(Error::StructuredArray { at, found }) };
    let Some(size) = plain.num_bytes() else { return Err(Error::ObjectArray { at, found }) };
    if matches!((plain.type_char(), size), (TypeChar::RawData, 2)) {
        return Err(Error::Bf16InNpy { at, found });
    }
    if plain.endianness() == Endianness::Big && size > 1 {
        return Err(Error::BigEndian { at, found });
    }
    let kind = match (plain.type_char(), size) {
        (TypeChar::Float, 2) => Kind::Float(Float::F16),
        (TypeChar::Float, 4) => Kind::Float(Float::F32),
        (TypeChar::Float, 8) => Kind::Float(Float::F64),
        (TypeChar::Bool, _) => Kind::Label(Label::Bool),
        (TypeChar::Uint, 1) => Kind::Label(Label::U8),
        (TypeChar::Int, 1) => Kind::Label(Label::I8),
        (TypeChar::Uint, 2) => Kind::Label(Label::U16),
        (TypeChar::Int, 2) => Kind::Label(Label::I16),
        (TypeChar::Uint, 4) => Kind::Label(Label::U32),
        (TypeChar::Int, 4) => Kind::Label(Label::I32),
        (TypeChar::Int, 8) => Kind::Label(Label::I64),
        _ => Kind::Other,
    };
    Ok((kind, found, size))
}
