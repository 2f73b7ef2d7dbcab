// What the two stand-ins say to each other: the TensorRT stand-in finds these functions in the
// driver stand-in with dlsym, so that an inference is an ordinary operation of a stream. They are
// C functions because a test may look them up as well.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// A piece of device memory that an operation reads or writes.
struct StandInRange {
    uint64_t address;
    size_t bytes;
};

// The work of an operation: `memory[i]` is where range i lies in host memory.
typedef void (*StandInWork)(void* argument, void* const* memory);

// Puts one inference on a stream, or into the graph the stream is capturing. Returns a CUresult.
// Owns `argument` from the call on, also when it fails: `release` is called once the operation
// can no longer run. `release` must not call the driver.
int stand_in_enqueue(void* stream, StandInRange const* ranges, size_t count, StandInWork work,
                     void* argument, void (*release)(void*));

// 1 when the whole range lies in one live allocation of the calling thread's device.
int stand_in_is_live(uint64_t address, size_t bytes);

// 1 when STAND_IN_FAULTS names this fault ("capture-fails", "lazy-alloc").
int stand_in_has_fault(char const* name);

// Puts a line into the report's list of misuses.
void stand_in_misuse(char const* text);

// Counts execution contexts: +1 for one made, -1 for one gone.
void stand_in_count_contexts(int change);

// Counts rows, items of a batch, that an inference computes.
void stand_in_count_rows(int64_t rows);

// Writes the report as JSON, cut to `size` bytes with a closing zero, and returns its full length.
size_t stand_in_report_json(char* text, size_t size);
}
