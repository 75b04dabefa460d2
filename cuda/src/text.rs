//! The text that kernels are compiled from, and which one a device loads.

use crate::kernel::Source;

/// What a text of kernels is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// The least device.
    pub(crate) capability: (i32, i32),
    /// The least driver that reads it.
    pub(crate) driver: i32,
}

/// Of every file's text, in PTX 6.3.
pub(crate) const BASE: Target = Target { name: "sm_70", capability: (7, 0), driver: 10_000 };
/// Of those that there is a second text of, in PTX 7.0: numbers are rounded to 16 bits two at a time.
const PAIRS: Target = Target { name: "sm_80", capability: (8, 0), driver: 11_000 };

impl Target {
    /// The best for a device.
    pub(crate) fn of(capability: (i32, i32), driver: i32) -> Self {
        if capability >= PAIRS.capability && driver >= PAIRS.driver { PAIRS } else { BASE }
    }
}

impl Source {
    pub(crate) const COUNT: usize = 21;

    /// What `cargo xtask ptx` made of the file for a target.
    pub(crate) fn ptx(self, target: Target) -> &'static str {
        match self {
            Self::RowsF16 if target.name == PAIRS.name => include_str!("../ptx/rows_f16.sm_80.ptx"),
            Self::RowsBf16 if target.name == PAIRS.name => include_str!("../ptx/rows_bf16.sm_80.ptx"),
            Self::Rows => include_str!("../ptx/rows.ptx"),
            Self::RowsF16 => include_str!("../ptx/rows_f16.ptx"),
            Self::RowsBf16 => include_str!("../ptx/rows_bf16.ptx"),
            Self::Columns => include_str!("../ptx/columns.ptx"),
            Self::ColumnsF16 => include_str!("../ptx/columns_f16.ptx"),
            Self::ColumnsBf16 => include_str!("../ptx/columns_bf16.ptx"),
            Self::Terms => include_str!("../ptx/terms.ptx"),
            Self::Wide => include_str!("../ptx/wide.ptx"),
            Self::Whole => include_str!("../ptx/whole.ptx"),
            Self::Vectors => include_str!("../ptx/vectors.ptx"),
            Self::Energy => include_str!("../ptx/energy.ptx"),
            Self::Classes => include_str!("../ptx/classes.ptx"),
            Self::Dist => include_str!("../ptx/dist.ptx"),
            Self::La => include_str!("../ptx/la.ptx"),
            Self::Ho => include_str!("../ptx/ho.ptx"),
            Self::Pa => include_str!("../ptx/pa.ptx"),
            Self::Rkd => include_str!("../ptx/rkd.ptx"),
            Self::Ifvd => include_str!("../ptx/ifvd.ptx"),
            Self::Resize => include_str!("../ptx/resize.ptx"),
            Self::Project => include_str!("../ptx/project.ptx"),
            Self::Labels => include_str!("../ptx/labels.ptx"),
        }
    }
}
