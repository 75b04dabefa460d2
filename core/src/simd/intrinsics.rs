//! What the instruction sets say in the same words.

/// One intrinsic without memory operands.
macro_rules! op {
    ($intrinsic:ident $(::<$c:tt>)? ($($a:expr),*)) => {
        // SAFETY: the token, or a vector that a token made, is here, so the CPU has the instruction.
        unsafe { $intrinsic $(::<$c>)? ($($a),*) }
    };
}

/// A vector's operators, each by its intrinsic.
macro_rules! operators {
    ($vector:ident: $($trait:ident $method:ident $intrinsic:ident;)+) => {$(
        impl $trait for $vector {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(op!($intrinsic(self.0, other.0)))
            }
        }
    )+};
}

pub(super) use {op, operators};
