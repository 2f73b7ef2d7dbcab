// Settings, counters and the report of the driver stand-in. Settings are read from the environment
// once, at first use; README.md lists them.
//
// The report tells what a test cannot see from outside: how often the program ran, captured and
// copied, what it never gave back, and what it did that a real driver would let pass in silence
// or punish much later. Each distinct misuse is one line, with its count when it happened more
// than once. What is left on a faulted device does not count.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "driver.h"
#include "stand_in.h"

Settings::Settings()
    : devices(number("STAND_IN_DEVICES", 1)),
      memory(number("STAND_IN_MEMORY", size_t{1} << 30)),
      capability(8, 6),
      copy(number("STAND_IN_COPY_US", 0)),
      bare(number("STAND_IN_BARE", 0) != 0) {
    if (char const* text = std::getenv("STAND_IN_COMPUTE_CAPABILITY"))
        std::sscanf(text, "%d.%d", &capability.first, &capability.second);
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

// What is alive on devices without a fault: what a faulted one had goes with the process.
static size_t bytes_of(std::map<uint64_t, std::shared_ptr<Block>> const& blocks) {
    size_t bytes = 0;
    for (auto const& [address, block] : blocks)
        if (!block->device->faulted) bytes += block->bytes;
    return bytes;
}
template <class T>
static size_t count_of(Table<T> const& table) {
    size_t count = 0;
    for (auto const& [handle, object] : table.live) count += !object->device->faulted;
    return count;
}

static std::string json() {
    State& all = state();
    Lock lock(all.mutex);
    Counters const& c = all.counters;
    int64_t contexts = 0;
    for (auto const& device : all.devices)
        if (!device->faulted) contexts += device->contexts;
    std::ostringstream out;
    out << "{\"enqueues\":" << c.enqueues << ",\"graph_launches\":" << c.graph_launches
        << ",\"captures\":" << c.captures << ",\"failed_captures\":" << c.failed_captures
        << ",\"copies_in\":" << c.copies_in << ",\"bytes_in\":" << c.bytes_in
        << ",\"copies_out\":" << c.copies_out << ",\"bytes_out\":" << c.bytes_out
        << ",\"graph_uploads\":" << c.graph_uploads << ",\"context_releases\":" << c.context_releases
        << ",\"engines\":" << c.engines << ",\"compilations\":" << c.compilations
        << ",\"live_device_bytes\":" << bytes_of(all.device_memory)
        << ",\"peak_device_bytes\":" << c.peak_device_bytes
        << ",\"live_host_bytes\":" << bytes_of(all.host_memory)
        << ",\"live_streams\":" << count_of(all.streams)
        << ",\"live_events\":" << count_of(all.events)
        << ",\"live_graphs\":" << count_of(all.graphs)
        << ",\"live_graph_execs\":" << count_of(all.execs)
        << ",\"live_contexts_execution\":" << contexts
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
    if (current_device) current_device->contexts += change;
}

EXPORT void stand_in_count_engine() {
    Lock lock(state().mutex);
    ++state().counters.engines;
}

EXPORT void stand_in_count_compilation() {
    Lock lock(state().mutex);
    ++state().counters.compilations;
}

EXPORT int stand_in_device_is_lost() {
    Lock lock(state().mutex);
    return current_device && current_device->faulted;
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
