//! Copying between guests' memory and ours.

/// Bytes up to which a copy is made in line, as those of heads are: a call of memmove costs as much as the copy itself.
const INLINE_MAX: usize = 128;

/// Copies `len` bytes from `from` to `to`. Should the two overlap, the bytes that arrive are undefined, and
/// nothing else is touched.
///
/// A short copy is made of two pieces of fixed length, the first bytes and the last, which overlap unless `len` is twice as long: of a
/// loop the compiler would make a call of memcpy again.
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
    // SAFETY: as the caller says; neither piece is longer than `len`.
    unsafe {
        match len {
            65.. => copy_ends::<4>(from, to, len),
            33.. => copy_ends::<2>(from, to, len),
            _ => copy_ends::<1>(from, to, len),
        }
    }
}

/// Copies the first and the last `N` times sixteen bytes of `len`.
///
/// # Safety
/// As for [`copy`]; `len` is as many at least.
#[inline]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let last = len - 16 * N;
    for first in [0, last] {
        for piece in 0..N {
            let at = first + 16 * piece;
            // SAFETY: the sixteen bytes from `at` on are inside of both ranges; no alignment is asked for.
            unsafe {
                to.add(at).cast::<u128>().write_unaligned(from.add(at).cast::<u128>().read_unaligned())
            };
        }
    }
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
