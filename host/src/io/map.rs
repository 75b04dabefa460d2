//! The one place that maps a file into memory.
#![allow(unsafe_code, reason = "mapping a file is unsafe by nature; see the contract below")]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file for reading.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: `Mmap::map` asks that the file is neither changed nor cut off while it is mapped.
    // What can be proved here: the map is read-only, this crate never writes into a file in place
    // (its writers rename a new file over the old one, which leaves the mapped one as it was), and
    // no reference into the map outlives it, as every one borrows from its owner.
    // What cannot be proved: that no other program touches the file. On the usual systems a file
    // cut off while mapped ends this process by a signal (SIGBUS) at the next access past the new
    // end, and a file written in place makes bytes change under a shared reference, which the
    // language leaves undefined even though every bit pattern is a valid number. No call that is
    // portable rules this out, so it is the user's part of the contract, stated in the docs of
    // `io`: a file stays untouched as long as a tensor read from it lives.
    unsafe { Mmap::map(file) }
}
