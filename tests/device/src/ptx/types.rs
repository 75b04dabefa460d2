//! Types that an instruction names.

/// A type of PTX. Widths are in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Pred,
    Bits(u8),
    Unsigned(u8),
    Signed(u8),
    Float(u8),
    Bf16,
}

impl Type {
    /// `name` is without its dot.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "pred" => Self::Pred,
            "bf16" => Self::Bf16,
            "f16" => Self::Float(16),
            "f32" => Self::Float(32),
            "f64" => Self::Float(64),
            _ => {
                let (kind, width) = name.split_at_checked(1)?;
                let width = match width {
                    "8" => 8,
                    "16" => 16,
                    "32" => 32,
                    "64" => 64,
                    _ => return None,
                };
                match kind {
                    "b" => Self::Bits(width),
                    "u" => Self::Unsigned(width),
                    "s" => Self::Signed(width),
                    _ => return None,
                }
            }
        })
    }

    pub(crate) fn bits(self) -> u8 {
        match self {
            Self::Pred => 1,
            Self::Bf16 => 16,
            Self::Bits(n) | Self::Unsigned(n) | Self::Signed(n) | Self::Float(n) => n,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        usize::from(self.bits() / 8)
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::Signed(_))
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::Bits(_) | Self::Unsigned(_) | Self::Signed(_))
    }
}
