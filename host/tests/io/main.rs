//! Tensor files: what is written is read back, and what is no tensor is refused with a way out.

mod chaos;
mod codes;
mod labels;
mod npy;
mod npz;
mod pair;
mod path;
mod round_trip;
mod safetensors;
mod support;
mod write;
