//! The driver's functions through the shared library, as the code under test calls them.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod calls;
mod compiled;
mod cuda;
