//! From the text of a module to kernels that can be run. What is not known here is refused, with its line.
mod arithmetic;
mod control;
mod decode;
mod fuse;
mod memory;
mod module;
mod moves;
mod names;
pub(crate) mod op;
mod operand;
mod text;
pub(crate) mod types;

pub(crate) use module::{Kernel, Module, Param, Variable};

/// Why a module was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadError {
    pub(crate) line: u32,
    pub(crate) text: String,
    pub(crate) why: String,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PTX line {}: {}: `{}`", self.line, self.why, self.text)
    }
}

/// What a part of the decoder answers; [`LoadError`] adds the line.
type Decoded<T> = Result<T, String>;
