// What both libraries read from the environment.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

inline size_t number(char const* name, size_t otherwise) {
    char const* text = std::getenv(name);
    return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// STAND_IN_FAULTS; README.md describes each. An ordinal of 0 means that the fault is not asked for.
struct Faults {
    std::vector<uint64_t> enqueue_errors;
    uint64_t hang = 0, device_fault = 0, record_error = 0;
    bool capture_fails = false, lazy_alloc = false;

    Faults() {
        char const* list = std::getenv("STAND_IN_FAULTS");
        std::stringstream words(list ? list : "");
        for (std::string word; std::getline(words, word, ',');)
            if (!word.empty() && !add(word)) {
                std::fprintf(stderr, "stand-in: STAND_IN_FAULTS has no fault \"%s\"\n", word.c_str());
                std::abort();    // a test with a mistyped fault would pass without it
            }
    }

    bool refuses(uint64_t enqueue) const {
        for (uint64_t const refused : enqueue_errors)
            if (refused == enqueue) return true;
        return false;
    }

private:
    bool add(std::string const& word) {
        size_t const at = word.find('@');
        std::string const name = word.substr(0, at);
        if (at == std::string::npos) {
            if (name == "capture-fails") return capture_fails = true;
            if (name == "lazy-alloc") return lazy_alloc = true;
            return false;
        }
        uint64_t const ordinal = std::strtoull(&word[at + 1], nullptr, 10);
        if (ordinal == 0) return false;
        if (name == "enqueue-error") return enqueue_errors.push_back(ordinal), true;
        if (name == "hang") return hang = ordinal, true;
        if (name == "record-error") return record_error = ordinal, true;
        if (name == "device-fault") return device_fault = ordinal, true;
        return false;
    }
};
