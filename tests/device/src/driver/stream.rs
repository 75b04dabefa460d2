//! Streams and events. Work is done at once, in the order of the calls, which every stream allows.
use super::code::{self, Answer};
use super::{Driver, Handle};

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) context: Handle,
    flags: u32,
    priority: i32,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) context: Handle,
    flags: u32,
    /// Instructions of all kernels when it was recorded.
    at: Option<u64>,
}

/// `CU_EVENT_DISABLE_TIMING`.
const WITHOUT_TIME: u32 = 2;

impl Driver {
    /// Least and greatest priority.
    pub(crate) const PRIORITIES: (i32, i32) = (0, -5);

    pub(crate) fn stream_create(&mut self, flags: u32, priority: i32) -> Answer<Handle> {
        let context = self.current()?;
        if flags > 1 {
            return Err(code::INVALID_VALUE);
        }
        let priority = priority.clamp(Self::PRIORITIES.1, Self::PRIORITIES.0);
        let handle = self.handle();
        self.streams.insert(handle, Stream { context, flags, priority });
        Ok(handle)
    }

    pub(crate) fn stream_destroy(&mut self, stream: Handle) -> Answer<()> {
        self.current()?;
        self.streams.remove(&stream).map(|_| ()).ok_or(code::INVALID_HANDLE)
    }

    /// The default streams, 0 to 2, or one of the context. A failed launch is said here.
    pub(crate) fn stream(&self, stream: Handle) -> Answer<()> {
        let context = self.current()?;
        match self.streams.get(&stream) {
            Some(s) if s.context == context => Ok(()),
            None if stream <= 2 => Ok(()),
            _ => Err(code::INVALID_HANDLE),
        }
    }

    pub(crate) fn stream_flags(&self, stream: Handle) -> Answer<u32> {
        self.stream(stream).map(|()| self.streams.get(&stream).map_or(0, |s| s.flags))
    }

    pub(crate) fn stream_priority(&self, stream: Handle) -> Answer<i32> {
        self.stream(stream).map(|()| self.streams.get(&stream).map_or(0, |s| s.priority))
    }

    pub(crate) fn stream_context(&self, stream: Handle) -> Answer<Handle> {
        self.stream(stream)?;
        self.current()
    }

    pub(crate) fn event_create(&mut self, flags: u32) -> Answer<Handle> {
        let context = self.current()?;
        let handle = self.handle();
        self.events.insert(handle, Event { context, flags, at: None });
        Ok(handle)
    }

    pub(crate) fn event_destroy(&mut self, event: Handle) -> Answer<()> {
        self.current()?;
        self.events.remove(&event).map(|_| ()).ok_or(code::INVALID_HANDLE)
    }

    pub(crate) fn event_record(&mut self, event: Handle, stream: Handle) -> Answer<()> {
        self.stream(stream)?;
        let now = self.counters.values().map(|c| c.instructions).sum();
        self.events.get_mut(&event).map(|e| e.at = Some(now)).ok_or(code::INVALID_HANDLE)
    }

    pub(crate) fn event(&self, event: Handle) -> Answer<()> {
        self.current()?;
        self.events.get(&event).map(|_| ()).ok_or(code::INVALID_HANDLE)
    }

    /// Milliseconds, at one instruction a nanosecond: more work is more time, and no more than that is meant.
    pub(crate) fn elapsed(&self, start: Handle, end: Handle) -> Answer<f32> {
        self.current()?;
        let at = |event| {
            let e = self.events.get(&event).filter(|e| e.flags & WITHOUT_TIME == 0);
            e.and_then(|e| e.at).ok_or(code::INVALID_HANDLE)
        };
        Ok((at(end)? as f32 - at(start)? as f32) * 1e-6)
    }
}
