//! The driver's functions as C calls them.
//!
//! They carry their C names in the library alone: in this crate, as others link it, nothing may stand before the
//! functions of the same names that a program forwards to its driver.
mod context;
mod device;
mod extra;
mod memory;
mod module;
mod pointers;
mod stream;

pub use context::*;
pub use device::*;
pub use extra::*;
pub use memory::*;
pub use module::*;
pub use pointers::{Arguments, Callback, HostRead, HostWrite, JitOptions, JitValues, Out, Text};
pub use stream::*;

use crate::driver::code::{Answer, SUCCESS};
use crate::driver::{Driver, with};
use std::ffi::c_int;

/// Runs the body of a function, or what was asked to fail in its place.
fn answer(function: &'static str, body: impl FnOnce(&mut Driver) -> Answer<()>) -> c_int {
    with(|d| d.enter(function).and_then(|()| body(d))).err().unwrap_or(SUCCESS)
}

/// Functions of the driver, each with the body that runs on its state.
macro_rules! functions {
    ($($name:ident($($arg:ident: $ty:ty),* $(,)?) |$d:pat_param| $body:expr;)*) => {$(
        #[doc = concat!("`", stringify!($name), "` of the driver.")]
        #[cfg_attr(densekd_driver, unsafe(no_mangle))]
        #[allow(non_snake_case, reason = "the name is the driver's")]
        pub extern "C" fn $name($($arg: $ty),*) -> std::ffi::c_int {
            $crate::abi::answer(stringify!($name), |$d: &mut $crate::driver::Driver| $body)
        }
    )*};
}
use functions;
