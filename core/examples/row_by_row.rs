//! A map that is larger than memory, row by row: the teacher's rows lie in flash, the student's come in pieces of a transfer's
//! size, and a row's gradient leaves before the next row is there.

use densekd_core::single::{Polynomial, RowKl, Stored, TeacherTable};

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
fn transfer(row: usize, piece: usize, to: &mut [f32]) {
    for (i, x) in to.iter_mut().enumerate() {
        *x = ((row + piece * PIECE + i) as f32 * 0.37).sin() * 3.0;
    }
}

fn main() {
    let Some(flash) = table() else { return };
    let Ok(teacher) = TeacherTable::new(&flash) else { return };
    let Some(loss) = RowKl::<Polynomial>::new(teacher.tau()) else { return };
    let (mut row, mut gradient) = ([0.0; ENTRIES], [0.0; ENTRIES]);
    let mut sum = 0.0;
    for i in 0..teacher.rows() {
        for (piece, to) in row.chunks_mut(PIECE).enumerate() {
            transfer(i, piece, to);
        }
        let Some(target) = teacher.row(i) else { return };
        sum += loss.gradient(&target, &row, TAU * TAU, &mut gradient);
        for piece in gradient.chunks(PIECE) {
            println!("row {i}: {} numbers leave, the first {:+.5}", piece.len(), piece[0]);
        }
    }
    println!("loss {:.6}", TAU * TAU * sum);
}
