//! What is done to a map before a loss, where teacher and student do not match: values that are part of a pair,
//! never a silent repair, each with the exact transpose that brings a gradient back.
//!
//! | what differs | adapter |
//! | --- | --- |
//! | height and width | [`Resize`] |
//! | channels | [`Conv1x1`] |

mod axis;
mod project;
mod resize;

pub(crate) use axis::{Axis, Taps};
pub use project::Conv1x1;
pub use resize::{Resize, ResizeMode};
