//! The driver's state and rules, without its calling convention.
pub(crate) mod code;
mod context;
mod device;
mod launch;
mod memory;
mod module;
mod settings;
mod stream;

use crate::exec::{Counters, Memory};
use code::{Answer, Code};
use context::Context;
pub(crate) use launch::Shape;
use module::{Function, Loaded};
use settings::{Fault, Settings};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use stream::{Event, Stream};

/// A number that stands for an object; 0 is none.
pub(crate) type Handle = u64;

/// What exists and has not been given back. A C structure of unsigned 64-bit numbers in this order.
///
/// ```
/// let live = densekd_device::Live::default();
/// assert_eq!(live.allocations, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Live {
    /// Allocations of global memory; a module's variables are such.
    pub allocations: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Page-locked allocations of the host.
    pub host_allocations: u64,
    /// Contexts, the primary one included.
    pub contexts: u64,
    /// Modules.
    pub modules: u64,
    /// Streams.
    pub streams: u64,
    /// Events.
    pub events: u64,
    /// Bytes copied to the host so far that nobody had written: not alive, but as wrong.
    pub unknown_copied: u64,
}

pub(crate) struct Driver {
    pub(crate) settings: Settings,
    initialised: bool,
    pub(crate) memory: Memory,
    pub(crate) counters: BTreeMap<String, Counters>,
    /// Text of the last violation or refused module.
    pub(crate) report: String,
    /// Names of all calls, in their order.
    pub(crate) calls: Vec<&'static str>,
    counts: HashMap<&'static str, u64>,
    /// What a module's text is replaced by when it is loaded.
    replaced: HashMap<String, String>,
    contexts: HashMap<Handle, Context>,
    /// The primary context of each device that has one.
    primary: HashMap<i32, Handle>,
    /// The context that each allocation belongs to.
    owners: HashMap<u64, Handle>,
    modules: HashMap<Handle, Loaded>,
    functions: HashMap<Handle, Function>,
    streams: HashMap<Handle, Stream>,
    events: HashMap<Handle, Event>,
    /// Sizes of page-locked allocations by address.
    pub(crate) host: HashMap<u64, u64>,
    last_handle: Handle,
}

impl Driver {
    fn new() -> Self {
        let settings = Settings::from_environment();
        Self {
            memory: Memory::new(settings.memory),
            settings,
            initialised: false,
            counters: BTreeMap::new(),
            report: String::new(),
            calls: Vec::new(),
            counts: HashMap::new(),
            replaced: HashMap::new(),
            contexts: HashMap::new(),
            primary: HashMap::new(),
            owners: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            streams: HashMap::new(),
            events: HashMap::new(),
            host: HashMap::new(),
            last_handle: 0,
        }
    }

    /// Notes a call; the code that was asked for it, once.
    pub(crate) fn enter(&mut self, function: &'static str) -> Answer<()> {
        self.calls.push(function);
        let calls = self.counts.entry(function).or_default();
        *calls += 1;
        let calls = *calls;
        let due = |f: &Fault| f.function == function && f.call == calls;
        match self.settings.faults.iter().position(due) {
            Some(at) => Err(self.settings.faults.remove(at).code),
            None => Ok(()),
        }
    }

    /// The `nth` call of `function` from now on answers `code`.
    pub(crate) fn fault(&mut self, function: &str, nth: u64, code: Code) {
        let call = self.counts.get(function).copied().unwrap_or_default() + nth;
        self.settings.faults.push(Fault { function: function.to_owned(), call, code });
    }

    /// A module of exactly this text is loaded as if it had been another.
    pub(crate) fn replace(&mut self, text: &str, by: &str) {
        self.replaced.insert(text.to_owned(), by.to_owned());
    }

    /// A property by its name in the environment, without the prefix.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> bool {
        let known = self.settings.set(name, value);
        self.memory.capacity = self.settings.memory;
        known
    }

    pub(crate) fn initialise(&mut self, flags: u32) -> Answer<()> {
        if flags != 0 {
            return Err(code::INVALID_VALUE);
        }
        if self.settings.devices == 0 {
            return Err(code::NO_DEVICE);
        }
        self.initialised = true;
        Ok(())
    }

    pub(crate) fn initialised(&self) -> Answer<()> {
        if self.initialised { Ok(()) } else { Err(code::NOT_INITIALIZED) }
    }

    fn handle(&mut self) -> Handle {
        self.last_handle += 1;
        // Looks like no address: a handle that is followed ends the process at once.
        self.last_handle << 4 | 1 << 60
    }

    pub(crate) fn live(&self) -> Live {
        Live {
            allocations: self.memory.allocations(),
            bytes: self.settings.memory - self.memory.free_bytes(),
            host_allocations: self.host.len() as u64,
            contexts: self.contexts.len() as u64,
            modules: self.modules.len() as u64,
            streams: self.streams.len() as u64,
            events: self.events.len() as u64,
            unknown_copied: self.memory.unknown_copied,
        }
    }

    /// A new device. Page-locked memory stays the host's, and handles are never used again.
    pub(crate) fn reset(&mut self) {
        let (host, last_handle) = (std::mem::take(&mut self.host), self.last_handle);
        *self = Self { host, last_handle, ..Self::new() };
    }

    /// Keeps `text` to be read, and prints it.
    fn say(&mut self, text: String) {
        eprintln!("densekd-device: {text}");
        self.report = text;
    }
}

/// Runs `work` on the one driver of the process.
pub(crate) fn with<T>(work: impl FnOnce(&mut Driver) -> T) -> T {
    static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    work(driver.get_or_insert_with(Driver::new))
}
