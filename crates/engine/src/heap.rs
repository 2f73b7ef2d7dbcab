//! The process's heap.

/// Returns freed memory to the system.
///
/// The image sets the allocator's trim threshold so high that freed memory stays with the process, which is right for
/// the frames of each call. TensorRT's builder and its compiler take hundreds of megabytes once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: declared in glibc's malloc.h. It may be called at any time, from any thread.
    unsafe { malloc_trim(0) };
}

/// Nothing: only glibc keeps freed memory.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}

#[cfg(test)]
mod tests {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn freed_memory_is_given_back_although_newer_memory_is_in_use() {
        const BLOCK: usize = 1 << 10;
        const BLOCKS: usize = 64 << 10;
        let resident = || {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let mut blocks: Vec<_> = (0..BLOCKS).map(|_| vec![1_u8; BLOCK]).collect();
        // What is in use above the freed blocks keeps the allocator from giving them back by itself.
        let newest = blocks.pop();
        drop(blocks);
        let before = resident();
        super::give_back();
        let after = resident();
        assert!(
            after + BLOCKS * BLOCK / 2 < before,
            "{before} then {after} bytes"
        );
        drop(newest);
    }
}
