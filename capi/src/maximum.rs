//! The larger and the smaller of two numbers, which LLVM asks of the C library on targets without `double`, and few C libraries
//! have. Local names in the archive.

#[unsafe(no_mangle)]
extern "C" fn fmaximum_num(a: f64, b: f64) -> f64 {
    if a > b || b.is_nan() { a } else { b }
}

#[unsafe(no_mangle)]
extern "C" fn fminimum_num(a: f64, b: f64) -> f64 {
    if a < b || b.is_nan() { a } else { b }
}
