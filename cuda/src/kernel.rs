//! The kernels by name.

use densekd_core::DType;

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Rows of which the state says all: a file a type, as a device compiles what it loads.
    Rows,
    RowsF16,
    RowsBf16,
    Columns,
    ColumnsF16,
    ColumnsBf16,
    Terms,
    Wide,
    Whole,
    Vectors,
    Energy,
    Classes,
    Dist,
    La,
    Ho,
    Pa,
    Rkd,
    Ifvd,
    Resize,
    Project,
    Labels,
}

impl Source {
    /// Whether there are kernels for `f64` in it.
    const fn has_f64(self) -> bool {
        !matches!(
            self,
            Self::Rows
                | Self::RowsF16
                | Self::RowsBf16
                | Self::Columns
                | Self::ColumnsF16
                | Self::ColumnsBf16
                | Self::Terms
                | Self::Whole
                | Self::Classes
                | Self::Labels
        )
    }

    /// The file of a type's kernels.
    const fn of(self, dtype: DType) -> Self {
        match (self, dtype) {
            (Self::Rows, DType::F16) => Self::RowsF16,
            (Self::Rows, DType::Bf16) => Self::RowsBf16,
            (Self::Columns, DType::F16) => Self::ColumnsF16,
            (Self::Columns, DType::Bf16) => Self::ColumnsBf16,
            _ => self,
        }
    }
}

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) source: Source,
    pub(crate) name: &'static str,
    /// Of a block.
    pub(crate) threads: u32,
    /// Bytes of shared memory that its launch gives a block, beside what it declares.
    pub(crate) shared: u32,
}

impl Kernel {
    /// Threads of a block, of every kernel but those whose names say another number.
    pub(crate) const THREADS: u32 = 256;
    /// Most bytes of shared memory that a kernel declares whose launch gives more.
    pub(crate) const DECLARED: u32 = 8 << 10;

    const fn of(source: Source, name: &'static str) -> Self {
        Self { source, name, threads: Self::THREADS, shared: 0 }
    }

    pub(crate) const ROWS_WARP: Self = Self::of(Source::Rows, "densekd_rows_warp_f32");
    pub(crate) const WHOLE: Self = Self::of(Source::Whole, "densekd_whole");
    pub(crate) const TERMS_WHOLE: Self = Self::of(Source::Terms, "densekd_terms_whole");
    pub(crate) const WIDE_THREAD: Self = Self::of(Source::Wide, "densekd_wide_thread");
    pub(crate) const WIDE_WARP: Self = Self::of(Source::Wide, "densekd_wide_warp");
    pub(crate) const WIDE_BLOCK: Self = Self::of(Source::Wide, "densekd_wide_block");
    pub(crate) const TOTAL: Self = Self::of(Source::Whole, "densekd_total");
    pub(crate) const VECTORS_SCALE: Self = Self::of(Source::Vectors, "densekd_vectors_scale");
    pub(crate) const VECTORS_CLOSE: Self = Self::of(Source::Vectors, "densekd_vectors_close");
    pub(crate) const DIST_CLOSE: Self = Self::of(Source::Dist, "densekd_dist_close");
    pub(crate) const LA_COMPARE: Self = Self::of(Source::La, "densekd_la_compare");
    pub(crate) const HO_CLOSE: Self = Self::of(Source::Ho, "densekd_ho_close");
    pub(crate) const PA_SCALE: Self = Self::of(Source::Pa, "densekd_pa_scale");
    pub(crate) const PA_APART: Self = Self::of(Source::Pa, "densekd_pa_apart");
    pub(crate) const PA_SLOPES: Self = Self::of(Source::Pa, "densekd_pa_slopes");
    pub(crate) const PA_TURN: Self = Self::of(Source::Pa, "densekd_pa_turn");
    pub(crate) const RKD_LENGTHS: Self = Self::of(Source::Rkd, "densekd_rkd_lengths");
    pub(crate) const RKD_EDGES: Self = Self::of(Source::Rkd, "densekd_rkd_edges");
    pub(crate) const RKD_UNITS: Self = Self::of(Source::Rkd, "densekd_rkd_units");
    pub(crate) const RKD_TRIANGLES: Self = Self::of(Source::Rkd, "densekd_rkd_triangles");
    pub(crate) const RKD_ALONG: Self = Self::of(Source::Rkd, "densekd_rkd_along");
    pub(crate) const IFVD_COUNT: Self = Self::of(Source::Ifvd, "densekd_ifvd_count");
    pub(crate) const IFVD_START: Self = Self::of(Source::Ifvd, "densekd_ifvd_start");
    pub(crate) const IFVD_PLACE: Self = Self::of(Source::Ifvd, "densekd_ifvd_place");
    pub(crate) const IFVD_NORMS: Self = Self::of(Source::Ifvd, "densekd_ifvd_norms");
    pub(crate) const IFVD_COMPARE: Self = Self::of(Source::Ifvd, "densekd_ifvd_compare");
    pub(crate) const IFVD_IMAGES: Self = Self::of(Source::Ifvd, "densekd_ifvd_images");
    pub(crate) const IFVD_ALONG: Self = Self::of(Source::Ifvd, "densekd_ifvd_along");
    pub(crate) const LABELS: Self = Self::of(Source::Labels, "densekd_labels");
    pub(crate) const RESIZE_AXES: Self = Self::of(Source::Resize, "densekd_resize_axes");
    pub(crate) const PROJECT_CLOSE: Self = Self::of(Source::Project, "densekd_project_close");
}

/// The forms of one kernel for each type of numbers; its blocks may have another number of threads, and be given shared memory.
macro_rules! typed {
    (@or $default:expr;) => { $default };
    (@or $default:expr; $said:literal) => { $said };
    ($($constant:ident: $source:ident $(of $threads:literal)? $(with $shared:literal)? $name:literal;)*) => {$(
        pub(crate) const $constant: Typed = Typed {
            source: Source::$source,
            threads: typed!(@or Kernel::THREADS; $($threads)?),
            shared: typed!(@or 0; $($shared)?),
            names: [
                concat!($name, "_f32"),
                concat!($name, "_f16"),
                concat!($name, "_bf16"),
                concat!($name, "_f64"),
            ],
        };
    )*};
}

/// A kernel that there is for each type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typed {
    source: Source,
    threads: u32,
    shared: u32,
    names: [&'static str; 4],
}

impl Typed {
    typed! {
        ROWS_SHORT: Rows "densekd_rows_short";
        ROWS_LANES32: Rows "densekd_rows_lanes32";
        ROWS_BLOCK128: Rows of 128 "densekd_rows_block128";
        ROWS_BLOCK256: Rows "densekd_rows_block256";
        ROWS_BLOCK512: Rows of 512 "densekd_rows_block512";
        ROWS_DEEP: Rows of 512 with 131_072 "densekd_rows_deep";
        ROWS_PARTS: Rows "densekd_rows_parts";
        ROWS_GRADIENT: Rows "densekd_rows_gradient";
        COLUMNS_THREAD: Columns "densekd_columns_thread";
        COLUMNS_STACK: Columns "densekd_columns_stack";
        COLUMNS_SHORT: Columns "densekd_columns_short";
        COLUMNS_PARTS: Columns "densekd_columns_parts";
        COLUMNS_GRADIENT: Columns "densekd_columns_gradient";
        TERMS_ROWS_LANES8: Terms "densekd_terms_rows_lanes8";
        TERMS_ROWS_LANES32: Terms "densekd_terms_rows_lanes32";
        TERMS_ROWS_BLOCK: Terms "densekd_terms_rows_block";
        TERMS_ROWS_PARTS: Terms "densekd_terms_rows_parts";
        TERMS_ROWS_GRADIENT: Terms "densekd_terms_rows_gradient";
        TERMS_COLUMNS_SHORT: Terms "densekd_terms_columns_short";
        TERMS_COLUMNS_PARTS: Terms "densekd_terms_columns_parts";
        TERMS_COLUMNS_GRADIENT: Terms "densekd_terms_columns_gradient";
        LINES_MOMENTS: Vectors "densekd_lines_moments";
        LINES_COMPARE: Vectors "densekd_lines_compare";
        LINES_PULL: Vectors "densekd_lines_pull";
        APART_MOMENTS: Vectors "densekd_apart_moments";
        APART_COMPARE: Vectors "densekd_apart_compare";
        APART_PULL: Vectors "densekd_apart_pull";
        ENERGY_PLANES: Energy "densekd_energy_planes";
        ENERGY_LAST: Energy "densekd_energy_last";
        ENERGY_PULL_PLANES: Energy "densekd_energy_pull_planes";
        ENERGY_PULL_LAST: Energy "densekd_energy_pull_last";
        DKD_PLANES: Classes "densekd_dkd_planes";
        DKD_LAST: Classes "densekd_dkd_last";
        SMOOTH_PLANES: Classes "densekd_smooth_planes";
        SMOOTH_LAST: Classes "densekd_smooth_last";
        DIST_ROWS_PLANES: Dist "densekd_dist_rows_planes";
        DIST_ROWS_LAST: Dist "densekd_dist_rows_last";
        DIST_COLUMNS_PLANES: Dist "densekd_dist_columns_planes";
        DIST_COLUMNS_LAST: Dist "densekd_dist_columns_last";
        DIST_PULL_PLANES: Dist "densekd_dist_pull_planes";
        DIST_PULL_LAST: Dist "densekd_dist_pull_last";
        LA_EDGES_PLANES: La "densekd_la_edges_planes";
        LA_EDGES_LAST: La "densekd_la_edges_last";
        LA_PULL_PLANES: La "densekd_la_pull_planes";
        LA_PULL_LAST: La "densekd_la_pull_last";
        HO_SUMS: Ho "densekd_ho_sums";
        HO_PULL: Ho "densekd_ho_pull";
        PA_POOL_THREAD: Pa "densekd_pa_pool_thread";
        PA_POOL_WARP: Pa "densekd_pa_pool_warp";
        PA_SPREAD_PLANES: Pa "densekd_pa_spread_planes";
        PA_SPREAD_LAST: Pa "densekd_pa_spread_last";
        RKD_NORMS: Rkd "densekd_rkd_norms";
        RKD_DISTANCES: Rkd "densekd_rkd_distances";
        RKD_PULL: Rkd "densekd_rkd_pull";
        IFVD_SUMS_PLANES: Ifvd "densekd_ifvd_sums_planes";
        IFVD_SUMS_LAST: Ifvd "densekd_ifvd_sums_last";
        IFVD_COSINES_PLANES: Ifvd "densekd_ifvd_cosines_planes";
        IFVD_COSINES_LAST: Ifvd "densekd_ifvd_cosines_last";
        IFVD_PULL_PLANES: Ifvd "densekd_ifvd_pull_planes";
        IFVD_PULL_LAST: Ifvd "densekd_ifvd_pull_last";
        RESIZE_SINGLE: Resize "densekd_resize_single";
        RESIZE_DOUBLE: Resize "densekd_resize_double";
        RESIZE_PULL_SINGLE: Resize "densekd_resize_pull_single";
        RESIZE_PULL_DOUBLE: Resize "densekd_resize_pull_double";
        PROJECT_PLANES: Project "densekd_project_planes";
        PROJECT_LAST: Project "densekd_project_last";
        PROJECT_PULL_PLANES: Project "densekd_project_pull_planes";
        PROJECT_PULL_LAST: Project "densekd_project_pull_last";
        PROJECT_WEIGHTS: Project "densekd_project_weights";
    }

    /// The one for a type; `None` for a type without kernels.
    pub(crate) const fn of(self, dtype: DType) -> Option<Kernel> {
        let [f32, f16, bf16, f64] = self.names;
        let name = match dtype {
            DType::F32 => f32,
            DType::F16 => f16,
            DType::Bf16 => bf16,
            DType::F64 if self.source.has_f64() => f64,
            _ => return None,
        };
        Some(Kernel { source: self.source.of(dtype), name, threads: self.threads, shared: self.shared })
    }
}
