//! What the gradient looks like as a whole, and which of its entries are worth a difference.

use super::grid::{RowGrid, element, reach};
use super::probe::{Place, Probe};
use densekd_core::{Ignore, Mask, Plan, Samples, Tensor};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Entries that are looked at in a row.
const PER_ROW: usize = 4;

/// Oddities that are looked at besides the entries asked for.
const ODD: usize = 4;

/// One pass over a gradient.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// The largest finite size in each row.
    pub(super) row_max: Vec<f64>,
    /// The largest finite size of all.
    pub(super) largest: f64,
    /// How many elements must be 0 by definition.
    pub(super) left_out: usize,
    /// The first of them that is not.
    pub(super) not_zero: Option<usize>,
    /// Rows with an element that may be anything.
    open: Vec<bool>,
    /// Elements that are not finite, a few of them in rows whose value is.
    not_finite: Vec<usize>,
}

impl Survey {
    pub(super) fn new(probe: &Probe<'_>, gradient: Tensor<'_>, finite: &[bool]) -> Self {
        let rows = &probe.rows;
        let mut survey = Self {
            row_max: vec![0.0; rows.rows()],
            largest: 0.0,
            left_out: 0,
            not_zero: None,
            open: vec![false; rows.rows()],
            not_finite: Vec::new(),
        };
        for flat in 0..gradient.len() {
            let (row, entry) = rows.row(flat);
            let (image, position) = rows.position(row, entry);
            let found = element(gradient, flat).abs();
            if is_left_out(probe.plan, &probe.mask, image, position) {
                survey.left_out += 1;
                if found != 0.0 {
                    survey.not_zero.get_or_insert(flat);
                }
                continue;
            }
            let (Some(open), Some(max)) = (survey.open.get_mut(row), survey.row_max.get_mut(row)) else {
                continue;
            };
            *open = true;
            if found.is_finite() {
                *max = max.max(found);
                survey.largest = survey.largest.max(found);
            } else if survey.not_finite.len() < ODD && finite.get(row) == Some(&true) {
                survey.not_finite.push(flat);
            }
        }
        survey
    }

    /// Which entries to perturb: of half the rows those with the largest gradients, and any others; in each
    /// the largest entry, the largest of the other sign, and any others. Besides, entries that are not finite
    /// in rows that are, and one in each of a few rows whose value is not finite, since `f64` may differ.
    pub(super) fn places(
        &self,
        probe: &Probe<'_>,
        gradient: Tensor<'_>,
        finite: &[bool],
        (entries, seed): (usize, u64),
    ) -> Vec<Place> {
        let rows = &probe.rows;
        let mut random = Random(seed);
        let is_open = |row: usize| self.open.get(row) == Some(&true);
        let (mut usable, mut others): (Vec<usize>, Vec<usize>) =
            (0..rows.rows()).filter(|&row| is_open(row)).partition(|&row| finite.get(row) == Some(&true));
        let entries = entries.max(1).min(usable.len().saturating_mul(rows.row_len()));
        let wanted = entries.div_ceil(PER_ROW).min(usable.len());
        let top = wanted.div_ceil(2);
        let max = |row: usize| self.row_max.get(row).copied().unwrap_or(0.0);
        if (1..usable.len()).contains(&top) {
            usable.select_nth_unstable_by(top, |&a, &b| {
                max(b).partial_cmp(&max(a)).unwrap_or(Ordering::Equal).then(a.cmp(&b))
            });
        }
        for i in top..wanted {
            let other = i + random.below(usable.len() - i);
            usable.swap(i, other);
        }
        usable.truncate(wanted);
        let mut chosen: BTreeSet<usize> = BTreeSet::new();
        for (i, &row) in usable.iter().enumerate() {
            let share = (entries * (i + 1)).div_ceil(wanted);
            in_row(probe, gradient, row, share.saturating_sub(chosen.len()), &mut random, &mut chosen);
        }
        chosen.extend(&self.not_finite);
        others.truncate(ODD);
        let counted = |row: usize| {
            (0..rows.row_len()).find(|&entry| {
                let (image, position) = rows.position(row, entry);
                !is_left_out(probe.plan, &probe.mask, image, position)
            })
        };
        let first = |&row: &usize| counted(row).map(|entry| rows.element(row, entry));
        chosen.extend(others.iter().filter_map(first));
        let place = |flat| {
            let (row, entry) = rows.row(flat);
            Place { row, entry, flat }
        };
        chosen.into_iter().map(place).collect()
    }
}

/// Adds so many of a row's entries.
fn in_row(
    probe: &Probe<'_>,
    gradient: Tensor<'_>,
    row: usize,
    wanted: usize,
    random: &mut Random,
    chosen: &mut BTreeSet<usize>,
) {
    let rows: &RowGrid = &probe.rows;
    let aim = chosen.len() + wanted;
    let (mut top, mut bottom) = ((0.0, None), (0.0, None));
    let is_counted = |entry: usize| {
        let (image, position) = rows.position(row, entry);
        !is_left_out(probe.plan, &probe.mask, image, position)
    };
    for entry in (0..rows.row_len()).filter(|&entry| is_counted(entry)) {
        let flat = rows.element(row, entry);
        let found = element(gradient, flat);
        if found > top.0 && found.is_finite() {
            top = (found, Some(flat));
        }
        if found < bottom.0 && found.is_finite() {
            bottom = (found, Some(flat));
        }
    }
    let (first, second) = if -bottom.0 > top.0 { (bottom.1, top.1) } else { (top.1, bottom.1) };
    for flat in [first, second].into_iter().flatten() {
        if chosen.len() < aim {
            chosen.insert(flat);
        }
    }
    let start = random.below(rows.row_len());
    let anywhere = (0..4 * wanted).map(|_| random.below(rows.row_len()));
    // In a short or mostly ignored row that misses some: the rest is taken in order.
    let in_order = (0..rows.row_len()).map(|k| (start + k) % rows.row_len());
    for entry in anywhere.chain(in_order).filter(|&entry| is_counted(entry)) {
        if chosen.len() >= aim {
            break;
        }
        chosen.insert(rows.element(row, entry));
    }
}

/// Which rows of the plan's own map have finite values throughout.
pub(super) fn finite_rows(probe: &Probe<'_>, row_values: &[f64]) -> Vec<bool> {
    let finite: Vec<bool> = row_values.iter().map(|value| value.is_finite()).collect();
    if !probe.plan.is_upsampled() {
        return finite;
    }
    let [_, _, h, w] = probe.plan.shape().dims();
    let [_, _, tall, wide] = probe.plan.counted_shape().dims();
    let all = |row: usize| {
        let (image, position) = (row / (h * w), row % (h * w));
        let (y, x) = (position / w, position % w);
        let mut down = reach(y, h, tall);
        down.all(|y| reach(x, w, wide).all(|x| finite.get(image * tall * wide + y * wide + x) == Some(&true)))
    };
    (0..probe.rows.rows()).map(all).collect()
}

/// Whether an element's gradient is 0 by definition: its position is ignored before the softmax, or its image
/// is not summed.
fn is_left_out(plan: &Plan, mask: &Mask<'_>, image: usize, position: usize) -> bool {
    let options = plan.recipe().options();
    (options.samples == Samples::First && image > 0)
        || (options.ignore == Ignore::Before && !mask.counts(position))
}

/// `splitmix64`.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below n.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(n.max(1)).unwrap_or(u64::MAX)).unwrap_or(0)
    }
}
