//! What tests ask of the device beyond the driver: the whole list.
//!
//! | function | what it does |
//! | --- | --- |
//! | `densekd_device_counters(kernel, out)` | [`Counters`] of a kernel by name; 500 where it was never launched |
//! | `densekd_device_live(out)` | [`Live`]: what exists and has not been given back |
//! | `densekd_device_report(to, room)` | text of the last violation or refused module, empty where there is none |
//! | `densekd_device_fault(function, nth, code)` | the `nth` call of a function from now on (1 is the next) gives `code`, once |
//! | `densekd_device_set(name, value)` | a property by its name in the environment, without `DENSEKD_DEVICE_`; also `BLOCKING` |
//! | `densekd_device_calls(to, room)` | names of all calls of the driver since the last reset, a line each |
//! | `densekd_device_replace(text, by)` | a module of exactly this text is loaded as if it had been another |
//! | `densekd_device_reset()` | a new device: nothing exists, nothing is counted, properties are read again |
//!
//! Each answers 0, or a code of the driver's. They are never made to fail.
use super::{HostWrite, Out, Text};
use crate::driver::code::{Answer, INVALID_VALUE, NOT_FOUND, SUCCESS};
use crate::driver::{Driver, Live, with};
use crate::exec::Counters;
use std::ffi::c_int;

macro_rules! extra {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) |$d:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[cfg_attr(densekd_driver, unsafe(no_mangle))]
        pub extern "C" fn $name($($arg: $ty),*) -> c_int {
            let body = |$d: &mut Driver| -> Answer<()> { $body };
            with(body).err().unwrap_or(SUCCESS)
        }
    )*};
}

extra! {
    /// Counters of a kernel.
    densekd_device_counters(kernel: Text, out: Out<Counters>) |d| {
        let name = kernel.get()?;
        out.put(*d.counters.get(name).ok_or(NOT_FOUND)?)
    };
    /// What exists.
    densekd_device_live(out: Out<Live>) |d| out.put(d.live());
    /// The last report.
    densekd_device_report(to: HostWrite, room: usize) |d| to.put_text(&d.report, room);
    /// A call that fails.
    densekd_device_fault(function: Text, nth: u64, code: c_int) |d| {
        d.fault(function.get()?, nth, code);
        Ok(())
    };
    /// A property.
    densekd_device_set(name: Text, value: Text) |d| {
        let (name, value) = (name.get()?, value.get()?);
        if d.set(name, value) { Ok(()) } else { Err(INVALID_VALUE) }
    };
    /// The calls so far.
    densekd_device_calls(to: HostWrite, room: usize) |d| to.put_text(&d.calls.join("\n"), room);
    /// A module of another text.
    densekd_device_replace(text: Text, by: Text) |d| {
        d.replace(text.get()?, by.get()?);
        Ok(())
    };
    /// A new device.
    densekd_device_reset() |d| {
        d.reset();
        Ok(())
    };
}
