// The kernels of the stand-in's inference, in one source for both drivers. kernels.cu compiles it to PTX for a card,
// cuda_kernels.cpp for the stand-in driver, whose stream threads run it.
//
// An inference is one `gate`, which counts it and makes the faults, then one `compute` for each output, then as many
// empty ones as STAND_IN_KERNELS says. Value i of row r of output k is input[r][i mod n] × (k + 1) + k, where n is the
// number of values in a row of the input. An engine that mixes rows adds the first values of all rows.
#pragma once

#include "inference.h"

#ifdef __CUDA__
#define ON_DEVICE __attribute__((device)) inline
#else
#define ON_DEVICE inline
#endif

// What a processor provides. `begin` counts an inference and returns its number, from 1.
ON_DEVICE u64 now_ns();
ON_DEVICE u64 begin(u64 rows);
ON_DEVICE void wait_until(u64 ns);
ON_DEVICE void fault();
ON_DEVICE void hang(int change);    // +1: this kernel hangs from now on; -1: no longer
ON_DEVICE void stale_graph();
ON_DEVICE float to_single(unsigned short half);
ON_DEVICE unsigned short to_half(float single);

ON_DEVICE void run_gate(Gate const& gate) {
    u64 const number = begin(gate.rows);
    for (int k = 0; k < MOST_USED; ++k) {
        if (!gate.used[k].bytes) continue;
        auto const* bytes = reinterpret_cast<unsigned char const volatile*>(gate.used[k].address);
        (void)bytes[0];
        (void)bytes[gate.used[k].bytes - 1];
    }
    if (gate.shapes && *reinterpret_cast<u64 const volatile*>(gate.shapes) != gate.shapes_then)
        stale_graph();
    if (number == gate.hang) {
        hang(1);
        for (u64 const begun = now_ns(); !gate.hang_ns || now_ns() - begun < gate.hang_ns;)
            wait_until(now_ns() + 1000);
        hang(-1);
    }
    if (number == gate.fault) fault();
}

// Values `first`, `first + step`, … of all rows.
ON_DEVICE void run_compute(Compute const& c, u64 first, u64 step) {
    u64 const begun = now_ns();
    auto const scale = static_cast<float>(c.scale);
    auto shift = static_cast<float>(c.shift);
    auto const value = [&c](u64 at) {
        return c.in_half ? to_single(reinterpret_cast<unsigned short const*>(c.in)[at])
                         : reinterpret_cast<float const*>(c.in)[at];
    };
    for (u64 row = 0; c.mixes && row < c.rows; ++row) shift += value(row * c.in_step);
    for (u64 i = first; i < c.rows * c.out_values; i += step) {
        u64 const from = i / c.out_values * c.in_step + i % c.out_values % c.in_values;
        float const y = value(from) * scale + shift;
        if (c.out_half)
            reinterpret_cast<unsigned short*>(c.out)[i] = to_half(y);
        else
            reinterpret_cast<float*>(c.out)[i] = y;
    }
    wait_until(begun + c.ns);
}
