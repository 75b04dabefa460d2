//! Systems on which no driver is looked for: no device can be opened, so that nothing below can be reached.
#![allow(unsafe_code, reason = "the same functions as elsewhere")]

use crate::Error;
use crate::kernel::Kernel;
use std::ffi::c_void;
use std::marker::PhantomData;

#[derive(Clone, Debug)]
pub(crate) struct Properties {
    pub(crate) name: String,
    pub(crate) capability: (i32, i32),
    pub(crate) memory: usize,
    pub(crate) multiprocessors: u32,
}

#[derive(Debug)]
pub(crate) enum Gpu {}

pub(crate) enum Entered<'g> {
    #[allow(dead_code, reason = "it borrows from the device, as elsewhere")]
    Never(std::convert::Infallible, PhantomData<&'g ()>),
}

pub(crate) enum Buffer<'e> {
    #[allow(dead_code, reason = "it borrows from the thread that entered, as elsewhere")]
    Never(std::convert::Infallible, PhantomData<&'e ()>),
}

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
}

impl Buffer<'_> {
    pub(crate) fn address(&self) -> u64 {
        let Self::Never(never, _) = self;
        match *never {}
    }
}

impl Entered<'_> {
    fn never<T>(&self) -> T {
        let Self::Never(never, _) = self;
        match *never {}
    }

    pub(crate) fn buffer(&self, _bytes: usize) -> Result<Buffer<'_>, Error> {
        self.never()
    }

    pub(crate) fn upload(&self, _bytes: &[u8]) -> Result<Buffer<'_>, Error> {
        self.never()
    }

    pub(crate) fn download(&self, _buffer: &Buffer<'_>, _bytes: &mut [u8]) -> Result<(), Error> {
        self.never()
    }

    pub(crate) fn synchronise(&self, _stream: *mut c_void) -> Result<(), Error> {
        self.never()
    }

    /// # Safety
    /// None is needed: nobody gets here.
    pub(crate) unsafe fn zero(&self, _address: u64, _stream: *mut c_void) -> Result<(), Error> {
        self.never()
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
        self.never()
    }
}
