//! The instruction set: what the decoder makes of a line and the executor runs.
pub(crate) use super::operand::{Access, Address, Pred, Reg, Space, Src};
use super::types::Type;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    X,
    Y,
    Z,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Thread(Axis),
    Threads(Axis),
    Block(Axis),
    Blocks(Axis),
    Lane,
    Warp,
    LanesEqual,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    LanesFrom,
    DynamicShared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int1 {
    Not,
    Negate,
    Abs,
    Count,
    LeadingZeros,
    Reverse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int2 {
    Add,
    Sub,
    MulLow,
    MulHigh,
    /// Of the named type; the result is twice as wide.
    MulWide,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int3 {
    MadLow,
    MadHigh,
    MadWide,
    ExtractBits,
    /// Funnel shifts: the amount wraps at 32 or is clamped to it.
    FunnelLeft {
        wrap: bool,
    },
    FunnelRight {
        wrap: bool,
    },
    Permute,
    Lut(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float1 {
    Negate,
    Abs,
    Sqrt,
    Reciprocal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float2 {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    MinNan,
    MaxNan,
    /// Magnitude of the second, sign of the first.
    CopySign,
}

/// Instructions whose result is only near the exact one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approx {
    Exp2,
    Log2,
    Reciprocal,
    Sqrt,
    ReciprocalSqrt,
    Tanh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// Subnormal numbers are flushed.
    pub(crate) ftz: bool,
    /// The result is clamped to 0..=1.
    pub(crate) sat: bool,
    /// No rounding is named: a compiler may fuse it with another.
    pub(crate) free: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// To the nearest number of the type, or exact.
    Nearest,
    /// To a whole number: nearest even, towards zero, down, up.
    WholeNearest,
    WholeZero,
    WholeDown,
    WholeUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conversion {
    pub(crate) to: Type,
    pub(crate) from: Type,
    pub(crate) round: Round,
    pub(crate) flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// `unordered`: what it answers where one is a NaN.
    Order {
        order: Order,
        unordered: bool,
    },
    BothNumbers,
    EitherNan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Inc,
    Dec,
    Exchange,
    CompareSwap,
    Min,
    Max,
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteMode {
    Any,
    All,
    Uniform,
    Ballot,
}

/// An instruction that waits for the lanes that its mask names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sync {
    Barrier,
    Shuffle { mode: ShuffleMode, to: Reg, valid: Option<u32>, from: Src, lane: Src, clamp: Src },
    Vote { mode: VoteMode, to: VoteTarget, from: Pred },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum VoteTarget {
    Pred(u32),
    Reg(Reg),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Move {
        to: Reg,
        from: Src,
    },
    Special {
        to: Reg,
        which: Special,
    },
    Pack {
        to: Reg,
        from: Vec<Src>,
        bits: u8,
    },
    Unpack {
        to: Vec<Option<Reg>>,
        from: Src,
        bits: u8,
    },
    Int1 {
        op: Int1,
        ty: Type,
        to: Reg,
        a: Src,
    },
    Int2 {
        op: Int2,
        ty: Type,
        to: Reg,
        a: Src,
        b: Src,
    },
    Int3 {
        op: Int3,
        ty: Type,
        to: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    InsertBits {
        bits: u8,
        to: Reg,
        a: Src,
        b: Src,
        start: Src,
        length: Src,
    },
    Float1 {
        op: Float1,
        bits: u8,
        flags: Flags,
        to: Reg,
        a: Src,
    },
    Float2 {
        op: Float2,
        bits: u8,
        flags: Flags,
        to: Reg,
        a: Src,
        b: Src,
    },
    /// A sum or difference of which one side, the second or the first, is the product of `factors`.
    MayFuse {
        op: Float2,
        bits: u8,
        flags: Flags,
        to: Reg,
        a: Src,
        b: Src,
        factors: (Src, Src),
        second: bool,
        place: u32,
    },
    FusedMultiplyAdd {
        bits: u8,
        flags: Flags,
        to: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    Approx {
        op: Approx,
        flags: Flags,
        to: Reg,
        a: Src,
    },
    DivApprox {
        flags: Flags,
        to: Reg,
        a: Src,
        b: Src,
    },
    Convert {
        how: Conversion,
        to: Reg,
        a: Src,
    },
    /// Two numbers rounded into one register: `a` in the upper half.
    ConvertPair {
        to_half: Type,
        to: Reg,
        a: Src,
        b: Src,
    },
    Compare {
        test: Test,
        ty: Type,
        ftz: bool,
        to: u32,
        other: Option<u32>,
        with: Option<(Logic, Pred)>,
        a: Src,
        b: Src,
    },
    Logic {
        op: Logic,
        to: u32,
        a: Pred,
        b: Pred,
    },
    MovePred {
        to: u32,
        from: Pred,
    },
    SetPred {
        to: u32,
        value: bool,
    },
    Select {
        to: Reg,
        a: Src,
        b: Src,
        by: Pred,
    },
    /// `a` where `by` is at least zero, else `b`.
    SelectBySign {
        ty: Type,
        ftz: bool,
        to: Reg,
        a: Src,
        b: Src,
        by: Src,
    },
    Load {
        access: Access,
        to: Vec<Reg>,
    },
    Store {
        access: Access,
        from: Vec<Src>,
    },
    Atomic {
        op: AtomicOp,
        ty: Type,
        address: Address,
        to: Option<Reg>,
        b: Src,
        c: Src,
    },
    Branch {
        target: u32,
    },
    BranchTable {
        targets: Vec<u32>,
        index: Src,
    },
    Exit,
    Trap,
    Barrier {
        id: u32,
    },
    Sync {
        mask: Src,
        what: Sync,
    },
    ActiveMask {
        to: Reg,
    },
    Fence,
}

/// One line, decoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<Pred>,
    pub(crate) op: Op,
    pub(crate) line: u32,
}
