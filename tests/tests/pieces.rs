//! A row that comes in pieces: wherever it is cut, the bits of one piece.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::cast_possible_truncation, reason = "temperatures are stored in f32")]

use densekd_core::single::{
    Polynomial, Quantized, QuantizedChannels, Row, RowKl, RowPieces, Stored, TeacherTable,
};
use densekd_tests::oracle::fast;
use densekd_tests::rows::{RowPair, decode, ordinary, random_genome};
use fastrand::Rng;
use half::{bf16, f16};
use std::ops::Range;

/// Pieces of a row, none of them longer than `most`, some of them empty.
fn cuts(rng: &mut Rng, len: usize, most: usize) -> Vec<Range<usize>> {
    let (mut from, mut all) = (0, Vec::new());
    while from < len {
        let to = (from + rng.usize(0..=most)).min(len);
        all.push(from..to);
        from = to;
    }
    all
}

/// The divergence, the gradient, and how often the row has been pushed.
fn taken<T: Row, S: Row>(
    loss: &RowKl<Polynomial>,
    sample: &(T, S),
    pieces: &[Range<usize>],
    piece: impl Fn(Range<usize>) -> (T, S),
) -> (f32, Vec<f32>, usize) {
    let mut row = RowPieces::new(loss, &sample.0, &sample.1);
    let (kl, times) = (1..)
        .find_map(|times| {
            for range in pieces {
                let (t, s) = piece(range.clone());
                row.push(loss, &t, &s);
            }
            row.end(loss).map(|kl| (kl, times))
        })
        .unwrap();
    let mut gradient = vec![7.0; pieces.last().map_or(0, |last| last.end)];
    // From the end: each piece stands alone.
    for range in pieces.iter().rev() {
        let (t, s) = piece(range.clone());
        row.gradient(loss, &t, &s, 1.5, &mut gradient[range.clone()]);
    }
    (kl, gradient, times)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// The same bits by any cuts, and those of the row in memory where that is its sample.
fn hold<T: Row, S: Row>(tau: f32, len: usize, rng: &mut Rng, piece: impl Fn(Range<usize>) -> (T, S)) {
    let loss = RowKl::<Polynomial>::new(tau).unwrap();
    let whole = piece(0..len);
    let mut gradient = vec![7.0; len];
    let kl = loss.gradient(&whole.0, &whole.1, 1.5, &mut gradient);
    let first = rng.usize(0..=len);
    let one_piece = taken(&loss, &piece(0..first), &cuts_at_none(len), &piece);
    for most in [1, 2, 15, 16, 40, 300] {
        let pieces = cuts(rng, len, most);
        let got = taken(&loss, &piece(0..len), &pieces, &piece);
        assert_eq!(bits(&[got.0]), bits(&[kl]), "in memory, and in pieces up to {most}");
        assert_eq!(bits(&got.1), bits(&gradient), "in memory, and in pieces up to {most}");
        let got = taken(&loss, &piece(0..first), &pieces, &piece);
        assert_eq!(bits(&[got.0]), bits(&[one_piece.0]), "one piece, and pieces up to {most}");
        assert_eq!(bits(&got.1), bits(&one_piece.1), "one piece, and pieces up to {most}");
        assert_eq!(got.2, one_piece.2);
    }
}

#[allow(clippy::single_range_in_vec_init, reason = "one piece")]
fn cuts_at_none(len: usize) -> Vec<Range<usize>> {
    vec![0..len]
}

fn pair(rng: &mut Rng) -> RowPair {
    let length = rng.usize(1..700);
    match rng.usize(0..4) {
        0 => decode(&random_genome(rng)),
        1 => ordinary(rng, length, 1.0, 1000.0),
        2 => ordinary(rng, length, 1e-3, 0.0),
        _ => ordinary(rng, length, 2.0, 3.0),
    }
}

#[test]
fn rows_of_numbers_have_the_same_bits_however_they_are_cut() {
    let mut rng = Rng::with_seed(21);
    for _ in 0..120 {
        let RowPair { teacher, student, tau } = pair(&mut rng);
        let (tau, len) = (tau as f32, teacher.len());
        hold(tau, len, &mut rng, |range| (&teacher[range.clone()], &student[range]));
        let half = |row: &[f32]| row.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
        let (of_teacher, of_student) = (half(&teacher), half(&student));
        hold(tau, len, &mut rng, |range| (&of_teacher[range.clone()], &of_student[range]));
        let half: Vec<_> = student.iter().map(|&x| bf16::from_f32(x)).collect();
        hold(tau, len, &mut rng, |range| (&teacher[range.clone()], &half[range]));
    }
}

#[test]
fn rows_that_are_no_ordinary_ones_have_the_same_bits_too() {
    let mut rng = Rng::with_seed(22);
    for _ in 0..200 {
        let RowPair { mut teacher, mut student, tau } = pair(&mut rng);
        let len = teacher.len();
        for _ in 0..rng.usize(1..4) {
            let odd = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 1e30, -1e30, 3e38, 500.0][rng.usize(0..7)];
            *(if rng.bool() { &mut teacher } else { &mut student }).get_mut(rng.usize(0..len)).unwrap() = odd;
        }
        hold(tau as f32, len, &mut rng, |range| (&teacher[range.clone()], &student[range]));
    }
}

#[test]
fn rows_of_int8_and_of_a_table_have_the_same_bits_however_they_are_cut() {
    let mut rng = Rng::with_seed(23);
    for _ in 0..100 {
        let len = rng.usize(1..500);
        let mut steps = || (0..len).map(|_| rng.i8(..)).collect::<Vec<_>>();
        let (teacher, student) = (steps(), steps());
        let scales: Vec<f32> = (0..len).map(|_| 0.01 + 0.05 * rng.f32()).collect();
        let points: Vec<i32> = (0..len).map(|_| rng.i32(-9..9)).collect();
        let numbers: Vec<f32> = (0..len).map(|_| rng.f32() * 9.0).collect();
        hold(4.0, len, &mut rng, |range| {
            (Quantized::new(&teacher[range.clone()], 0.05, 3), Quantized::new(&student[range], 0.02, -7))
        });
        hold(1.0, len, &mut rng, |range| {
            (
                QuantizedChannels::new(
                    &teacher[range.clone()],
                    &scales[range.clone()],
                    &points[range.clone()],
                ),
                Quantized::new(&student[range], 0.02, -7),
            )
        });
        for stored in [Stored::F16, Stored::U8 { step: 0.1 }] {
            let mut bytes = TeacherTable::header(1, len, 2.0, stored).unwrap().to_vec();
            for i in 0..len {
                let below = if i == 0 { 0.0 } else { -30.0 * rng.f64() };
                bytes.extend(&stored.store(below)[..stored.bytes()]);
            }
            let row = TeacherTable::new(&bytes).unwrap().row(0).unwrap();
            hold(2.0, len, &mut rng, |range| (row.part(range.clone()).unwrap(), &numbers[range]));
            let beyond = len + 1;
            assert!(row.part(1..beyond).is_none());
        }
    }
}

/// By their first piece alone, rows are as exact as in memory, and most of them are pushed once.
#[test]
fn rows_in_pieces_are_as_exact_as_in_memory() {
    let mut rng = Rng::with_seed(24);
    for (noise, shift) in [(1.0, 0.0), (0.1, 3.0), (1e-3, 0.0), (1e-6, 0.0)] {
        let mut again = 0;
        for _ in 0..100 {
            let RowPair { teacher, student, tau } = ordinary(&mut rng, 1024, noise, shift);
            let loss = RowKl::<Polynomial>::new(tau as f32).unwrap();
            let piece = |range: Range<usize>| (&teacher[range.clone()], &student[range]);
            let (kl, gradient, times) = taken(&loss, &piece(0..64), &cuts(&mut rng, 1024, 128), piece);
            let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (teacher, student, tau) = (wide(&teacher), wide(&student), f64::from(tau as f32));
            let want = fast::kl_row(&teacher, &student, tau);
            assert!((f64::from(kl) / want - 1.0).abs() <= 1e-6, "{noise:e} {shift}: {kl:e}, not {want:e}");
            let want = fast::kl_row_gradient(&teacher, &student, tau);
            let largest = want.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
            let off =
                gradient.iter().zip(&want).fold(0.0_f64, |a, (&g, w)| a.max((f64::from(g) / 1.5 - w).abs()));
            assert!(off <= 1e-6 * largest, "{noise:e} {shift}: {off:e} of {largest:e}");
            again += usize::from(times > 1);
        }
        assert!(again <= 25, "{again} of 100 rows are pushed again");
    }
}

#[test]
fn a_row_without_a_sample_is_found_and_one_that_has_not_ended_has_no_gradient() {
    let mut rng = Rng::with_seed(25);
    let RowPair { teacher, student, .. } = ordinary(&mut rng, 100, 1.0, 0.0);
    let loss = RowKl::<Polynomial>::new(2.0).unwrap();
    let piece = |range: Range<usize>| (&teacher[range.clone()], &student[range]);
    let want = loss.value(&teacher[..], &student[..]);
    let (kl, ..) = taken(&loss, &piece(0..0), &cuts(&mut rng, 100, 30), piece);
    assert!((kl / want - 1.0).abs() < 1e-6, "{kl:e}, not {want:e}");

    let mut row = RowPieces::new(&loss, &teacher[..], &student[..]);
    let mut gradient = [0.0; 4];
    row.gradient(&loss, &teacher[..4], &student[..4], 1.0, &mut gradient);
    assert!(gradient.iter().all(|g| g.is_nan()));
    // Nothing pushed is no row.
    while row.end(&loss).is_none() {}
    assert_eq!(row.end(&loss), Some(0.0));
    assert!(size_of::<RowPieces>() <= 64);
}
