//! A map that is larger than memory, row by row: the teacher's rows lie in flash, the student's come in pieces of a transfer's
//! size, once for the loss and once for the gradient, of which each piece leaves at once.

use densekd_core::single::{Polynomial, RowKl, RowPieces, Stored, TableRow, TeacherTable};
use std::ops::Range;

const ROWS: usize = 4;
const ENTRIES: usize = 96;
/// Numbers of a transfer.
const PIECE: usize = 32;
const TAU: f32 = 4.0;

/// What `densekd prepare` would write.
fn table() -> Option<Vec<u8>> {
    let stored = Stored::U8 { step: 0.1 };
    let mut bytes = TeacherTable::header(ROWS, ENTRIES, TAU, stored)?.to_vec();
    for i in 0..ROWS * ENTRIES {
        // The first of a row is its largest.
        let below = -f64::from(u32::try_from(i % ENTRIES * 7 % 53).ok()?) / 5.0;
        bytes.push(stored.store(below)[0]);
    }
    Some(bytes)
}

/// A transfer into a buffer: whatever the student's last layer has ready.
#[allow(clippy::cast_precision_loss, reason = "a few hundred")]
fn transfer(row: usize, entries: Range<usize>, to: &mut [f32; PIECE]) {
    for (x, i) in to.iter_mut().zip(entries) {
        *x = ((row + i) as f32 * 0.37).sin() * 3.0;
    }
}

/// The entries of each transfer.
fn pieces() -> impl Iterator<Item = Range<usize>> {
    (0..ENTRIES).step_by(PIECE).map(|from| from..from + PIECE)
}

/// A row's divergence, its gradient piece by piece to whoever takes it.
fn row(
    loss: &RowKl<Polynomial>,
    (i, teacher): (usize, TableRow<'_>),
    mut leaves: impl FnMut(&[f32]),
) -> Option<f32> {
    let (mut student, mut gradient) = ([0.0; PIECE], [0.0; PIECE]);
    // The first piece stands for the row.
    transfer(i, 0..PIECE, &mut student);
    let mut row = RowPieces::new(loss, &teacher.part(0..PIECE)?, &student);
    let kl = loop {
        for entries in pieces() {
            transfer(i, entries.clone(), &mut student);
            row.push(loss, &teacher.part(entries)?, &student);
        }
        if let Some(kl) = row.end(loss) {
            break kl;
        }
    };
    for entries in pieces() {
        transfer(i, entries.clone(), &mut student);
        row.gradient(loss, &teacher.part(entries)?, &student, TAU * TAU, &mut gradient);
        leaves(&gradient);
    }
    Some(kl)
}

fn main() {
    let Some(flash) = table() else { return };
    let Ok(teacher) = TeacherTable::new(&flash) else { return };
    let Some(loss) = RowKl::<Polynomial>::new(teacher.tau()) else { return };
    let mut sum = 0.0;
    for i in 0..teacher.rows() {
        let leaves =
            |piece: &[f32]| println!("row {i}: {} numbers leave, the first {:+.5}", piece.len(), piece[0]);
        let Some(kl) = teacher.row(i).and_then(|target| row(&loss, (i, target), leaves)) else { return };
        sum += kl;
    }
    println!("loss {:.6}", TAU * TAU * sum);
}
