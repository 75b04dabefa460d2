//! Contexts: which is current on a thread, and what a failed launch leaves in one.
use super::code::{self, Answer, Code};
use super::{Driver, Handle};
use std::cell::RefCell;

#[derive(Debug)]
pub(super) struct Context {
    device: i32,
    flags: u32,
    /// Times that the primary context is retained; None for one of its creator's own.
    retained: Option<u64>,
    /// The code of a failed launch: every later call answers it.
    failed: Option<Code>,
}

thread_local! {
    static CURRENT: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

fn top() -> Handle {
    CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or_default())
}

impl Driver {
    fn device(&self, device: i32) -> Answer<()> {
        self.initialised()?;
        if (0..self.settings.devices).contains(&device) { Ok(()) } else { Err(code::INVALID_DEVICE) }
    }

    /// The current context, usable.
    pub(super) fn current(&self) -> Answer<Handle> {
        self.initialised()?;
        match top() {
            0 => Err(code::INVALID_CONTEXT),
            context => match self.contexts.get(&context) {
                None => Err(code::CONTEXT_IS_DESTROYED),
                Some(Context { failed: Some(code), .. }) => Err(*code),
                Some(_) => Ok(context),
            },
        }
    }

    /// A launch in `context` failed: it is lost.
    pub(super) fn fail(&mut self, context: Handle, code: Code) {
        if let Some(context) = self.contexts.get_mut(&context) {
            context.failed = Some(code);
        }
    }

    pub(crate) fn primary_retain(&mut self, device: i32) -> Answer<Handle> {
        self.device(device)?;
        let handle = if let Some(&handle) = self.primary.get(&device) {
            handle
        } else {
            let handle = self.handle();
            self.primary.insert(device, handle);
            self.contexts.insert(handle, Context { device, flags: 0, retained: Some(0), failed: None });
            handle
        };
        if let Some(Context { retained: Some(count), .. }) = self.contexts.get_mut(&handle) {
            *count += 1;
        }
        Ok(handle)
    }

    pub(crate) fn primary_release(&mut self, device: i32) -> Answer<()> {
        self.device(device)?;
        let handle = *self.primary.get(&device).ok_or(code::INVALID_CONTEXT)?;
        if let Some(Context { retained: Some(count), .. }) = self.contexts.get_mut(&handle) {
            *count -= 1;
            if *count > 0 {
                return Ok(());
            }
        }
        self.primary.remove(&device);
        self.drop_context(handle);
        Ok(())
    }

    pub(crate) fn primary_reset(&mut self, device: i32) -> Answer<()> {
        self.device(device)?;
        if let Some(handle) = self.primary.remove(&device) {
            self.drop_context(handle);
        }
        Ok(())
    }

    /// Flags, and whether the primary context exists.
    pub(crate) fn primary_state(&self, device: i32) -> Answer<(u32, bool)> {
        self.device(device)?;
        let context = self.primary.get(&device).and_then(|h| self.contexts.get(h));
        Ok((context.map_or(0, |c| c.flags), context.is_some()))
    }

    pub(crate) fn primary_flags(&mut self, device: i32, flags: u32) -> Answer<()> {
        self.device(device)?;
        if let Some(context) = self.primary.get(&device).and_then(|h| self.contexts.get_mut(h)) {
            context.flags = flags;
        }
        Ok(())
    }

    /// A context of its own, current from now on.
    pub(crate) fn context_create(&mut self, flags: u32, device: i32) -> Answer<Handle> {
        self.device(device)?;
        let handle = self.handle();
        self.contexts.insert(handle, Context { device, flags, retained: None, failed: None });
        CURRENT.with_borrow_mut(|stack| stack.push(handle));
        Ok(handle)
    }

    pub(crate) fn context_destroy(&mut self, context: Handle) -> Answer<()> {
        self.initialised()?;
        match self.contexts.get(&context) {
            Some(Context { retained: None, .. }) => {
                if top() == context {
                    CURRENT.with_borrow_mut(Vec::pop);
                }
                self.drop_context(context);
                Ok(())
            }
            _ => Err(code::INVALID_CONTEXT),
        }
    }

    fn drop_context(&mut self, context: Handle) {
        self.contexts.remove(&context);
        let owned: Vec<u64> =
            self.owners.iter().filter(|(_, c)| **c == context).map(|(base, _)| *base).collect();
        for base in owned {
            self.owners.remove(&base);
            self.memory.free(base);
        }
        self.modules.retain(|_, m| m.context != context);
        let modules = &self.modules;
        self.functions.retain(|_, f| modules.contains_key(&f.module));
        self.streams.retain(|_, s| s.context != context);
        self.events.retain(|_, e| e.context != context);
    }

    /// 0 leaves none current.
    pub(crate) fn set_current(&self, context: Handle) -> Answer<()> {
        self.initialised()?;
        if context != 0 && !self.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        CURRENT.with_borrow_mut(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    }

    pub(crate) fn get_current(&self) -> Answer<Handle> {
        self.initialised().map(|()| top())
    }

    pub(crate) fn push_current(&self, context: Handle) -> Answer<()> {
        self.initialised()?;
        if !self.contexts.contains_key(&context) {
            return Err(code::INVALID_CONTEXT);
        }
        CURRENT.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    pub(crate) fn pop_current(&self) -> Answer<Handle> {
        self.initialised()?;
        CURRENT.with_borrow_mut(Vec::pop).ok_or(code::INVALID_CONTEXT)
    }

    pub(crate) fn current_device(&self) -> Answer<i32> {
        let context = self.current()?;
        self.contexts.get(&context).map(|c| c.device).ok_or(code::INVALID_CONTEXT)
    }

    pub(crate) fn context_flags(&self) -> Answer<u32> {
        let context = self.current()?;
        self.contexts.get(&context).map(|c| c.flags).ok_or(code::INVALID_CONTEXT)
    }

    /// All work has been done at once, so that only a failed launch is left to be said.
    pub(crate) fn synchronise(&self) -> Answer<()> {
        self.current().map(|_| ())
    }
}
