//! Buffers that are needed while a page arrives or is read, and by nobody meanwhile: thousands of pods share a few.

use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;
use windlass_metrics::Readings;

/// So many lie ready; what was needed beyond that is given back to the system.
const SPARE: usize = 64;
/// A buffer that one large page has made larger than this is not kept.
const LARGEST_SPARE: usize = 256 << 10;

static BYTES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static READINGS: Mutex<Vec<Readings>> = Mutex::new(Vec::new());

/// Bytes, given back when dropped.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty one.
    pub(crate) fn take() -> Self {
        Self(BYTES.lock().pop().unwrap_or_default())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() > 0 && bytes.capacity() <= LARGEST_SPARE {
            bytes.clear();
            give(&BYTES, bytes);
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

#[cfg(test)]
impl From<&str> for Buffer {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

/// Lends what reading a page needs; what it held before is of another page.
pub(crate) fn with_readings<T>(read: impl FnOnce(&mut Readings) -> T) -> T {
    let mut readings = READINGS.lock().pop().unwrap_or_default();
    let outcome = read(&mut readings);
    give(&READINGS, readings);
    outcome
}

fn give<T>(pool: &Mutex<Vec<T>>, spare: T) {
    let mut pool = pool.lock();
    if pool.len() < SPARE {
        pool.push(spare);
    }
}
