//! Portable Rust: four lanes that a compiler may put into whatever registers there are; no unsafe code. Written out
//! lane by lane, which compiles many times faster than loops over arrays.

use super::{Part, Simd};
use crate::element::Element;
use core::ops::{Add, Mul, Sub};
use half::{bf16, f16};

/// Any machine.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

const LANES: usize = 4;

#[derive(Clone, Copy)]
pub(crate) struct F32s([f32; LANES]);

#[derive(Clone, Copy)]
pub(crate) struct F64s([f64; LANES / 2]);

#[derive(Clone, Copy)]
pub(crate) struct Truths([bool; LANES]);

macro_rules! operators {
    ($($trait:ident $method:ident $op:tt;)+) => {$(
        impl $trait for F64s {
            type Output = Self;

            #[inline(always)]
            fn $method(self, Self([a, b]): Self) -> Self {
                let Self([c, d]) = self;
                Self([c $op a, d $op b])
            }
        }

        impl $trait for F32s {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                each(|a, b| a $op b, self, other)
            }
        }
    )+};
}

operators! {
    Add add +;
    Sub sub -;
    Mul mul *;
}

#[inline(always)]
fn each(f: impl Fn(f32, f32) -> f32, F32s([a, b, c, d]): F32s, F32s([e, g, h, i]): F32s) -> F32s {
    F32s([f(a, e), f(b, g), f(c, h), f(d, i)])
}

/// Those of a whole vector. Called, as a half is some ten steps and a kernel loads it in many places.
#[inline(never)]
fn widen<E: Element>([a, b, c, d]: &[E; LANES]) -> F32s {
    F32s([a.widen(), b.widen(), c.widen(), d.widen()])
}

#[inline(always)]
fn load<E: Element>(from: &[E]) -> F32s {
    from.first_chunk().map_or_else(|| load_some(from), widen)
}

#[inline(never)]
fn load_some<E: Element>(from: &[E]) -> F32s {
    let mut out = [0.0; LANES];
    for (out, from) in out.iter_mut().zip(from) {
        *out = from.widen();
    }
    F32s(out)
}

#[inline(never)]
fn store<E: Element>(F32s(v): F32s, to: &mut [E]) {
    for (to, v) in to.iter_mut().zip(v) {
        *to = E::narrow(v);
    }
}

/// floor(x) as the bits of 2^floor(x), and x less it. By adding 1.5 * 2^23, which rounds to an integer: a call
/// for each lane is what the library's floor would be.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "clamped into the range of exponents")]
fn split(x: f32) -> (f32, f32) {
    const MAGIC: f32 = 12_582_912.0;
    let clamped = if x < -127.0 { -127.0 } else { x };
    let clamped = if clamped > 128.0 { 128.0 } else { clamped };
    let nearest = (clamped + MAGIC) - MAGIC;
    let floor = if nearest > clamped { nearest - 1.0 } else { nearest };
    let bits = (floor + (127.0 + MAGIC)).to_bits() << 23;
    (clamped - floor, f32::from_bits(bits))
}

impl Simd for Plain {
    const WIDTH: usize = LANES;
    const FUSED: bool = false;
    const WIDENS: bool = false;
    type V = F32s;
    type W = F64s;
    type M = Truths;
    type Doubles = Self;

    #[inline(never)]
    fn call<P: Part<Self>>(self, part: P) -> P::Output {
        part.run(self)
    }

    #[inline(always)]
    fn doubles(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32s {
        F32s([x; LANES])
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> F64s {
        F64s([x; LANES / 2])
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64]) -> F64s {
        F64s(match *from {
            [a, b, ..] => [a, b],
            [a] => [a, 0.0],
            [] => [0.0; 2],
        })
    }

    #[inline(always)]
    fn store_f64(self, F64s(w): F64s, to: &mut [f64]) {
        to.iter_mut().zip(w).for_each(|(to, from)| *to = from);
    }

    #[inline(always)]
    fn widen(self, F32s([a, b, c, d]): F32s) -> [F64s; 2] {
        [F64s([a.into(), b.into()]), F64s([c.into(), d.into()])]
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    fn narrow(self, [F64s([a, b]), F64s([c, d])]: [F64s; 2]) -> F32s {
        F32s([a as f32, b as f32, c as f32, d as f32])
    }

    #[inline(always)]
    fn fma_f64(self, a: F64s, b: F64s, c: F64s) -> F64s {
        a * b + c
    }

    #[inline(always)]
    fn sum_f64(self, F64s([a, b]): F64s) -> f64 {
        a + b
    }

    #[inline(always)]
    fn load_f32(self, from: &[f32]) -> F32s {
        from.first_chunk().map_or_else(|| load_some(from), |whole| F32s(*whole))
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> F32s {
        load(from)
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> F32s {
        load(from)
    }

    #[inline(always)]
    fn store_f32(self, v: F32s, to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(whole) => *whole = v.0,
            None => store(v, to),
        }
    }

    #[inline(always)]
    fn store_f16(self, v: F32s, to: &mut [f16]) {
        store(v, to);
    }

    #[inline(always)]
    fn store_bf16(self, v: F32s, to: &mut [bf16]) {
        store(v, to);
    }

    #[inline(always)]
    fn fma(self, a: F32s, b: F32s, c: F32s) -> F32s {
        a * b + c
    }

    #[inline(always)]
    fn max(self, a: F32s, b: F32s) -> F32s {
        each(|a, b| if a > b { a } else { b }, a, b)
    }

    #[inline(always)]
    fn abs(self, v: F32s) -> F32s {
        each(|v, _| f32::from_bits(v.to_bits() & 0x7fff_ffff), v, v)
    }

    #[inline(always)]
    fn fraction(self, x: F32s) -> F32s {
        each(|x, _| split(x).0, x, x)
    }

    #[inline(always)]
    fn scale(self, p: F32s, x: F32s) -> F32s {
        each(|p, x| p * split(x).1, p, x)
    }

    #[inline(always)]
    fn less(self, F32s([a, b, c, d]): F32s, F32s([e, f, g, h]): F32s) -> Truths {
        Truths([a < e, b < f, c < g, d < h])
    }

    #[inline(always)]
    fn first(self, n: usize) -> Truths {
        Truths([n > 0, n > 1, n > 2, n > 3])
    }

    #[inline(always)]
    fn and(self, Truths([a, b, c, d]): Truths, Truths([e, f, g, h]): Truths) -> Truths {
        Truths([a & e, b & f, c & g, d & h])
    }

    #[inline(always)]
    fn not(self, Truths([a, b, c, d]): Truths) -> Truths {
        Truths([!a, !b, !c, !d])
    }

    #[inline(always)]
    fn any(self, Truths([a, b, c, d]): Truths) -> bool {
        a | b | c | d
    }

    #[inline(always)]
    fn select(
        self,
        Truths([m, n, o, p]): Truths,
        F32s([a, b, c, d]): F32s,
        F32s([e, f, g, h]): F32s,
    ) -> F32s {
        F32s([if m { a } else { e }, if n { b } else { f }, if o { c } else { g }, if p { d } else { h }])
    }

    #[inline(always)]
    fn sum(self, v: F32s) -> f64 {
        let [low, high] = self.widen(v);
        self.sum_f64(low + high)
    }

    #[inline(always)]
    fn largest(self, F32s([a, b, c, d]): F32s) -> f32 {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        larger(larger(a, b), larger(c, d))
    }
}
