//! The bilinear resize with aligned corners, and its transpose.

use super::number::Number;

/// A resize of maps of H x W by a factor.
pub(super) struct Upsample {
    height: usize,
    width: usize,
    factor: usize,
}

impl Upsample {
    /// The resize of tensors of a shape.
    pub(super) fn new([_, _, height, width]: [usize; 4], factor: usize) -> Self {
        Self { height, width, factor }
    }

    /// The shape after it.
    pub(super) fn enlarged(&self, [n, c, h, w]: [usize; 4]) -> [usize; 4] {
        [n, c, h * self.factor, w * self.factor]
    }

    /// Enlarges every map of a tensor.
    pub(super) fn apply(&self, x: &[Number]) -> Vec<Number> {
        let corners = self.corners();
        x.chunks(self.height * self.width)
            .flat_map(|map| corners.iter().map(|at| at.iter().map(|(i, share)| share * &map[*i]).sum()))
            .collect()
    }

    /// The transpose: what arrives at an enlarged position goes to its corners, in their shares.
    pub(super) fn pull(&self, g: &[Number]) -> Vec<Number> {
        let corners = self.corners();
        g.chunks(corners.len())
            .flat_map(|g| {
                let mut map = vec![Number::zero(); self.height * self.width];
                for (at, g) in corners.iter().zip(g) {
                    for (i, share) in at {
                        map[*i] = &map[*i] + share * g;
                    }
                }
                map
            })
            .collect()
    }

    /// For every enlarged position the original positions around it and their shares. Corners without a
    /// share are left out: an infinity there does not reach the position.
    fn corners(&self) -> Vec<Vec<(usize, Number)>> {
        let rows = axis(self.height, self.factor);
        let columns = axis(self.width, self.factor);
        let both = |row: &[(usize, Number)], column: &[(usize, Number)]| {
            row.iter()
                .flat_map(|(y, a)| column.iter().map(move |(x, b)| (y * self.width + x, a * b)))
                .collect()
        };
        rows.iter().flat_map(|row| columns.iter().map(move |column| both(row, column))).collect()
    }
}

/// For every position along an enlarged axis, `x = i (length - 1)/(factor length - 1)`, its neighbours
/// `floor(x)` and `floor(x) + 1` with the shares `1 - frac(x)` and `frac(x)`.
fn axis(length: usize, factor: usize) -> Vec<Vec<(usize, Number)>> {
    let steps = (factor * length).saturating_sub(1).max(1);
    (0..factor * length)
        .map(|i| {
            let (floor, rest) = (i * (length - 1) / steps, i * (length - 1) % steps);
            let share = |part: usize| Number::from(part) / Number::from(steps);
            [(floor, share(steps - rest)), (floor + 1, share(rest))]
                .into_iter()
                .filter(|(_, share)| !share.is_zero())
                .collect()
        })
        .collect()
}
