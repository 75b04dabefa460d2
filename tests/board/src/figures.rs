//! What a row costs: instructions an element and bytes of stack.

use crate::host::say;
use crate::machine::{instructions, now, stack_pointer};
use core::hint::black_box;
use densekd_core::single::{ExpTable, Exponential, Int8Kl, IntegerKl, Libm, Polynomial, RowKl};

/// Elements of the row: three arrays fit into 16 KB beside the stack.
const N: usize = 512;

unsafe extern "C" {
    static mut stack_low: u32;
}

/// What a word of the stack holds that nobody has used.
const PAINT: u32 = 0xA5A5_5A5A;

/// Bytes of stack in use at most while `work` runs, and its instructions.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) -> (usize, u32) {
    let low = &raw mut stack_low;
    // The frame of this function itself, which writes below its own use alone.
    let words = (stack_pointer() - low as usize) / 4;
    for i in 0..words {
        // SAFETY: from the end of the stack up to its part in use.
        unsafe { low.add(i).write_volatile(PAINT) };
    }
    let from = now();
    work();
    let to = now();
    // SAFETY: the same words.
    let unused = (0..words).take_while(|&i| unsafe { low.add(i).read_volatile() } == PAINT).count();
    ((words - unused) * 4, instructions(from, to))
}

/// How a student's row is to its teacher's.
#[derive(Clone, Copy, PartialEq)]
enum To {
    Unrelated,
    /// A twentieth as much beside it.
    Near,
    /// Unrelated, but for one entry of each that outweighs all others.
    Saturated,
}

/// Logits that repeat: uniform, from -4 to 4.
fn rows(to: To) -> ([f32; N], [f32; N]) {
    let (mut teacher, mut student) = ([0.0; N], [0.0; N]);
    let mut state = 1_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 20) as f32 / 512.0 - 4.0
    };
    for (t, s) in teacher.iter_mut().zip(&mut student) {
        *t = uniform();
        *s = uniform();
        if to == To::Near {
            *s = *t + 0.05 * *s;
        }
    }
    if to == To::Saturated {
        (teacher[7], student[9]) = (500.0, 400.0);
    }
    (teacher, student)
}

/// Steps of 1/32 that repeat, uniform over int8.
fn steps(mut state: u32) -> [i8; N] {
    [0; N].map(|_: u8| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i8
    })
}

/// Names of loss and gradient of int8, and of loss alone. A frame of its own: the stack has no room for two.
#[inline(never)]
fn int8([gradient_name, value_name]: [&str; 2]) {
    let (teacher, student, mut gradient) = (steps(1), steps(2), [0.0; N]);
    let Some(table) = ExpTable::new(1.0 / 32.0, 4.0) else { return };
    let Some(loss) = Int8Kl::new(&table, &table) else { return };
    let (frames, _) = measured(&mut || _ = black_box((black_box(&teacher), black_box(&student))));
    let (bytes, count) = measured(&mut || {
        _ = black_box(loss.gradient(black_box(&teacher), black_box(&student), 1.0, &mut gradient));
    });
    say_figure(gradient_name, (bytes - frames, count));
    let (bytes, count) =
        measured(&mut || _ = black_box(loss.value(black_box(&teacher), black_box(&student))));
    say_figure(value_name, (bytes - frames, count));
}

/// A line: tenths of an instruction an element, bytes of stack.
fn say_figure(name: &str, (bytes, count): (usize, u32)) {
    say!("figure {name} {} {bytes}", (count * 10 + N as u32 / 2) / N as u32);
}

/// What a row is done with.
type Work<'a> = &'a mut dyn FnMut(&[f32], &[f32], &mut [f32]);

/// One row of a kind, or several times. A frame of its own: the stack has no room for two.
#[inline(never)]
fn found(to: To, times: usize, work: Work<'_>) -> (usize, u32) {
    let ((teacher, student), mut gradient) = (rows(to), [0.0; N]);
    measured(&mut || {
        for _ in 0..times {
            work(black_box(&teacher), black_box(&student), &mut gradient);
        }
    })
}

/// The same, less the frames that measuring takes itself.
fn report(name: &str, to: To, times: usize, work: Work<'_>) {
    let (frames, _) = found(to, times, &mut |t, s, g| _ = black_box((t, s, g)));
    let (bytes, count) = found(to, times, work);
    say_figure(name, (bytes - frames, count));
}

/// Names of loss and gradient, and of loss alone.
fn of<X: Exponential>(to: To, [gradient, value]: [&str; 2]) {
    let Some(loss) = RowKl::<X>::new(4.0) else { return };
    report(gradient, to, 1, &mut |t, s, g| _ = black_box(loss.gradient(t, s, 1.0, g)));
    report(value, to, 1, &mut |t, s, _| _ = black_box(loss.value(t, s)));
}

/// Prints a line of each.
pub(crate) fn print() {
    of::<Polynomial>(To::Unrelated, ["gradient", "value"]);
    of::<Polynomial>(To::Near, ["near-gradient", "near-value"]);
    of::<Polynomial>(To::Saturated, ["saturated-gradient", "saturated-value"]);
    of::<Libm>(To::Unrelated, ["libm-gradient", "libm-value"]);
    of::<Libm>(To::Near, ["libm-near-gradient", "libm-near-value"]);
    if let Some(loss) = IntegerKl::new(4.0) {
        report("integer-gradient", To::Unrelated, 1, &mut |t, s, g| {
            _ = black_box(loss.gradient(t, s, 1.0, g))
        });
        report("integer-value", To::Unrelated, 1, &mut |t, s, _| _ = black_box(loss.value(t, s)));
    }
    int8(["int8-gradient", "int8-value"]);
    // A deliberate rise, for the gate to see.
    let Some(loss) = RowKl::<Polynomial>::new(4.0) else { return };
    report("slower", To::Near, 2, &mut |t, s, g| _ = black_box(loss.gradient(t, s, 1.0, g)));
}
