//! Trains the last layer of a student on the device: a fixed teacher's rows and the student's features lie in flash, the
//! layer and one row's gradient in a kilobyte of RAM.
//!
//! `data/teacher.rows` is what `densekd prepare examples/data/teacher.safetensors:logits --norm spatial --tau 2 --store u8`
//! writes; `data/features.i8` is of `data/features.py`.
#![no_std]
#![no_main]

mod head;

use core::panic::PanicInfo;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use densekd_core::single::{Polynomial, Quantized, Row, RowKl, TeacherTable};
use head::{CLASSES, FEATURES, Head};

static TEACHER: &[u8] = include_bytes!("../data/teacher.rows");
static FEATURE_MAP: &[u8] = include_bytes!("../data/features.i8");

const EPOCHS: usize = 12;
const RATE: f32 = 0.005;

/// Positions of the teacher's map in a line, and how many of them lie between two of the student's.
const WIDTH: usize = 32;
const STRIDE: usize = 2;

#[entry]
fn main() -> ! {
    let is_learnt = train().is_some_and(|(first, last)| last < 0.5 * first);
    debug::exit(if is_learnt { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {}
}

/// The first epoch's mean loss and the last's; none where the data are not what they should be.
fn train() -> Option<(f32, f32)> {
    let teacher = TeacherTable::new(TEACHER).ok().filter(|table| table.entries() == CLASSES)?;
    let (scale, features) = FEATURE_MAP.split_first_chunk::<4>()?;
    let scale = f32::from_le_bytes(*scale);
    let loss = RowKl::<Polynomial>::new(teacher.tau())?;
    // Gradients of every temperature are of one size.
    let square = teacher.tau() * teacher.tau();
    let mut head = Head::new();
    let (mut first, mut last) = (None, 0.0);
    for epoch in 1..=EPOCHS {
        let (mut sum, mut count) = (0.0, 0.0);
        for (i, steps) in features.as_chunks::<FEATURES>().0.iter().enumerate() {
            let (y, x) = (i / (WIDTH / STRIDE) * STRIDE, i % (WIDTH / STRIDE) * STRIDE);
            let row = teacher.row(y * WIDTH + x)?;
            let input = dequantised(steps, scale);
            let mut gradient = [0.0; CLASSES];
            sum += square * loss.gradient(&row, &head.logits(&input), square, &mut gradient);
            head.descend(&input, &gradient, RATE);
            count += 1.0;
        }
        last = sum / count;
        first.get_or_insert(last);
        hprintln!("epoch {}: loss {:.4}", epoch, last);
    }
    first.map(|first| (first, last))
}

/// Features behind a ReLU, from 0 on: their zero point is the lowest step.
fn dequantised(steps: &[u8; FEATURES], scale: f32) -> [f32; FEATURES] {
    let steps = steps.map(u8::cast_signed);
    let row = Quantized::new(&steps, scale, i8::MIN.into());
    let mut values = [0.0; FEATURES];
    for (value, number) in values.iter_mut().zip(row.values(FEATURES)) {
        *value = number;
    }
    values
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
