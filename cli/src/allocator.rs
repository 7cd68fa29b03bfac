//! The allocator of the process: mimalloc, asked for alignment only where its plain calls do not give
//! it anyway.
//!
//! Nearly everything that is allocated needs no more than a word's alignment. Asked for it by name,
//! mimalloc looks for a block that happens to fit and else takes a larger one and moves within it, which
//! costs several times the plain call for every size over a kilobyte.
//!
//! Invariant: a block of mimalloc is aligned to a word, one of at least [`ALIGN_BLOCK`] bytes to
//! [`ALIGN_BLOCK`] (`MI_MAX_ALIGN_SIZE`, `mi_bin` and `mi_page_malloc_zero` in its source).

#![expect(unsafe_code, reason = "an allocator has no safe interface")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

/// What a block of this size or more is aligned to.
const ALIGN_BLOCK: usize = 16;

/// The allocator.
pub(crate) struct Allocator;

/// Whether any block of the size is aligned enough.
#[inline]
const fn is_aligned_anyway(size: usize, align: usize) -> bool {
    align <= size_of::<usize>() || (align <= ALIGN_BLOCK && size >= ALIGN_BLOCK)
}

// SAFETY: mimalloc's calls keep the contract of the trait, at the alignment they are asked for; the plain
// ones are made only where every block has the alignment, see `is_aligned_anyway`. All of its blocks
// are grown and given back by the same calls, whichever of them made them.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, and a layout's alignment is a power of two.
        unsafe {
            match is_aligned_anyway(size, align) {
                true => mi_malloc(size).cast(),
                false => mi_malloc_aligned(size, align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as in `alloc`.
        unsafe {
            match is_aligned_anyway(size, align) {
                true => mi_zalloc(size).cast(),
                false => mi_zalloc_aligned(size, align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller gives back what one of the calls here made.
        unsafe { mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's block was made here. It stays where it is, aligned as it was, or moves
        // into a new block of the size.
        unsafe {
            match is_aligned_anyway(size, layout.align()) {
                true => mi_realloc(block.cast(), size).cast(),
                false => mi_realloc_aligned(block.cast(), size, layout.align()).cast(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes around every class of blocks up to those that are mapped alone.
    fn sizes() -> impl Iterator<Item = usize> {
        let powers = (0..24).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
        (1..2_048).chain(powers).filter(|size| *size > 0)
    }

    #[test]
    fn every_block_is_aligned_as_it_was_asked_for() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4_096] {
            for size in sizes() {
                let layout = Layout::from_size_align(size, align).unwrap();
                let grown = Layout::from_size_align(size * 3 + 1, align).unwrap();
                // SAFETY: no size is zero, and each block is given back once with its own layout.
                unsafe {
                    let (first, zeroed) = (Allocator.alloc(layout), Allocator.alloc_zeroed(layout));
                    assert!(!first.is_null() && !zeroed.is_null());
                    assert!((0..size).all(|at| zeroed.add(at).read() == 0), "{layout:?}");
                    first.add(size - 1).write(7);
                    let moved = Allocator.realloc(first, layout, grown.size());
                    for block in [zeroed, moved] {
                        assert_eq!(block.align_offset(align), 0, "{layout:?}");
                    }
                    assert_eq!(moved.add(size - 1).read(), 7);
                    Allocator.dealloc(zeroed, layout);
                    Allocator.dealloc(moved, grown);
                }
            }
        }
    }
}
