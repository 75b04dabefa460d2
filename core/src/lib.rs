//! Losses for distilling dense-prediction networks: a teacher's maps teach a student's. `no_std`, no
//! allocation, no panic.
//!
//! A loss is one sentence:
//!
//! ```text
//! weight * tau^2 / divisor * sum over rows of  diverge( normalize(teacher), normalize(student) )
//! ```
//!
//! | to find | look at |
//! | --- | --- |
//! | how rows are taken of a map | [`Shape`], [`Order`], [`Layout`], [`Mask`] |
//! | how a row is made comparable | [`Softmax`], [`MeanOverPositions`], [`Raw`] |
//! | how two rows differ | [`Kl`], [`CrossEntropy`], [`Mse`], [`JensenShannon`], [`ReverseKl`] |
//! | how a vector is made comparable | [`UnitLength`], [`Standardise`], [`CentredUnitLength`] |
//! | how two vectors differ | [`Mse`], [`HalfMse`], [`Euclidean`], [`Cosine`], [`SmoothL1`] |
//! | which go together | [`RowLoss`], [`VectorLoss`], by type; [`Recipe`], by name; [`Preset`], as published |
//! | every loss by name | [`Loss`], [`Options`], [`Term`] |
//! | the work on a shape | [`Plan`], [`Inputs`], [`run`], and [`Call`] for backends |
//! | losses of whole maps | [`MapPlan`], [`MapInputs`], [`run_map`], and [`MapCall`] for backends |
//! | maps that do not match | [`Resize`], [`Conv1x1`] |
//! | a row on a microcontroller | the [`single`] module |
//! | a row in pieces | [`RowState`], [`RowStatistics`] |
//! | a fixed teacher | [`PreparedTeacher`] |
//! | why the numbers can be trusted | the [`row`] module |
//!
//! The way of data: tensor -> [`Inputs`] (checked against a [`Plan`]) -> statistics -> terms -> gradient.
//!
//! ```
//! use densekd_core::{Inputs, Mask, Order, Outputs, Plan, Recipe, RowOptions, Shape, Upstream, run};
//! let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 2, 1, 2])?, Order::Nchw)?;
//! let (teacher, student) = ([0.0_f32, 1.0, 2.0, 0.0], [1.0_f32, 0.0, 2.0, 0.0]);
//! let inputs = Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL)?;
//! let loss = run(&inputs, Upstream::ONE, Outputs::default())?.value();
//! assert!(loss > 0.0);
//! # Ok::<(), densekd_core::Error>(())
//! ```
#![no_std]
#![cfg_attr(not(feature = "simd"), forbid(unsafe_code))]

mod access;
mod adapt;
mod arithmetic;
mod call;
mod checked;
mod diverge;
mod element;
mod engine;
mod error;
mod halves;
mod in_place;
mod isa;
mod logarithm;
mod loss;
mod map;
mod mask;
mod names;
mod normalize;
mod options;
mod outcome;
mod plan;
mod prepared;
mod preset;
mod recipe;
pub mod row;
mod row_loss;
mod segments;
mod shape;
mod simd;
pub mod single;
mod space;
mod upsample;
mod vector_loss;

pub use access::{LentCells, Place, Sink, Slab, narrow_into};
pub use adapt::{Conv1x1, Resize, ResizeMode};
pub use arithmetic::Arithmetic;
pub use call::{Call, Inputs, KeptStatistics, Outputs, run};
pub use checked::{Epsilon, Share, Temperature, Upstream, Weight};
pub use diverge::{
    Cosine, CrossEntropy, Diverge, DivergeVector, Euclidean, HalfMse, Hinge, JensenShannon, Kl,
    MaskedCrossEntropy, MaskedKl, Mse, ReverseKl, SmoothL1, SmoothedCrossEntropy, SmoothedKl, Wasserstein,
};
pub use element::{DType, Element, Tensor, TensorMut};
pub use error::Error;
pub use in_place::InPlace;
pub use isa::Isa;
pub use loss::*;
pub use map::{
    Alone, Executor, Labels, MapCall, MapInputs, MapPlan, Matrix, Moments, Projection, Side, run_map,
};
pub use mask::Mask;
pub use names::UnknownName;
pub use normalize::{
    Block, CentredUnitLength, MeanOverPositions, Normalize, NormalizeVector, PerPosition, Raw, Scaled,
    Softmax, Standardise, UnitLength,
};
pub use options::{Field, OptionError, OptionValue};
pub use outcome::{Outcome, Overflowed, Partial};
pub use plan::Plan;
pub use prepared::PreparedTeacher;
pub use preset::Preset;
pub use recipe::{Divergence, Divisor, Ignore, Norm, Recipe, RowOptions, Samples};
pub use row::{RowState, RowStatistics, RowSums};
pub use row_loss::RowLoss;
pub use segments::{Found, Lent, Overwritten, Segmented, Segments};
pub use shape::{Layout, Order, Shape};
pub use space::{
    CentredUnit, Coordinates, Difference, Distribution, Probabilities, Real, RowSpace, Score, Space,
    Standardised, Unit, VectorSpace, Verdict,
};
pub use vector_loss::VectorLoss;
