//! Room in which a thread's jobs keep what they know of entries until their gradient: a thread has one for all calls, since
//! memory that is new in each is slow to come by.

use std::cell::RefCell;

thread_local! {
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` on so many numbers; on none where the thread is already at work on its own.
pub(super) fn with_room<T>(numbers: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    ROOM.with(|room| match room.try_borrow_mut() {
        Ok(mut room) => {
            if room.len() < numbers {
                room.resize(numbers, 0.0);
            }
            f(&mut room[..numbers])
        }
        Err(_) => f(&mut []),
    })
}
