//! Systems on which no driver is looked for: no device can be opened, so that nothing below can be reached.
#![allow(unsafe_code, reason = "the same functions as elsewhere")]

use crate::Error;
use crate::device::Properties;
use crate::kernel::Kernel;
use std::ffi::c_void;

/// There is none; nor is there what would borrow from one.
#[derive(Debug)]
pub(crate) enum Gpu {}

/// The same.
#[derive(Debug)]
pub(crate) enum Mark {}

pub(crate) type Entered<'g> = &'g Gpu;
pub(crate) type Buffer<'e> = &'e Gpu;

fn nowhere() -> Error {
    Error::NoDevice { reason: "CUDA is looked for on Linux on x86-64 and AArch64 only".to_owned() }
}

pub(crate) fn count() -> Result<u32, Error> {
    Err(nowhere())
}

impl Gpu {
    pub(crate) fn open(_ordinal: u32) -> Result<(Self, Properties), Error> {
        Err(nowhere())
    }

    pub(crate) fn enter(&self) -> Result<Entered<'_>, Error> {
        match *self {}
    }

    pub(crate) fn address(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn buffer(&self, _bytes: usize) -> Result<Buffer<'_>, Error> {
        match *self {}
    }

    pub(crate) fn bytes(&self) -> usize {
        match *self {}
    }

    pub(crate) fn mark(&self) -> Result<Mark, Error> {
        match *self {}
    }

    pub(crate) fn record(&self, _mark: &Mark) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn between(&self, _first: &Mark, _second: &Mark) -> Result<f64, Error> {
        match *self {}
    }

    pub(crate) fn copy(&self, _to: &Buffer<'_>, _from: &Buffer<'_>) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn clear(&self, _buffer: &Buffer<'_>) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn stream(&self) -> Result<*mut c_void, Error> {
        match *self {}
    }

    pub(crate) fn trim(&self) {
        match *self {}
    }

    pub(crate) fn upload(&self, _bytes: &[u8]) -> Result<Buffer<'_>, Error> {
        match *self {}
    }

    pub(crate) fn download(&self, _buffer: &Buffer<'_>, _bytes: &mut [u8]) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn check(&self, _buffer: &'static str, _address: u64) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn synchronise(&self, _stream: *mut c_void) -> Result<(), Error> {
        match *self {}
    }

    /// # Safety
    /// None is needed: nobody gets here.
    pub(crate) unsafe fn zero(&self, _address: u64, _stream: *mut c_void) -> Result<(), Error> {
        match *self {}
    }

    /// # Safety
    /// None is needed: nobody gets here.
    pub(crate) unsafe fn launch(
        &self,
        _kernel: Kernel,
        _blocks: u32,
        _stream: *mut c_void,
        _parameters: &mut [*mut c_void],
    ) -> Result<(), Error> {
        match *self {}
    }
}
