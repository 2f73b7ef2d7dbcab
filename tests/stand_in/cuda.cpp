// A stand-in for libcuda.so.1: devices, contexts and memory. Copies, streams and events are in
// cuda_work.cpp, captures and graphs in cuda_graph.cpp, kernels in cuda_kernels.cpp.
//
// It has the C interface of the real driver as far as this project calls it, and no device behind
// it: device memory is host memory, and work is done by one thread for each stream. It keeps to
// the driver's documented behaviour where a program could come to depend on it: order within a
// stream, asynchrony across streams, what a capture forbids, running out of memory, and errors
// that stay. What a program must not do is put into the report, each time, and mostly refused.
//
// Fresh device memory is filled with bytes that read as NaN in every float format, so that a
// result computed from memory nobody wrote does not look like one.
#include <cstdlib>
#include <cstring>

#include "driver.h"

constexpr size_t ALIGNMENT = 512;

static struct {
    CUresult code;
    char const *name, *text;
} const ERRORS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE",
     "the operation cannot be performed in the present state"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
     "an illegal memory access was encountered"},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {CUDA_ERROR_STREAM_CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
     "operation would result in a merge of separate capture sequences"},
    {CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not ended in the same stream as it began"},
    {CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
     "capturing stream has unjoined work"},
    {CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {CUDA_ERROR_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
    {CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

EXPORT CUresult cuGetErrorName(CUresult code, char const** name) {
    for (auto const& error : ERRORS)
        if (error.code == code) return *name = error.name, CUDA_SUCCESS;
    return *name = nullptr, CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuGetErrorString(CUresult code, char const** text) {
    for (auto const& error : ERRORS)
        if (error.code == code) return *text = error.text, CUDA_SUCCESS;
    return *text = nullptr, CUDA_ERROR_INVALID_VALUE;
}

// ---- Devices

EXPORT CUresult cuInit(unsigned) {
    State& all = state();
    Lock lock(all.mutex);
    if (all.settings.devices == 0) return CUDA_ERROR_NO_DEVICE;
    while (all.devices.size() < all.settings.devices) {
        all.devices.push_back(std::make_unique<Device>());
        all.devices.back()->ordinal = static_cast<int>(all.devices.size()) - 1;
    }
    all.initialised = true;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDriverGetVersion(int* version) {
    *version = static_cast<int>(number("STAND_IN_CUDA_VERSION", 13000));
    return CUDA_SUCCESS;
}

static Device* device_of(Call& call, CUdevice ordinal) {
    auto const& devices = state().devices;
    if (ordinal >= 0 && static_cast<size_t>(ordinal) < devices.size())
        return devices[ordinal].get();
    call.error = CUDA_ERROR_INVALID_DEVICE;
    return nullptr;
}

EXPORT CUresult cuDeviceGetCount(int* count) {
    ENTER(HOST);
    *count = static_cast<int>(state().devices.size());
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    ENTER(HOST);
    if (!device_of(call, ordinal)) return call.error;
    *device = ordinal;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetName(char* name, int size, CUdevice ordinal) {
    ENTER(HOST);
    if (!device_of(call, ordinal)) return call.error;
    if (size < 1) return CUDA_ERROR_INVALID_VALUE;
    std::string const text = "Stand-in device " + std::to_string(ordinal);
    std::strncpy(name, text.c_str(), size - 1);
    name[size - 1] = '\0';
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice ordinal) {
    ENTER(HOST);
    if (!device_of(call, ordinal)) return call.error;
    switch (attribute) {
        case 10: *value = 32; break;             // WARP_SIZE
        case 13: *value = 1000000; break;        // CLOCK_RATE, kHz
        case 16: *value = 4; break;              // MULTIPROCESSOR_COUNT
        case 19: *value = 1; break;              // CAN_MAP_HOST_MEMORY
        case 31: *value = 1; break;              // CONCURRENT_KERNELS
        case 39: *value = 1024; break;           // MAX_THREADS_PER_MULTIPROCESSOR
        case 33: *value = ordinal + 1; break;    // PCI_BUS_ID
        case 40: *value = 2; break;              // ASYNC_ENGINE_COUNT
        case 41: *value = 1; break;              // UNIFIED_ADDRESSING
        case 75: *value = state().settings.capability.first; break;     // COMPUTE_CAPABILITY_MAJOR
        case 76: *value = state().settings.capability.second; break;    // COMPUTE_CAPABILITY_MINOR
        default: *value = 0; break;              // among them MEMORY_POOLS_SUPPORTED
    }
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid(char* uuid, CUdevice ordinal) {
    ENTER(HOST);
    if (!device_of(call, ordinal)) return call.error;
    std::memcpy(uuid, "stand-in device", 15);
    uuid[15] = static_cast<char>(ordinal);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDeviceGetUuid_v2(char* uuid, CUdevice ordinal) {
    return cuDeviceGetUuid(uuid, ordinal);
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice ordinal) {
    ENTER(HOST);
    if (!device_of(call, ordinal)) return call.error;
    *bytes = state().settings.memory;
    return CUDA_SUCCESS;
}

// ---- Contexts. A device has its primary context and no other; the handle is the device itself.

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice ordinal) {
    ENTER(HOST);
    Device* device = device_of(call, ordinal);
    if (!device) return call.error;
    if (device->faulted) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (device->retained++ == 0) ++device->made;
    *context = device;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
    ENTER(HOST);
    Device* device = device_of(call, ordinal);
    if (!device) return call.error;
    if (device->retained == 0)
        return call.refuse(CUDA_ERROR_INVALID_CONTEXT, "of a context nobody holds");
    ++state().counters.context_releases;
    if (--device->retained > 0) return CUDA_SUCCESS;
    State const& all = state();
    bool left = device->used > 0;
    for (auto const& [handle, stream] : all.streams.live) left |= stream->device == device;
    for (auto const& [handle, event] : all.events.live) left |= event->device == device;
    if (left) misuse(std::string(call.name) + " while memory, streams or events are left in it");
    return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned flags) {
    ENTER(HOST);
    Device* device = device_of(call, ordinal);
    if (device) device->flags = flags;
    return call.error;
}

EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned* flags, int* active) {
    ENTER(HOST);
    Device const* device = device_of(call, ordinal);
    if (!device) return call.error;
    *flags = device->flags;
    *active = device->retained > 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
    ENTER(HOST);
    bool known = !context;
    for (auto const& device : state().devices) known |= device.get() == context;
    if (!known)
        return call.refuse(CUDA_ERROR_INVALID_CONTEXT, "with a context that does not exist");
    if (context && context->retained == 0)
        return call.refuse(CUDA_ERROR_INVALID_CONTEXT, "with a released context");
    current_device = context;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
    ENTER(HOST);
    *context = current_device;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
    ENTER(CONTEXT);
    *device = call.device->ordinal;
    return CUDA_SUCCESS;
}

// Two contexts of one device that were made one after the other differ in it.
EXPORT CUresult cuCtxGetId(CUcontext context, unsigned long long* id) {
    ENTER(CONTEXT);
    Device const* device = context ? context : call.device;
    *id = device->made << 8 | static_cast<unsigned long long>(device->ordinal);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetFlags(unsigned flags) {
    ENTER(CONTEXT);
    call.device->flags = flags;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetFlags(unsigned* flags) {
    ENTER(CONTEXT);
    *flags = call.device->flags;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER(CONTEXT);
    if (least) *least = 0;
    if (greatest) *greatest = 0;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize() {
    ENTER(DEVICE | UNSAFE);
    std::vector<std::shared_ptr<Stream>> streams;
    for (auto const& [handle, stream] : state().streams.live)
        if (stream->device == call.device) streams.push_back(stream);
    if (call.device->null_stream) streams.push_back(call.device->null_stream);
    for (auto const& stream : streams) wait_for(call, *stream);
    return call.ended();
}

// ---- Memory

Block::~Block() { std::free(memory); }

static std::shared_ptr<Block> allocate(Device* device, size_t bytes) {
    auto block = std::make_shared<Block>();
    block->device = device;
    block->bytes = bytes;
    block->memory = static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
    return block->memory ? block : nullptr;
}

EXPORT CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    ENTER(DEVICE);
    *total = state().settings.memory;
    *free_bytes = *total - call.device->used;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    ENTER(DEVICE | UNSAFE);
    State& all = state();
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (bytes > all.settings.memory - call.device->used) return CUDA_ERROR_OUT_OF_MEMORY;
    auto block = allocate(call.device, bytes);
    if (!block) return CUDA_ERROR_OUT_OF_MEMORY;
    std::memset(block->memory, 0xFF, bytes);
    *address = block->address = all.next_address;
    all.next_address += (bytes / ALIGNMENT + 2) * ALIGNMENT;    // never used again, and a gap
    all.device_memory.emplace(*address, block);
    call.device->used += bytes;
    Counters& counters = all.counters;
    counters.live_device_bytes += bytes;
    counters.peak_device_bytes = std::max(counters.peak_device_bytes, counters.live_device_bytes);
    return CUDA_SUCCESS;
}

// Takes a block out of its table. Operations still queued keep its memory until they are done.
static CUresult take(Call& call, std::map<uint64_t, std::shared_ptr<Block>>& from, uint64_t address,
                     uint64_t& live) {
    auto const at = from.find(address);
    if (at == from.end())
        return call.refuse(CUDA_ERROR_INVALID_VALUE, "of memory that is not live (freed twice?)");
    Block& block = *at->second;
    if (block.device != call.device)
        return call.refuse(CUDA_ERROR_INVALID_VALUE, "of memory of another device's context");
    if (block.pending > 0 && !call.device->faulted)
        misuse(std::string(call.name) + " of memory with work pending on it");
    block.freed = true;
    live -= block.bytes;
    if (&from == &state().device_memory) call.device->used -= block.bytes;
    from.erase(at);
    return call.ended();
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr address) {
    ENTER(RELEASE | UNSAFE);
    if (address == 0) return CUDA_SUCCESS;
    wait_for_hangs(call);
    return take(call, state().device_memory, address, state().counters.live_device_bytes);
}

EXPORT CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    ENTER(DEVICE | UNSAFE);
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    auto block = allocate(call.device, bytes);
    if (!block) return CUDA_ERROR_OUT_OF_MEMORY;
    *address = block->memory;
    block->address = reinterpret_cast<uint64_t>(block->memory);
    state().counters.live_host_bytes += bytes;
    state().host_memory.emplace(block->address, std::move(block));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuMemFreeHost(void* address) {
    ENTER(RELEASE | UNSAFE);
    wait_for_hangs(call);
    return take(call, state().host_memory, reinterpret_cast<uint64_t>(address),
                state().counters.live_host_bytes);
}

EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    ENTER(DEVICE);
    auto const block = block_at(state().device_memory, address, 1);
    if (!block || block->device != call.device) return CUDA_ERROR_NOT_FOUND;
    *base = block->address;
    *bytes = block->bytes;
    return CUDA_SUCCESS;
}
