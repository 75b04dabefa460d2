//! The number types of files: those of tensors, those of labels, and the rest.

/// The same set as [`DType`](densekd_core::DType), but closed, so that a match on it needs no arm for unknown types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F32,
    F64,
    F16,
    Bf16,
}

/// The number types that class labels and masks come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    I64,
}

/// What a tensor of a file can serve as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float(Float),
    Label(Label),
    Other,
}
