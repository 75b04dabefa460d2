//! What a kernel did wrong, as a device would say it and as a reader needs it.

/// A kind of wrong, each with the code of the driver that a device would end with. Where a device would go on with
/// wrong numbers (a race, an uninitialised read), the code is that of a failed launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    IllegalAddress,
    Misaligned,
    Uninitialised,
    Race,
    /// A read through the read-only path of what the same launch wrote.
    NotCoherent,
    /// Threads that a barrier or an exchange between lanes waits for never come.
    Divergence,
    Trap,
    /// More steps than the limit.
    Endless,
}

impl Wrong {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::IllegalAddress => 700,
            Self::Endless => 702,
            Self::Misaligned => 716,
            Self::Uninitialised | Self::Race | Self::NotCoherent | Self::Divergence | Self::Trap => 719,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::IllegalAddress => "illegal address",
            Self::Misaligned => "misaligned address",
            Self::Uninitialised => "uninitialised read",
            Self::Race => "race",
            Self::NotCoherent => "read-only path",
            Self::Divergence => "divergence",
            Self::Trap => "trap",
            Self::Endless => "step limit",
        }
    }
}

/// What one instruction met, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) wrong: Wrong,
    pub(crate) lane: u32,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(wrong: Wrong, lane: u32, what: impl Into<String>) -> Self {
        Self { wrong, lane, what: what.into() }
    }
}

/// A violation with its place: the report that is kept and printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) wrong: Wrong,
    pub(crate) kernel: String,
    pub(crate) line: u32,
    pub(crate) instruction: String,
    pub(crate) block: [u32; 3],
    pub(crate) thread: [u32; 3],
    pub(crate) what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [[bx, by, bz], [x, y, z]] = [self.block, self.thread];
        write!(
            f,
            "{} in kernel {}: {}\n  at PTX line {}: {}\n  by thread ({x}, {y}, {z}) of block ({bx}, {by}, {bz})",
            self.wrong.name(),
            self.kernel,
            self.what,
            self.line,
            self.instruction,
        )
    }
}

impl Failure {
    /// What the driver says of it.
    pub(crate) fn code(&self) -> i32 {
        self.wrong.code()
    }
}
