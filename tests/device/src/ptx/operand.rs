//! What instructions read and write.
use super::types::Type;

/// A row of the register file: one value a lane, zero-extended to 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reg {
    pub(crate) at: u32,
    pub(crate) bits: u8,
}

/// A predicate register: one bit a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pred {
    pub(crate) at: u32,
    pub(crate) negated: bool,
}

/// What is read: a register, or bits that the text holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Src {
    Reg(Reg),
    Value(u64),
}

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Param,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) space: Space,
    pub(crate) base: Src,
    pub(crate) offset: i64,
}

/// How a load or store touches memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Access {
    pub(crate) address: Address,
    /// Type of each element; `elements` has 1, 2 or 4.
    pub(crate) ty: Type,
    pub(crate) non_coherent: bool,
}
