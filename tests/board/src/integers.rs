//! Rows in integers against the careful form: int8 by tables, and numbers as fixed point.

use densekd_core::single::{ExpTable, Int8Kl, IntegerKl, Polynomial, Quantized, Row, RowKl};

const N: usize = 128;
const TAU: f32 = 4.0;
const SCALES: [f32; 2] = [0.03, 0.05];

/// A panic ends the run. A frame of its own, which is gone when the stack is measured.
#[inline(never)]
pub(crate) fn run() {
    let (teacher, student) = (steps(7), steps(11));
    let mut gradient = [0.0; N];

    print!("test int8 by tables ... ");
    let [Some(of_teacher), Some(of_student)] = &SCALES.map(|scale| ExpTable::new(scale, TAU)) else {
        panic!("no table")
    };
    let Some(loss) = Int8Kl::new(of_teacher, of_student) else { panic!("no loss") };
    let value = loss.gradient(&teacher, &student, 1.0, &mut gradient);
    let rows = [Quantized::new(&teacher, SCALES[0], 5), Quantized::new(&student, SCALES[1], -9)];
    hold(&rows, value, &gradient);
    say!("ok");

    print!("test a row in integers ... ");
    let Some(value) =
        IntegerKl::new(TAU).and_then(|loss| loss.gradient(&rows[0], &rows[1], 1.0, &mut gradient))
    else {
        panic!("no value")
    };
    hold(&rows, value, &gradient);
    say!("ok");
}

fn steps(mut state: u32) -> [i8; N] {
    [0; N].map(|_: u8| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i8
    })
}

fn hold<R: Row>([teacher, student]: &[R; 2], value: f32, gradient: &[f32; N]) {
    let Some(careful) = RowKl::<Polynomial>::new(TAU) else { panic!("no loss") };
    let mut want = [0.0; N];
    let kl = careful.gradient(teacher, student, 1.0, &mut want);
    assert!((value / kl - 1.0).abs() < 2e-6, "{value:e}, not {kl:e}");
    let largest = want.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
    for (got, want) in gradient.iter().zip(&want) {
        assert!((got - want).abs() < 2e-6 * largest, "{got:e} in the gradient, not {want:e}");
    }
}
