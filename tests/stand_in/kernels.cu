// The kernels for a card. build.sh makes PTX of this with clang; no CUDA toolkit is needed.
#include "kernels.h"

#define KERNEL extern "C" __attribute__((global)) void

// Inferences begun and rows computed, since the module was loaded.
__attribute__((device)) u64 inferences, rows_computed;

ON_DEVICE u64 now_ns() {
    u64 ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}
ON_DEVICE u64 begin(u64 rows) {
    u64 before;
    asm volatile("red.add.u64 [%0], %1;" ::"l"(&rows_computed), "l"(rows) : "memory");
    asm volatile("atom.add.u64 %0, [%1], 1;" : "=l"(before) : "l"(&inferences) : "memory");
    return before + 1;
}
ON_DEVICE void wait_until(u64 ns) {
    while (now_ns() < ns) {
    }
}
// A write to an address that is never mapped: CUDA_ERROR_ILLEGAL_ADDRESS, which stays until the process ends.
ON_DEVICE void fault() { *reinterpret_cast<int volatile*>(16) = 1; }
ON_DEVICE void hang(int) {}
ON_DEVICE void stale_graph() {}    // Gate::shapes is 0 on a card
ON_DEVICE float to_single(unsigned short half) {
    float single;
    asm("cvt.f32.f16 %0, %1;" : "=f"(single) : "h"(half));
    return single;
}
ON_DEVICE unsigned short to_half(float single) {
    unsigned short half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(single));
    return half;
}

ON_DEVICE unsigned thread() {
    unsigned value;
    asm("mov.u32 %0, %%tid.x;" : "=r"(value));
    return value;
}
ON_DEVICE unsigned threads() {
    unsigned value;
    asm("mov.u32 %0, %%ntid.x;" : "=r"(value));
    return value;
}
ON_DEVICE unsigned block() {
    unsigned value;
    asm("mov.u32 %0, %%ctaid.x;" : "=r"(value));
    return value;
}
ON_DEVICE unsigned blocks() {
    unsigned value;
    asm("mov.u32 %0, %%nctaid.x;" : "=r"(value));
    return value;
}

KERNEL gate(Gate argument) { run_gate(argument); }
KERNEL compute(Compute argument) {
    u64 const size = threads();
    run_compute(argument, block() * size + thread(), blocks() * size);
}
