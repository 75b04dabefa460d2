//! The gradient of neighbouring short rows: of what the sweeps have left of every entry, and back to rows.

use super::found::Pull;
use super::{Batch, Lanes, certify, empty, fill};
use crate::Temperature;
use crate::access::Place;
use crate::element::Tensor;
use crate::row::two_terms::Scale;
use crate::row::vector::gradient::Gradient;
use crate::simd::Simd;

/// Which rows a batch holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    teacher: usize,
    student: usize,
    from: usize,
    len: usize,
    tau: u64,
}

impl Origin {
    #[inline(always)]
    pub(super) fn new(
        tau: Temperature,
        (teacher, student): (Tensor<'_>, Tensor<'_>),
        from: usize,
        len: usize,
    ) -> Self {
        let (teacher, student) = (address(teacher), address(student));
        Self { teacher, student, from, len, tau: tau.get().to_bits() }
    }
}

/// Where a tensor lies.
#[inline(always)]
fn address(tensor: Tensor<'_>) -> usize {
    match tensor {
        Tensor::F32(x) => x.as_ptr().addr(),
        Tensor::F64(x) => x.as_ptr().addr(),
        Tensor::F16(x) => x.as_ptr().addr(),
        Tensor::Bf16(x) => x.as_ptr().addr(),
    }
}

/// Which rows were written, and whether a finite number of them became infinite. Rows whose statistics are not what this
/// kernel finds are not.
#[inline(always)]
pub(in crate::row::vector) fn gradient<L: Simd>(l: L, of: Gradient<'_, '_, '_>) -> (Lanes, bool) {
    let Gradient { tau, teacher, student, place, len, statistics, scale, sink, short: buffers, .. } = of;
    let nats = 1.0 / tau.get();
    let units = Scale::new(l, nats);
    let (mut done, mut overflowed) = (0, false);
    // The last first: the sweeps may just have left it.
    for (i, statistics) in statistics.chunks(L::WIDTH).enumerate().rev() {
        let first = i * L::WIDTH;
        let from = place.index + first * len;
        let origin = Origin::new(tau, (teacher, student), from, len);
        let is_kept = buffers.origin.take() == Some(origin);
        let all = !(!0 << statistics.len());
        let (mut batch, parts) = buffers.batch(len);
        if !is_kept {
            fill(l, (teacher, student), from, &mut batch);
            certify(l, &units, nats, all, &mut batch, parts, &mut ());
        }
        let pull = parts.found.pull(l, scale);
        // Lanes beyond the last row have found something, too.
        let mut written = pull.held & all;
        for (i, of) in statistics.iter().enumerate() {
            written &= !(u32::from(parts.found.row(i).as_ref() != Some(of)) << i);
        }
        done |= written << first;
        let out = rows(l, &pull, &mut batch);
        let out = out.get(..statistics.len() * len).unwrap_or_default();
        let place = Place { row: place.row + first, index: from, ..place };
        if written == all {
            overflowed |= sink.store_rows(place, len, out);
            continue;
        }
        for (i, row) in out.chunks(len.max(1)).enumerate() {
            if written >> i & 1 == 1 {
                let place = Place { row: place.row + i, index: place.index + i * len, ..place };
                overflowed |= sink.store_f32(place, row);
            }
        }
    }
    (done, overflowed)
}

/// Rows of a gradient.
#[inline(always)]
fn rows<'b, L: Simd>(l: L, pull: &Pull<L>, batch: &'b mut Batch<'_>) -> &'b [f32] {
    for ((w, excess), to) in batch.w.iter().zip(batch.excess.iter()).zip(batch.difference.iter_mut()) {
        l.store_f32(pull.entry(l, w, excess), &mut to.0);
    }
    empty(l, batch.difference, batch.out);
    batch.out
}
