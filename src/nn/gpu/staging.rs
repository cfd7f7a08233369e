//! What the host sends: it is collected in pinned memory, goes to the GPU in one copy, and is found there at the same address at
//! every step, so that a recorded step can be replayed with other numbers.

use std::ffi::c_void;
use std::ptr;

use cudarc_19::driver::{result, sys};

use super::driver::GpuError;

/// Copies of the host's side: one is filled while the others may still be on their way.
const SLOTS: usize = 4;
/// Bytes to begin with.
const LEAST: usize = 1 << 16;
/// Where what is sent may begin: at multiples of so many bytes.
const ALIGNMENT: usize = 16;

/// Pinned memory of the host, and the event that its last copy is done.
#[derive(Debug)]
struct Slot {
    host: *mut u8,
    sent: sys::CUevent,
    is_on_its_way: bool,
}

/// What is collected for the next copy.
#[derive(Debug, Default)]
pub(super) struct Staging {
    slots: Vec<Slot>,
    current: usize,
    device: u64,
    capacity: usize,
    used: usize,
    /// All memory of the GPU that it has, with its bytes: recorded steps still name that of before it grew.
    blocks: Vec<(u64, usize)>,
}

impl Staging {
    /// Whether there is room for so many bytes more.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used + bytes.next_multiple_of(ALIGNMENT) <= self.capacity
    }

    /// Makes it as large as so many bytes need. Nothing may be collected. Where it fails, it stays as it was.
    pub fn grow(&mut self, bytes: usize) -> Result<(), GpuError> {
        assert_eq!(self.used, 0, "what was collected is sent first");
        let capacity = bytes.next_power_of_two().max(LEAST);
        if capacity <= self.capacity {
            return Ok(());
        }
        for slot in &self.slots {
            wait(slot)?;
        }
        // SAFETY: the size is not zero; the thread entered the GPU before.
        let device = unsafe { result::malloc_sync(capacity) }?;
        self.blocks.push((device, capacity));
        let mut slots = Vec::with_capacity(SLOTS);
        for _ in 0..SLOTS {
            match Slot::new(capacity) {
                Ok(slot) => slots.push(slot),
                Err(error) => {
                    slots.into_iter().for_each(Slot::free);
                    return Err(error);
                }
            }
        }
        std::mem::replace(&mut self.slots, slots).into_iter().for_each(Slot::free);
        (self.device, self.capacity, self.current) = (device, capacity, 0);
        Ok(())
    }

    /// Whether this address is in the memory to which it sends.
    pub fn holds(&self, at: u64) -> bool {
        self.blocks.iter().any(|(begin, bytes)| (*begin..*begin + *bytes as u64).contains(&at))
    }

    /// Collects bytes; where they will be on the GPU. There must be room.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        assert!(self.has_room(bytes.len()), "room was made before");
        let slot = &self.slots[self.current];
        let padded = bytes.len().next_multiple_of(ALIGNMENT);
        // SAFETY: the slot has `capacity` bytes, of which those from `used` on are free, and its last copy is done, as `send`
        // waited for it. What lies between is written too, so that all that is collected can be compared.
        unsafe {
            let into = slot.host.add(self.used);
            ptr::copy_nonoverlapping(bytes.as_ptr(), into, bytes.len());
            ptr::write_bytes(into.add(bytes.len()), 0, padded - bytes.len());
        }
        let at = self.device + self.used as u64;
        self.used += padded;
        at
    }

    /// What was collected.
    pub fn collected(&self) -> &[u8] {
        match self.slots.get(self.current) {
            // SAFETY: the slot has `capacity` bytes, of which the first `used` were written.
            Some(slot) => unsafe { std::slice::from_raw_parts(slot.host, self.used) },
            None => &[],
        }
    }

    /// Collects what was collected before, at the same places, to be changed; what is collected already stays. There must be
    /// room.
    pub fn collect_again(&mut self, bytes: &[u8]) -> &mut [u8] {
        let more = &bytes[self.used..];
        if !more.is_empty() {
            self.put(more);
        }
        assert_eq!(self.used, bytes.len(), "as many bytes as then");
        match self.slots.get(self.current) {
            // SAFETY: the slot's first bytes are written, and its last copy is done, as `send` waited for it.
            Some(slot) => unsafe { std::slice::from_raw_parts_mut(slot.host, self.used) },
            None => &mut [],
        }
    }

    /// Sends what was collected, before everything that is asked of the stream from here on.
    pub fn send(&mut self, stream: sys::CUstream) -> Result<(), GpuError> {
        if self.used == 0 {
            return Ok(());
        }
        let slot = &mut self.slots[self.current];
        // SAFETY: the slot holds `used` bytes and the GPU's side as many; both outlive the copy, as the slot is waited for before
        // it is filled or freed.
        unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                self.device,
                slot.host.cast_const().cast::<c_void>(),
                self.used,
                stream,
            )
            .result()?;
            result::event::record(slot.sent, stream)?;
        }
        slot.is_on_its_way = true;
        self.used = 0;
        self.current = (self.current + 1) % SLOTS;
        let next = &mut self.slots[self.current];
        wait(next)?;
        next.is_on_its_way = false;
        Ok(())
    }

    /// Frees everything. Nothing that was asked of the GPU may still wait.
    pub fn free(&mut self) {
        self.slots.drain(..).for_each(Slot::free);
        for (at, _) in self.blocks.drain(..) {
            // SAFETY: the block is this struct's own, and nobody uses it any more. One that is not taken back is lost.
            let _ = unsafe { result::free_sync(at) };
        }
        *self = Self::default();
    }
}

impl Slot {
    fn new(capacity: usize) -> Result<Self, GpuError> {
        let sent = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        // SAFETY: the size is not zero; the thread entered the GPU before.
        match unsafe { result::malloc_host(capacity, 0) } {
            Ok(host) => Ok(Self { host: host.cast(), sent, is_on_its_way: false }),
            Err(error) => {
                // SAFETY: the event is new.
                let _ = unsafe { result::event::destroy(sent) };
                Err(error.into())
            }
        }
    }

    /// Gives back its memory and its event. What the driver does not take is lost.
    fn free(self) {
        // SAFETY: both are the slot's own, and its copy is done.
        unsafe {
            let _ = result::free_host(self.host.cast());
            let _ = result::event::destroy(self.sent);
        }
    }
}

/// Waits until a slot's copy is done, which it is already but for a host that is several steps ahead.
fn wait(slot: &Slot) -> Result<(), GpuError> {
    if !slot.is_on_its_way {
        return Ok(());
    }
    // SAFETY: the event is the slot's own.
    unsafe {
        match result::event::query(slot.sent) {
            Err(result::DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => {
                Ok(result::event::synchronize(slot.sent)?)
            }
            asked => Ok(asked?),
        }
    }
}
