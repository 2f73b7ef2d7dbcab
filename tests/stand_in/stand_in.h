// What the driver stand-in offers besides the driver's own functions, for the TensorRT stand-in and for tests. They
// are C functions, found with dlsym: the real driver has none of them, and the TensorRT stand-in does without.
#pragma once

#include <cstddef>

extern "C" {

// Puts a line into the report's list of misuses.
void stand_in_misuse(char const* text);

// Counts execution contexts on the current device: +1 for one made, -1 for one gone.
void stand_in_count_contexts(int change);

// Counts an engine that was opened, and a compilation of kernels.
void stand_in_count_engine();
void stand_in_count_compilation();

// Whether the current device has a fault.
int stand_in_device_is_lost();

// Writes the report as JSON, cut to `size` bytes with a closing zero, and returns its full length.
size_t stand_in_report_json(char* text, size_t size);
}
