// A stand-in for libcuda.so.1 whose device is this processor, so that tests run the whole GPU path without a GPU.
//
// Work is done at once, in the calling thread and under one lock; a stream that is being captured records it instead.
// Everything a real driver would refuse is refused with the real error code: unknown handles, calls without a current
// context, launches that do not fit, allocation and synchronisation during a capture. A buffer ends at a page that
// cannot be read, begins as NaN, and its addresses are never used again after it is freed.
//
// Settings, read at each call, from the environment or from `stand_in_set` (which is safe while other threads run):
//   STAND_IN_DEVICES  how many devices there are (1)         STAND_IN_MEMORY  bytes of memory per device (16 GiB)
//   STAND_IN_DRIVER   the driver's version (13000)           STAND_IN_INIT    what cuInit returns (0)
//   STAND_IN_NAME     the devices' name (stand-in)           SHIM_ORDER, SHIM_COPIES: see shim.cpp
//   STAND_IN_IDLE     kernels after so many do nothing, so that what the host does can be timed (never)
//   STAND_IN_FAULT    the number of the kernel that does something illegal, which later calls report (none)
//   STAND_IN_REPORT   a file that gets every counter, a line each, when the process ends
// `stand_in_count` tells tests what the driver was asked to do.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "shim.hpp"

#define API extern "C" __attribute__((visibility("default")))

namespace {

// ---- Errors, settings, counters ----

enum Result {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901, CAPTURE_MERGE = 902, CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904,
  CAPTURE_ISOLATION = 905, CAPTURE_IMPLICIT = 906, CAPTURED_EVENT = 907, CAPTURE_WRONG_THREAD = 908,
};
struct ErrorText { int code; const char *name, *text; };
constexpr ErrorText ERRORS[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would depend on a capturing blocking stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "capture was not ended by the thread that began it"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

// Everything below that has a destructor is never destroyed: other threads may still be at work when the program ends.
std::recursive_mutex &lock = *new std::recursive_mutex;
using Guard = std::lock_guard<std::recursive_mutex>;

std::map<std::string, std::string> &settings() {
  static auto *said = new std::map<std::string, std::string>;
  return *said;
}
uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = shim::setting(name);
  return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

auto &counters = *new std::map<std::string, unsigned long>;
void count(const char *what) { counters[what]++; }

// ---- Devices, contexts, memory ----

constexpr int MOST_DEVICES = 16;
struct Context { unsigned retained = 0; uint64_t used = 0; } contexts[MOST_DEVICES];
thread_local Context *current_context;
bool initialized;

int device_count() { return static_cast<int>(std::min<uint64_t>(number("STAND_IN_DEVICES", 1), MOST_DEVICES)); }
uint64_t device_memory() { return number("STAND_IN_MEMORY", uint64_t{16} << 30); }
Result check_device(int device) {
  if (!initialized) return NOT_INITIALIZED;
  return device >= 0 && device < device_count() ? SUCCESS : INVALID_DEVICE;
}
Result check_context() {
  if (!initialized) return NOT_INITIALIZED;
  return current_context && current_context->retained ? SUCCESS : INVALID_CONTEXT;
}
#define TRY(call) do { if (const Result result_ = (call)) return result_; } while (0)

struct Buffer { unsigned char *pages; size_t page_bytes, bytes; Context *owner; };
auto &buffers = *new std::map<uint64_t, Buffer>;       // device memory, by address
auto &host_buffers = *new std::map<uint64_t, Buffer>;  // pinned host memory

constexpr size_t PAGE = 4096;
size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// Hands out fresh addresses of a large reservation, each followed by a page that stays unreadable. A buffer's end
// touches that page, up to the alignment of 16 bytes.
bool map_buffer(size_t bytes, Buffer &buffer, uint64_t &address) {
  constexpr size_t RESERVED = size_t{4} << 40;
  static unsigned char *next, *end;
  const size_t pages = round_up(std::max<size_t>(bytes, 1), PAGE);
  if (pages > RESERVED / 2) return false;
  if (static_cast<size_t>(end - next) < pages + PAGE) {
    void *range = mmap(nullptr, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return false;
    next = static_cast<unsigned char *>(range);
    end = next + RESERVED;
  }
  void *memory = mmap(next, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return false;
  next += pages + PAGE;
  buffer = {static_cast<unsigned char *>(memory), pages, bytes, nullptr};
  memset(buffer.pages, 0xff, pages);
  address = reinterpret_cast<uint64_t>(buffer.pages + pages - round_up(bytes, 16));
  return true;
}

// Gives the memory back but keeps the addresses reserved, so that a later use of them faults. Bytes between the
// buffer's end and the unreadable page must be as they were.
void unmap_buffer(uint64_t address, const Buffer &buffer) {
  const auto *tail = reinterpret_cast<unsigned char *>(address + buffer.bytes);
  for (; tail < buffer.pages + buffer.page_bytes; tail++) {
    if (*tail == 0xff) continue;
    fprintf(stderr, "stand-in: something wrote beyond the end of a buffer of %zu bytes\n", buffer.bytes);
    abort();
  }
  mmap(buffer.pages, buffer.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

Result allocate(uint64_t *address, size_t bytes) {
  if (!address || !bytes) return INVALID_VALUE;
  const uint64_t total = device_memory();
  const size_t size = round_up(bytes, 16);
  Buffer buffer;
  if (size < bytes || current_context->used > total || size > total - current_context->used) return OUT_OF_MEMORY;
  if (!map_buffer(bytes, buffer, *address)) return OUT_OF_MEMORY;
  buffer.owner = current_context;
  current_context->used += size;
  buffers[*address] = buffer;
  count("allocations");
  return SUCCESS;
}

Result release(uint64_t address) {
  const auto at = buffers.find(address);
  if (at == buffers.end()) return INVALID_VALUE;
  unmap_buffer(address, at->second);
  at->second.owner->used -= round_up(at->second.bytes, 16);
  buffers.erase(at);
  return SUCCESS;
}

// Whether the range lies in one live buffer.
Result check_range(uint64_t address, size_t bytes) {
  if (!bytes) return SUCCESS;
  auto after = buffers.upper_bound(address);
  if (after == buffers.begin()) return INVALID_VALUE;
  const auto &[begin, buffer] = *--after;
  return address - begin <= buffer.bytes && bytes <= buffer.bytes - (address - begin) ? SUCCESS : INVALID_VALUE;
}

// ---- Streams, events, captures ----

using Operation = std::function<void()>;
using Operations = std::vector<Operation>;
struct Stream;

enum Mode { GLOBAL, THREAD_LOCAL, RELAXED };  // as in CUstreamCaptureMode
struct Capture {
  Operations operations;
  Stream *origin;
  Mode mode;
  std::thread::id thread;
  bool invalidated = false;
  std::set<Stream *> members;
};
struct Stream {
  bool blocking;                      // waits for the legacy stream, and it for this one
  std::shared_ptr<Capture> capture;
  bool joined = true;                 // the capture's origin waits for all it has recorded
};
struct Event {
  explicit Event(bool timed) : timed(timed) {}
  bool timed;
  bool recorded = false;
  std::shared_ptr<Capture> capture;   // the capture it was recorded in, if in one
  Stream *stream = nullptr;
  std::chrono::steady_clock::time_point at;
};
struct Graph { std::shared_ptr<const Operations> operations; };
struct Executable { std::shared_ptr<const Operations> operations; };
struct Function { const shim::Kernel *kernel; unsigned most_dynamic = 48 << 10; };
struct Module { std::map<std::string, std::unique_ptr<Function>> functions; };

template <class T> std::unordered_set<void *> &live() {  // handles that callers may pass
  static auto *handles = new std::unordered_set<void *>;
  return *handles;
}
template <class T> T *made(T *object) { live<T>().insert(object); return object; }
template <class T> bool known(void *handle) { return live<T>().count(handle); }
template <class T> Result destroy(void *handle) {
  if (!live<T>().erase(handle)) return INVALID_HANDLE;
  delete static_cast<T *>(handle);
  return SUCCESS;
}
auto &live_functions = *new std::unordered_set<void *>;

bool is_legacy(void *stream) { return reinterpret_cast<uintptr_t>(stream) <= 2; }
Stream *capturing(void *stream) {
  return !is_legacy(stream) && static_cast<Stream *>(stream)->capture ? static_cast<Stream *>(stream) : nullptr;
}
template <class Visit> void for_captures(Visit visit) {
  for (void *handle : live<Stream>()) {
    auto *stream = static_cast<Stream *>(handle);
    if (stream->capture && stream->capture->origin == stream) visit(*stream->capture);
  }
}

// Refuses what could wait for the device while a capture is under way that forbids it to this thread.
Result check_unsafe() {
  Result result = SUCCESS;
  for_captures([&](Capture &capture) {
    if (capture.mode == RELAXED || (capture.mode == THREAD_LOCAL && capture.thread != std::this_thread::get_id())) return;
    capture.invalidated = true;
    result = CAPTURE_UNSUPPORTED;
  });
  return result;
}

// Whether work may be given to a stream. The legacy stream would have to wait for streams that are being captured.
Result check_stream(void *stream) {
  if (!initialized) return NOT_INITIALIZED;
  if (!is_legacy(stream)) {
    if (!known<Stream>(stream)) return INVALID_HANDLE;
    const Stream *one = static_cast<Stream *>(stream);
    return one->capture && one->capture->invalidated ? CAPTURE_INVALIDATED : SUCCESS;
  }
  TRY(check_context());
  Result result = SUCCESS;
  for_captures([&](Capture &capture) {
    if (!capture.origin->blocking) return;
    capture.invalidated = true;
    result = CAPTURE_IMPLICIT;
  });
  return result;
}

// Refuses to wait for a stream that is being captured, which ends its capture.
Result refuse_capturing(void *stream) {
  Stream *one = capturing(stream);
  if (!one) return SUCCESS;
  one->capture->invalidated = true;
  return CAPTURE_UNSUPPORTED;
}

Result submit(void *stream, Operation operation) {
  TRY(check_stream(stream));
  if (Stream *one = capturing(stream)) {
    one->capture->operations.push_back(std::move(operation));
    one->joined = one == one->capture->origin;
  } else {
    operation();
  }
  return SUCCESS;
}

// ---- Copies and fills ----

void *at(uint64_t address) { return reinterpret_cast<void *>(address); }

// Copies to and from ordinary host memory are not asynchronous on a GPU; tests can count them.
void note_host(const void *host) {
  auto after = host_buffers.upper_bound(reinterpret_cast<uint64_t>(host));
  if (after != host_buffers.begin()) {
    const auto &[begin, buffer] = *--after;
    if (reinterpret_cast<uint64_t>(host) < begin + buffer.bytes) return;
  }
  count("pageable");
}
Result upload(uint64_t to, const void *from, size_t bytes, void *stream) {
  TRY(check_range(to, bytes));
  return submit(stream, [=] { count("uploads"); memcpy(at(to), from, bytes); });
}
Result download(void *to, uint64_t from, size_t bytes, void *stream) {
  TRY(check_range(from, bytes));
  return submit(stream, [=] { count("downloads"); memcpy(to, at(from), bytes); });
}
Result copy_within(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  TRY(check_range(to, bytes));
  TRY(check_range(from, bytes));
  return submit(stream, [=] { memmove(at(to), at(from), bytes); });
}
template <class T> Result fill(uint64_t to, T value, size_t length, void *stream) {
  if (to % sizeof(T) || length > SIZE_MAX / sizeof(T)) return INVALID_VALUE;
  TRY(check_range(to, length * sizeof(T)));
  return submit(stream, [=] { std::fill_n(static_cast<T *>(at(to)), length, value); });
}
// What each synchronous copy or fill has to pass first.
Result begin_synchronous() {
  TRY(check_context());
  TRY(check_unsafe());
  count("synchronisations");
  return SUCCESS;
}

// ---- Launches ----

// Arguments are copied when the kernel is launched, as a real driver does.
// What a kernel did wrong, once one did: the calls that wait for it, and all that come after those, report it.
unsigned long kernels_run = 0;
Result fault = SUCCESS;

struct Launch {
  const shim::Kernel *kernel;
  uint3 grid, block;
  unsigned shared;
  std::vector<unsigned char> bytes;
  std::vector<size_t> offsets;
  void run() {
    const auto said = [](const char *name) { const char *text = shim::setting(name); return text ? strtoul(text, nullptr, 10) : ~0ul; };
    kernels_run++;
    if (kernels_run > said("STAND_IN_IDLE")) return;
    if (kernels_run == said("STAND_IN_FAULT")) fault = ILLEGAL_ADDRESS;
    if (fault) return;
    std::vector<void *> pointers;
    for (const size_t offset : offsets) pointers.push_back(bytes.data() + offset);
    shim::launch(*kernel, grid, block, shared, pointers.data());
  }
};

Result launch(void *handle, uint3 grid, uint3 block, unsigned shared, void *stream, void **arguments) {
  if (!live_functions.count(handle)) return INVALID_HANDLE;
  const Function &function = *static_cast<Function *>(handle);
  const shim::Kernel &kernel = *function.kernel;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return INVALID_VALUE;
  if (!threads || block.x > 1024 || block.y > 1024 || block.z > 64 || threads > kernel.most_threads) return INVALID_VALUE;
  if (shared > function.most_dynamic || (!arguments && !kernel.argument_bytes.empty())) return INVALID_VALUE;
  TRY(check_stream(stream));
  Launch launch{&kernel, grid, block, shared, {}, {}};
  for (size_t i = 0; i < kernel.argument_bytes.size(); i++) {
    const auto *from = static_cast<unsigned char *>(arguments[i]);
    launch.bytes.resize(round_up(launch.bytes.size(), 16));
    launch.offsets.push_back(launch.bytes.size());
    launch.bytes.insert(launch.bytes.end(), from, from + kernel.argument_bytes[i]);
  }
  if (!capturing(stream)) {
    count("launches");
    launch.run();
    return SUCCESS;
  }
  count("captured_launches");
  return submit(stream, [launch]() mutable { count("replayed_launches"); launch.run(); });
}

}  // namespace

const char *shim::setting(const char *name) {
  const auto said = settings().find(name);
  return said == settings().end() ? getenv(name) : said->second.c_str();
}

// ---- For tests ----

// What the driver has been asked to do since the last reset, in all threads: "launches" (outside captures),
// "captured_launches", "graph_launches", "replayed_launches" (kernels run by graphs), "instantiations", "allocations",
// "uploads", "downloads", "pageable" (asynchronous copies with ordinary host memory), and "synchronisations" (of
// streams, contexts and events, and synchronous copies). Unknown words count nothing.
API unsigned long stand_in_count(const char *what) {
  Guard guard(lock);
  const auto at = counters.find(what);
  return at == counters.end() ? 0 : at->second;
}
static __attribute__((destructor)) void report() {
  const char *file = getenv("STAND_IN_REPORT");
  FILE *out = file ? fopen(file, "w") : nullptr;
  if (!out) return;
  for (const auto &counter : counters) fprintf(out, "%s %lu\n", counter.first.c_str(), (unsigned long)counter.second);
  fclose(out);
}
API void stand_in_reset() { Guard guard(lock); counters.clear(); }
// Overrides a variable of the environment, for this library alone; a null value ends that.
API void stand_in_set(const char *name, const char *value) {
  Guard guard(lock);
  if (value) settings()[name] = value;
  else settings().erase(name);
}
// Bytes of device memory in use on all devices.
API unsigned long stand_in_used() {
  Guard guard(lock);
  unsigned long used = 0;
  for (const Context &one : contexts) used += one.used;
  return used;
}

// ---- The driver's functions: start, devices, contexts ----

static int error_text(int code, const char **out, const char *ErrorText::*field) {
  for (const ErrorText &error : ERRORS) if (error.code == code) { *out = error.*field; return SUCCESS; }
  *out = nullptr;
  return INVALID_VALUE;
}
API int cuGetErrorName(int code, const char **out) { return error_text(code, out, &ErrorText::name); }
API int cuGetErrorString(int code, const char **out) { return error_text(code, out, &ErrorText::text); }
API int cuInit(unsigned flags) {
  Guard guard(lock);
  if (flags) return INVALID_VALUE;
  const int code = static_cast<int>(number("STAND_IN_INIT", 0));
  if (!code) initialized = true;
  return code;
}
API int cuDriverGetVersion(int *version) {
  Guard guard(lock);
  *version = static_cast<int>(number("STAND_IN_DRIVER", 13000));
  return SUCCESS;
}
API int cuDeviceGetCount(int *devices) {
  Guard guard(lock);
  if (!initialized) return NOT_INITIALIZED;
  *devices = device_count();
  return SUCCESS;
}
API int cuDeviceGet(int *device, int ordinal) {
  Guard guard(lock);
  TRY(check_device(ordinal));
  *device = ordinal;
  return SUCCESS;
}
API int cuDeviceGetName(char *name, int length, int device) {
  Guard guard(lock);
  TRY(check_device(device));
  const char *said = shim::setting("STAND_IN_NAME");
  snprintf(name, static_cast<size_t>(length), "%s", said ? said : "stand-in");
  return SUCCESS;
}
API int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
  Guard guard(lock);
  TRY(check_device(device));
  memcpy(uuid, "stand-in device", 16);
  uuid[15] = static_cast<unsigned char>(device);
  return SUCCESS;
}
API int cuDeviceGetUuid(unsigned char *uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
API int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  Guard guard(lock);
  TRY(check_device(device));
  *bytes = device_memory();
  return SUCCESS;
}
API int cuDeviceGetAttribute(int *value, int attribute, int device) {
  Guard guard(lock);
  TRY(check_device(device));
  // The numbers are those of CUdevice_attribute, the values those of an H100. What is not listed is 0.
  static const std::map<int, int> values = {
      {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},           // threads per block, and along each of its sides
      {5, 0x7fffffff}, {6, 65535}, {7, 65535},            // blocks along each side of a grid
      {8, 48 << 10}, {81, 228 << 10}, {97, 227 << 10}, {111, 1 << 10},  // shared memory: block, SM, opt-in, reserved
      {9, 64 << 10}, {10, 32}, {12, 65536}, {82, 65536},  // constant memory, warp, registers per block and per SM
      {13, 1980000}, {36, 2619000}, {37, 5120}, {38, 50 << 20},  // clocks in kHz, bus width in bits, L2
      {16, 132}, {39, 2048}, {106, 32},                   // SMs, their threads and blocks
      {14, 512}, {19, 1}, {31, 1}, {40, 3}, {41, 1},      // alignment, mapped memory, concurrency, copy engines, addressing
      {75, 9}, {76, 0}, {78, 1}, {83, 1}, {95, 1}, {115, 1},  // capability 9.0, priorities, managed, cooperative, pools
  };
  const auto found = values.find(attribute);
  *value = found == values.end() ? 0 : found->second;
  return SUCCESS;
}
API int cuDevicePrimaryCtxRetain(void **context, int device) {
  Guard guard(lock);
  TRY(check_device(device));
  contexts[device].retained++;
  *context = &contexts[device];
  return SUCCESS;
}
// The last release destroys the context and with it all memory of its device.
API int cuDevicePrimaryCtxRelease_v2(int device) {
  Guard guard(lock);
  TRY(check_device(device));
  Context &context = contexts[device];
  if (!context.retained) return INVALID_CONTEXT;
  if (--context.retained) return SUCCESS;
  for (auto next = buffers.begin(); next != buffers.end();) {
    const auto one = next++;
    if (one->second.owner == &context) release(one->first);
  }
  return SUCCESS;
}
API int cuCtxSetCurrent(void *context) {
  Guard guard(lock);
  if (!initialized) return NOT_INITIALIZED;
  auto *one = static_cast<Context *>(context);
  if (one && !(one >= contexts && one < contexts + MOST_DEVICES && one->retained)) return INVALID_CONTEXT;
  current_context = one;
  return SUCCESS;
}
API int cuCtxGetCurrent(void **context) {
  Guard guard(lock);
  if (!initialized) return NOT_INITIALIZED;
  *context = current_context;
  return SUCCESS;
}
API int cuCtxGetDevice(int *device) {
  Guard guard(lock);
  TRY(check_context());
  *device = static_cast<int>(current_context - contexts);
  return SUCCESS;
}
API int cuCtxSetFlags(unsigned) { Guard guard(lock); return check_context(); }
API int cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  Guard guard(lock);
  TRY(check_context());
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return SUCCESS;
}
API int cuCtxSynchronize() {
  Guard guard(lock);
  TRY(check_context());
  Result result = SUCCESS;
  for_captures([&](Capture &capture) {
    if (capture.mode == THREAD_LOCAL && capture.thread != std::this_thread::get_id()) return;
    capture.invalidated = true;
    result = CAPTURE_UNSUPPORTED;
  });
  TRY(result);
  count("synchronisations");
  return SUCCESS;
}
API int cuMemGetInfo_v2(size_t *available, size_t *total) {
  Guard guard(lock);
  TRY(check_context());
  *total = device_memory();
  *available = *total - std::min<uint64_t>(*total, current_context->used);
  return SUCCESS;
}

// ---- Streams and events ----

API int cuStreamCreate(void **stream, unsigned flags) {
  Guard guard(lock);
  TRY(check_context());
  if (flags > 1) return INVALID_VALUE;
  *stream = made(new Stream{flags == 0, nullptr});
  return SUCCESS;
}
API int cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API int cuStreamDestroy_v2(void *stream) {
  Guard guard(lock);
  if (!known<Stream>(stream)) return INVALID_HANDLE;
  if (Stream *one = capturing(stream)) {
    one->capture->invalidated = true;
    one->capture->members.erase(one);
    if (one->capture->origin == one) for (Stream *member : one->capture->members) member->capture = nullptr;
  }
  return destroy<Stream>(stream);
}
API int cuStreamSynchronize(void *stream) {
  Guard guard(lock);
  TRY(fault);
  TRY(check_stream(stream));
  TRY(refuse_capturing(stream));
  count("synchronisations");
  return SUCCESS;
}
API int cuStreamQuery(void *stream) { Guard guard(lock); TRY(check_stream(stream)); return refuse_capturing(stream); }
// A stream that waits for an event of a capture joins that capture; the capture's own stream has to wait for it in turn.
API int cuStreamWaitEvent(void *stream, void *event, unsigned) {
  Guard guard(lock);
  if (!known<Event>(event)) return INVALID_HANDLE;
  TRY(check_stream(stream));
  const Event &waited = *static_cast<Event *>(event);
  Stream *one = capturing(stream);
  if (!waited.recorded) return SUCCESS;
  if (!waited.capture || !known<Stream>(waited.stream) || waited.stream->capture != waited.capture) {
    if (!one) return SUCCESS;
    one->capture->invalidated = true;
    return CAPTURE_ISOLATION;
  }
  if (is_legacy(stream)) return CAPTURE_IMPLICIT;
  if (one && one->capture != waited.capture) return CAPTURE_MERGE;
  if (!one) {
    one = static_cast<Stream *>(stream);
    one->capture = waited.capture;
    one->capture->members.insert(one);
    one->joined = false;
  } else if (one == one->capture->origin) {
    waited.stream->joined = true;
  }
  return SUCCESS;
}
API int cuStreamBeginCapture_v2(void *stream, int mode) {
  Guard guard(lock);
  TRY(check_stream(stream));
  if (is_legacy(stream)) return CAPTURE_UNSUPPORTED;
  if (mode < GLOBAL || mode > RELAXED) return INVALID_VALUE;
  auto *one = static_cast<Stream *>(stream);
  if (one->capture) return CAPTURE_UNSUPPORTED;
  one->capture = std::make_shared<Capture>();
  one->capture->origin = one;
  one->capture->mode = static_cast<Mode>(mode);
  one->capture->thread = std::this_thread::get_id();
  one->capture->members.insert(one);
  one->joined = true;
  return SUCCESS;
}
API int cuStreamEndCapture(void *stream, void **graph) {
  Guard guard(lock);
  if (!initialized) return NOT_INITIALIZED;
  *graph = nullptr;
  if (is_legacy(stream) || !known<Stream>(stream)) return INVALID_HANDLE;
  auto *one = static_cast<Stream *>(stream);
  const auto capture = one->capture;
  if (!capture) return INVALID_VALUE;
  if (capture->origin != one) { capture->invalidated = true; return CAPTURE_UNMATCHED; }
  if (capture->mode != RELAXED && capture->thread != std::this_thread::get_id()) return CAPTURE_WRONG_THREAD;
  bool joined = true;
  for (Stream *member : capture->members) {
    joined = joined && member->joined;
    member->capture = nullptr;
  }
  if (capture->invalidated) return CAPTURE_INVALIDATED;
  if (!joined) return CAPTURE_UNJOINED;
  *graph = made(new Graph{std::make_shared<Operations>(std::move(capture->operations))});
  return SUCCESS;
}
API int cuStreamIsCapturing(void *stream, int *status) {
  Guard guard(lock);
  if (!is_legacy(stream) && !known<Stream>(stream)) return INVALID_HANDLE;
  const Stream *one = capturing(stream);
  *status = !one ? 0 : one->capture->invalidated ? 2 : 1;
  return SUCCESS;
}
API int cuLaunchHostFunc(void *stream, void (*function)(void *), void *with) {
  Guard guard(lock);
  if (!function) return INVALID_VALUE;
  return submit(stream, [=] { function(with); });
}
API int cuEventCreate(void **event, unsigned flags) {
  Guard guard(lock);
  TRY(check_context());
  *event = made(new Event(!(flags & 2)));
  return SUCCESS;
}
API int cuEventDestroy_v2(void *event) { Guard guard(lock); return destroy<Event>(event); }
API int cuEventRecord(void *event, void *stream) {
  Guard guard(lock);
  if (!known<Event>(event)) return INVALID_HANDLE;
  TRY(check_stream(stream));
  auto &one = *static_cast<Event *>(event);
  Stream *recording = capturing(stream);
  one.recorded = true;
  one.stream = recording;
  one.capture = recording ? recording->capture : nullptr;
  one.at = std::chrono::steady_clock::now();
  return SUCCESS;
}
API int cuEventQuery(void *event) {
  Guard guard(lock);
  if (!known<Event>(event)) return INVALID_HANDLE;
  return static_cast<Event *>(event)->capture ? CAPTURED_EVENT : SUCCESS;
}
API int cuEventSynchronize(void *event) {
  Guard guard(lock);
  TRY(fault);
  if (!known<Event>(event)) return INVALID_HANDLE;
  if (const auto &capture = static_cast<Event *>(event)->capture) { capture->invalidated = true; return CAPTURED_EVENT; }
  count("synchronisations");
  return SUCCESS;
}
API int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
  Guard guard(lock);
  if (!known<Event>(start) || !known<Event>(end)) return INVALID_HANDLE;
  const auto &from = *static_cast<Event *>(start), &to = *static_cast<Event *>(end);
  if (!from.timed || !to.timed || !from.recorded || !to.recorded || from.capture || to.capture) return INVALID_HANDLE;
  *milliseconds = std::chrono::duration<float, std::milli>(to.at - from.at).count();
  return SUCCESS;
}
API int cuEventElapsedTime(float *milliseconds, void *start, void *end) {
  return cuEventElapsedTime_v2(milliseconds, start, end);
}

// ---- Memory ----

API int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  return allocate(address, bytes);
}
API int cuMemFree_v2(uint64_t address) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  return release(address);
}
// A real driver would record an allocation during a capture as part of the graph. It is refused here, because a graph
// of this program is meant to have none.
API int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_stream(stream));
  TRY(refuse_capturing(stream));
  return allocate(address, bytes);
}
API int cuMemFreeAsync(uint64_t address, void *stream) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_stream(stream));
  TRY(refuse_capturing(stream));
  return release(address);
}
API int cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  if (!bytes) return INVALID_VALUE;
  Buffer buffer;
  uint64_t begin;
  if (!map_buffer(bytes, buffer, begin)) return OUT_OF_MEMORY;
  host_buffers[begin] = buffer;
  *address = at(begin);
  return SUCCESS;
}
API int cuMemAllocHost_v2(void **address, size_t bytes) { return cuMemHostAlloc(address, bytes, 0); }
API int cuMemFreeHost(void *address) {
  Guard guard(lock);
  TRY(check_unsafe());
  const auto found = host_buffers.find(reinterpret_cast<uint64_t>(address));
  if (found == host_buffers.end()) return INVALID_VALUE;
  unmap_buffer(found->first, found->second);
  host_buffers.erase(found);
  return SUCCESS;
}
// The pool that asynchronous allocations come from has no settings that matter here.
API int cuDeviceGetDefaultMemPool(void **pool, int device) {
  Guard guard(lock);
  TRY(check_device(device));
  *pool = &contexts[device];
  return SUCCESS;
}
API int cuDeviceGetMemPool(void **pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }
API int cuMemPoolSetAttribute(void *, int, void *) { return SUCCESS; }
API int cuMemPoolTrimTo(void *, size_t) { return SUCCESS; }
API int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t length) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  return fill(to, value, length, nullptr);
}
API int cuMemsetD32_v2(uint64_t to, unsigned value, size_t length) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  return fill(to, value, length, nullptr);
}
API int cuMemsetD8Async(uint64_t to, unsigned char value, size_t length, void *stream) {
  Guard guard(lock);
  return fill(to, value, length, stream);
}
API int cuMemsetD32Async(uint64_t to, unsigned value, size_t length, void *stream) {
  Guard guard(lock);
  return fill(to, value, length, stream);
}
API int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
  Guard guard(lock);
  TRY(begin_synchronous());
  return upload(to, from, bytes, nullptr);
}
API int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
  Guard guard(lock);
  TRY(begin_synchronous());
  return download(to, from, bytes, nullptr);
}
API int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  return copy_within(to, from, bytes, nullptr);
}
API int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  Guard guard(lock);
  TRY(fault);
  note_host(from);
  return upload(to, from, bytes, stream);
}
API int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  Guard guard(lock);
  TRY(fault);
  note_host(to);
  return download(to, from, bytes, stream);
}
API int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
  Guard guard(lock);
  return copy_within(to, from, bytes, stream);
}

// ---- Modules and launches ----

// The image is not looked at beyond its first byte: kernels are those that were linked into this library.
API int cuModuleLoadData(void **module, const void *image) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_unsafe());
  if (!image) return INVALID_VALUE;
  if (!*static_cast<const char *>(image)) return INVALID_IMAGE;
  *module = made(new Module);
  return SUCCESS;
}
API int cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
  return cuModuleLoadData(module, image);
}
API int cuModuleUnload(void *module) {
  Guard guard(lock);
  if (!known<Module>(module)) return INVALID_HANDLE;
  for (const auto &[name, function] : static_cast<Module *>(module)->functions) live_functions.erase(function.get());
  return destroy<Module>(module);
}
API int cuModuleGetFunction(void **function, void *module, const char *name) {
  Guard guard(lock);
  if (!known<Module>(module)) return INVALID_HANDLE;
  const shim::Kernel *kernel = shim::find(name);
  if (!kernel) return NOT_FOUND;
  auto &one = static_cast<Module *>(module)->functions[name];
  if (!one) one = std::make_unique<Function>(Function{kernel});
  live_functions.insert(one.get());
  *function = one.get();
  return SUCCESS;
}
API int cuModuleGetGlobal_v2(uint64_t *, size_t *, void *, const char *) { return NOT_FOUND; }
API int cuFuncSetAttribute(void *function, int attribute, int value) {
  Guard guard(lock);
  if (!live_functions.count(function)) return INVALID_HANDLE;
  if (attribute != 8) return attribute == 9 ? SUCCESS : INVALID_VALUE;
  if (value < 0 || value > 227 << 10) return INVALID_VALUE;
  static_cast<Function *>(function)->most_dynamic = static_cast<unsigned>(value);
  return SUCCESS;
}
API int cuFuncGetAttribute(int *value, int attribute, void *function) {
  Guard guard(lock);
  if (!live_functions.count(function)) return INVALID_HANDLE;
  const Function &one = *static_cast<Function *>(function);
  switch (attribute) {
    case 0: *value = static_cast<int>(one.kernel->most_threads); break;
    case 4: *value = 32; break;                                       // registers per thread
    case 5: case 6: *value = 90; break;                               // versions of PTX and binary code
    case 8: *value = static_cast<int>(one.most_dynamic); break;
    default: *value = 0;
  }
  return SUCCESS;
}
API int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void *function, int threads, size_t shared,
                                                             unsigned) {
  Guard guard(lock);
  if (!live_functions.count(function)) return INVALID_HANDLE;
  const unsigned most = static_cast<Function *>(function)->kernel->most_threads;
  if (threads < 1 || threads > static_cast<int>(most)) return INVALID_VALUE;
  const size_t by_threads = 2048 / round_up(static_cast<size_t>(threads), 32), by_memory = (228 << 10) / (shared + 1024);
  *blocks = static_cast<int>(std::min({by_threads, by_memory, size_t{32}}));
  return SUCCESS;
}
API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t shared) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, 0);
}
API int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void *stream, void **arguments, void **extra) {
  Guard guard(lock);
  TRY(fault);
  if (extra) return NOT_SUPPORTED;
  return launch(function, {gx, gy, gz}, {bx, by, bz}, shared, stream, arguments);
}

// ---- Graphs ----

API int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
  Guard guard(lock);
  if (!known<Graph>(graph)) return INVALID_HANDLE;
  count("instantiations");
  *executable = made(new Executable{static_cast<Graph *>(graph)->operations});
  return SUCCESS;
}
API int cuGraphLaunch(void *executable, void *stream) {
  Guard guard(lock);
  TRY(fault);
  if (!known<Executable>(executable)) return INVALID_HANDLE;
  const auto operations = static_cast<Executable *>(executable)->operations;
  return submit(stream, [operations] {
    count("graph_launches");
    for (const Operation &operation : *operations) operation();
  });
}
API int cuGraphUpload(void *executable, void *stream) {
  Guard guard(lock);
  if (!known<Executable>(executable)) return INVALID_HANDLE;
  return check_stream(stream);
}
API int cuGraphExecDestroy(void *executable) { Guard guard(lock); return destroy<Executable>(executable); }
API int cuGraphDestroy(void *graph) { Guard guard(lock); return destroy<Graph>(graph); }
API int cuGraphGetNodes(void *graph, void **nodes, size_t *nodes_count) {
  Guard guard(lock);
  if (!known<Graph>(graph)) return INVALID_HANDLE;
  if (nodes) return NOT_SUPPORTED;
  *nodes_count = static_cast<Graph *>(graph)->operations->size();
  return SUCCESS;
}
