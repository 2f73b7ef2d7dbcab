// Settings, counters and the report of the driver stand-in. Settings are read from the environment
// once, at first use; README.md lists them.
//
// The report tells what a test cannot see from outside: how often the program ran, captured and
// copied, what it never gave back, and what it did that a real driver would let pass in silence
// or punish much later. Each distinct misuse is one line, with its count when it happened more
// than once. Memory and handles given back to a faulted device count as given back.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "driver.h"
#include "stand_in.h"

Settings::Settings()
    : devices(number("STAND_IN_DEVICES", 1)),
      memory(number("STAND_IN_MEMORY", size_t{1} << 30)),
      copy(number("STAND_IN_COPY_US", 0)),
      bare(number("STAND_IN_BARE", 0) != 0) {
    char const* path = std::getenv("STAND_IN_REPORT");
    if (path && !bare) report = path;
}

State& state() {
    static State* const only = new State;
    return *only;
}

void misuse(std::string const& text) {
    auto& list = state().counters.misuse;
    for (auto& [known, times] : list)
        if (known == text) {
            ++times;
            return;
        }
    if (list.size() < 100) list.emplace_back(text, 1);
}

static std::string quoted(std::string const& text) {
    std::string out = "\"";
    for (char letter : text) {
        if (letter == '"' || letter == '\\') out += '\\';
        out += static_cast<unsigned char>(letter) < ' ' ? ' ' : letter;
    }
    return out + '"';
}

static std::string json() {
    State& all = state();
    Lock lock(all.mutex);
    Counters const& c = all.counters;
    std::ostringstream out;
    out << "{\"enqueues\":" << c.enqueues << ",\"graph_launches\":" << c.graph_launches
        << ",\"captures\":" << c.captures << ",\"failed_captures\":" << c.failed_captures
        << ",\"copies_in\":" << c.copies_in << ",\"bytes_in\":" << c.bytes_in
        << ",\"copies_out\":" << c.copies_out << ",\"bytes_out\":" << c.bytes_out
        << ",\"live_device_bytes\":" << c.live_device_bytes
        << ",\"peak_device_bytes\":" << c.peak_device_bytes
        << ",\"live_host_bytes\":" << c.live_host_bytes
        << ",\"live_streams\":" << all.streams.live.size()
        << ",\"live_events\":" << all.events.live.size()
        << ",\"live_graphs\":" << all.graphs.live.size()
        << ",\"live_graph_execs\":" << all.execs.live.size()
        << ",\"live_contexts_execution\":" << c.live_contexts_execution
        << ",\"blocking_sync_events\":" << c.blocking_sync_events
        << ",\"rows\":" << c.rows << ",\"misuse\":[";
    char const* comma = "";
    for (auto const& [text, times] : c.misuse) {
        out << comma << quoted(times > 1 ? text + " [" + std::to_string(times) + " times]" : text);
        comma = ",";
    }
    out << "]}";
    return out.str();
}

EXPORT size_t stand_in_report_json(char* text, size_t size) {
    std::string const report = json();
    if (text && size) {
        size_t const kept = std::min(size - 1, report.size());
        std::memcpy(text, report.data(), kept);
        text[kept] = '\0';
    }
    return report.size();
}

EXPORT void stand_in_misuse(char const* text) {
    Lock lock(state().mutex);
    misuse(text);
}

EXPORT void stand_in_count_contexts(int change) {
    Lock lock(state().mutex);
    state().counters.live_contexts_execution += change;
}

// At the end of the process. The file appears whole or not at all.
__attribute__((destructor)) static void write_report() {
    std::string const& path = state().settings.report;
    if (path.empty()) return;
    std::string const part = path + ".part";
    std::FILE* file = std::fopen(part.c_str(), "w");
    bool written = file && std::fputs((json() + "\n").c_str(), file) >= 0;
    if (file) written = std::fclose(file) == 0 && written;
    if (!written || std::rename(part.c_str(), path.c_str()) != 0)
        std::fprintf(stderr, "stand-in: cannot write the report to %s\n", path.c_str());
}
