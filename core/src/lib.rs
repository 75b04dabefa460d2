//! scaffold
#![no_std]
#![cfg_attr(not(feature = "simd"), forbid(unsafe_code))]

mod access;
mod arithmetic;
mod call;
mod checked;
mod diverge;
mod element;
mod engine;
mod error;
mod isa;
mod mask;
mod names;
mod normalize;
mod plan;
mod prepared;
mod preset;
mod recipe;
pub mod row;
mod row_loss;
mod shape;
mod space;
mod upsample;

pub use access::{Place, Sink, Slab, narrow_into};
pub use arithmetic::Arithmetic;
pub use call::{Call, Inputs, KeptStatistics, Outcome, Outputs, Partial, run};
pub use checked::{Epsilon, Temperature, Upstream, Weight};
pub use diverge::{
    CrossEntropy, Diverge, JensenShannon, Kl, MaskedCrossEntropy, MaskedKl, Mse, ReverseKl,
    SmoothedCrossEntropy, SmoothedKl,
};
pub use element::{DType, Element, Tensor, TensorMut};
pub use error::Error;
pub use mask::Mask;
pub use names::UnknownName;
pub use normalize::{Block, MeanOverPositions, Normalize, PerPosition, Raw, Softmax};
pub use plan::Plan;
pub use prepared::PreparedTeacher;
pub use preset::{Loss, Preset};
pub use recipe::{Divergence, Divisor, Ignore, Norm, Recipe, RowOptions, Samples};
pub use row::{RowState, RowStatistics};
pub use row_loss::RowLoss;
pub use shape::{Layout, Order, Shape};
pub use space::{Difference, Distribution, Probabilities, Real, Space};
