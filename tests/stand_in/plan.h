// A stand-in's plan: a small text that says what a real plan would, less the network.
//
//     stand-in plan
//     input diffraction f16 N 1 128 128
//     output amplitude f32 N 1 128 128
//     batch 1 8 16
//     workspace 1048576
//     weights 4096
//     mixes 1
//
// N, which may only come first, is the batch: `batch 8` fixes it, `batch 1 8 16` gives the least,
// the best and the most. `workspace` is device memory each execution context takes, `weights` what
// the engine takes, in bytes; both are 0 unless given. With `mixes 1` every value depends on the other rows
// of the batch, so that a test sees what is in the rows of a batch that are empty. Types: f32 f16 bf16 i8 u8 i32 i64.
// A plan that was parsed has at least one input and one output, all names differ, and every N has
// a batch.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <string>
#include <vector>

constexpr char PLAN_HEADER[] = "stand-in plan";

struct Tensor {
    std::string name;
    nvinfer1::DataType type;
    bool input;
    bool batched;            // the first dimension is N
    nvinfer1::Dims dims;     // N as -1
    int64_t row_elements;    // in one item of the batch, or in all when there is no batch

    nvinfer1::Dims shape(int64_t batch) const;    // with N put in
    size_t bytes(int64_t batch) const;
};

struct Plan {
    std::vector<Tensor> tensors;
    int64_t least = 0, best = 0, most = 0;
    size_t workspace = 0, weights = 0, mixes = 0;

    bool dynamic() const { return least != most; }
    Tensor const* find(char const* name) const;

    // False, with `why` set, when the text is no plan.
    bool parse(std::string const& text, std::string& why);
};

size_t size_of(nvinfer1::DataType type);
