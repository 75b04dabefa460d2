//! State by its parts.

/// The parts of these lengths, in order; shorter where the state ends.
pub(crate) fn cut<const K: usize>(state: &[f64], lengths: [usize; K]) -> [&[f64]; K] {
    let mut rest = state;
    lengths.map(|length| {
        let (part, tail) = rest.split_at(length.min(rest.len()));
        rest = tail;
        part
    })
}

/// The same, to be written.
pub(crate) fn cut_mut<const K: usize>(state: &mut [f64], lengths: [usize; K]) -> [&mut [f64]; K] {
    let mut rest = state;
    lengths.map(|length| {
        let here = core::mem::take(&mut rest);
        let (part, tail) = here.split_at_mut(length.min(here.len()));
        rest = tail;
        part
    })
}

/// Row `i` of rows of this length.
pub(crate) fn row(rows: &[f64], i: usize, length: usize) -> &[f64] {
    rows.get(i * length..(i + 1) * length).unwrap_or_default()
}

/// The same, to be written.
pub(crate) fn row_mut(rows: &mut [f64], i: usize, length: usize) -> &mut [f64] {
    rows.get_mut(i * length..(i + 1) * length).unwrap_or_default()
}
