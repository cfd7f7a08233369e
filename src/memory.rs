//! Where large buffers go when they are done with: back to the next step, not to the kernel.
//!
//! A training step allocates the same sizes again and again. Fresh pages cost more than the
//! arithmetic done on them, so freed memory is kept. Nothing here changes a number.
//!
//! dfdx's own allocation cache is as fast, but it never evicts and panics when threads share a
//! device; leave it off.

use std::cell::RefCell;
use std::mem;
use std::ops::{Deref, DerefMut};

/// Buffers a thread keeps at most; the oldest go first.
const KEPT: usize = 48;

/// Smaller buffers are left to the allocator, which is quick with them.
const WORTH_KEEPING: usize = 4096;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Tells the C allocator to keep freed memory for the process. Called once, when a program starts;
/// does nothing where the allocator is not glibc's.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `mallopt` takes two numbers and only changes the allocator's settings.
        unsafe {
            // Never an `mmap` of its own for a large block, which a `free` would give back.
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            // One heap for all threads: those of other threads are small and given back early.
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// A buffer of `len` numbers of any value, to be overwritten.
pub(crate) fn take(len: usize) -> Vec<f32> {
    let fits = |buffer: &Vec<f32>| buffer.capacity() >= len && buffer.capacity() <= len + len / 8;
    let found = BUFFERS.with_borrow_mut(|buffers| {
        // The one given back last is the likeliest to be in the processor's cache.
        let at = buffers.iter().rposition(fits)?;
        Some(buffers.remove(at))
    });
    let mut buffer = found.unwrap_or_default();
    buffer.resize(len, 0.0);
    buffer
}

/// Gives a buffer to this thread's next [`take`].
pub(crate) fn give(buffer: Vec<f32>) {
    if buffer.capacity() < WORTH_KEEPING {
        return;
    }
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() == KEPT {
            buffers.remove(0);
        }
        buffers.push(buffer);
    });
}

/// Numbers that several may hold. Made of a buffer of this thread, their memory goes back to it when
/// nobody holds them any more.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    /// Whether the memory goes to the next `take`.
    returns: bool,
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        Self { values, returns: true }
    }
}

impl Buffer {
    /// Numbers that came from elsewhere, such as images that another thread put together. Their memory is
    /// freed: nobody here would ever take it, and it would pile up.
    pub(crate) fn of_others(values: Vec<f32>) -> Self {
        Self { values, returns: false }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.returns {
            give(mem::take(&mut self.values));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_taken_again() {
        let buffer = take(10_000);
        let address = buffer.as_ptr();
        give(buffer);
        let again = take(9_900);
        assert_eq!((again.as_ptr(), again.len()), (address, 9_900));
    }

    #[test]
    fn numbers_of_others_do_not_pile_up() {
        let before = BUFFERS.with_borrow(Vec::len);
        drop(Buffer::of_others(vec![0.0; 2 * WORTH_KEEPING]));
        assert_eq!(BUFFERS.with_borrow(Vec::len), before);
        drop(Buffer::from(vec![0.0; 2 * WORTH_KEEPING]));
        assert_eq!(BUFFERS.with_borrow(Vec::len), before + 1);
    }

    #[test]
    fn a_much_larger_buffer_is_not_wasted_on_a_small_request() {
        give(vec![0.0; 100_000]);
        assert!(take(5_000).capacity() < 100_000);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_buffers() {
        for _ in 0..2 * KEPT {
            give(vec![0.0; WORTH_KEEPING]);
        }
        assert!(BUFFERS.with_borrow(Vec::len) <= KEPT);
    }
}
