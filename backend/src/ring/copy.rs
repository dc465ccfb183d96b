//! Copying between guests' memory and ours.

/// Bytes up to which a copy is made in line: a call of memmove costs as much as the copy itself.
const INLINE_MAX: usize = 256;

/// Copies `len` bytes from `from` to `to`. Should the two overlap, the bytes that arrive are undefined, and
/// nothing else is touched.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes. Either may be memory that a guest changes meanwhile.
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    if !(16..=INLINE_MAX).contains(&len) {
        // SAFETY: as the caller says; this one allows for an overlap.
        unsafe { std::ptr::copy(from, to, len) };
        return;
    }
    let mut at = 0;
    while at + 16 <= len {
        // SAFETY: the sixteen bytes from `at` on are inside of both ranges.
        unsafe { copy_16(from.add(at), to.add(at)) };
        at += 16;
    }
    // The rest, together with some bytes that were copied already.
    // SAFETY: `len >= 16`, so the last sixteen bytes are inside of both ranges.
    unsafe { copy_16(from.add(len - 16), to.add(len - 16)) };
}

/// # Safety
/// As for [`copy`], for 16 bytes.
#[inline]
unsafe fn copy_16(from: *const u8, to: *mut u8) {
    // SAFETY: as the caller says; no alignment is asked for.
    unsafe { to.cast::<u128>().write_unaligned(from.cast::<u128>().read_unaligned()) };
}

/// Writes `value` to `to` unless it stands there already.
///
/// A line that both sides only read stays in the caches of both. Most headers and used entries are what the
/// place held when it was used last: to write them again would take the line from the other processor for
/// nothing, and every store after it would wait for that.
///
/// # Safety
/// `to` must be readable and writable for the size of `T`, at any alignment. It may be memory that a guest changes
/// meanwhile: then the guest has what it wrote itself.
#[inline]
pub(super) unsafe fn write_if_different<T: Copy + PartialEq>(to: *mut T, value: T) {
    // SAFETY: as the caller says.
    unsafe {
        if to.read_unaligned() != value {
            to.write_unaligned(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn every_length_arrives_whole_and_nothing_beside_it() {
        let from: Vec<u8> = (0..400u16).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for len in 0..400 {
            let mut to = vec![0xee; 402];
            // SAFETY: both vectors are longer than `len`.
            unsafe { copy(from.as_ptr(), to.as_mut_ptr().add(1), len) };
            assert_eq!(to[1..=len], from[..len]);
            assert!(to[0] == 0xee && to[len + 1..].iter().all(|byte| *byte == 0xee));
        }
    }
}
