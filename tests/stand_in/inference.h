// The arguments of an inference's two kernels. A kernel takes one: a struct of 8-byte fields, which the compilers for a
// card and for a CPU lay out alike. Addresses are device addresses.
#pragma once

typedef unsigned long long u64;

// Device memory that an inference may use: first and last byte are read.
struct Used {
    u64 address, bytes;
};
constexpr int MOST_USED = 6;

struct Gate {
    u64 rows;
    u64 hang, fault;    // the inference that hangs, and the one that faults the device; 0: none
    u64 hang_ns;        // how long a hang lasts; 0: forever
    // Host memory with a count of changed shapes, and the count at capture. 0 on a card, which cannot read it.
    u64 shapes, shapes_then;
    Used used[MOST_USED];
};

struct Compute {
    u64 in, out;
    u64 in_values, out_values;    // in a row
    u64 in_step;                  // values from one row of the input to the next: in_values, or 0 without a batch
    u64 rows;
    u64 in_half, out_half;    // 1: f16, 0: f32
    u64 scale, shift;
    u64 mixes;    // 1: the first values of all rows are added to every value
    u64 ns;    // how long the kernel lasts at least
};
