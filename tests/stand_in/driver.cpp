// A stand-in for libcuda.so.1 whose device is this processor, so that tests run the whole GPU path without a GPU.
//
// Work is done at once, in the calling thread and under one lock. Everything a real driver would refuse is refused with the
// real error code: unknown handles, calls without a current context, launches that do not fit, nodes that depend on another
// graph's. A buffer ends at a page that cannot be read, begins as NaN, and its addresses are never used again after it is freed.
//
// Settings, read at each call, from the environment or from `stand_in_set` (which is safe while other threads run):
//   STAND_IN_DEVICES  how many devices there are (1)         STAND_IN_MEMORY  bytes of memory per device (16 GiB)
//   STAND_IN_DRIVER   the driver's version (13000)           STAND_IN_INIT    what cuInit returns (0)
//   STAND_IN_NAME     the devices' name (stand-in)           SHIM_ORDER, SHIM_COPIES: see shim.cpp
//   STAND_IN_OLDER    devices from this number on have compute capability 8.0 (none)
//   STAND_IN_IDLE     kernels after so many do nothing, nor do whole graphs from there on, so that what the host does can be timed
//                     (never)
//   STAND_IN_FAULT    the number of the kernel that does something illegal, which later calls report (none)
//   STAND_IN_GRAPHS   whether graphs can be made: 0 is as if there were no memory for them (1)
//   STAND_IN_GRAPH_ORDER  which node of a graph runs next, of those that wait for none: "given", the one that was added first (the
//                     default), "last", the one that was added last, "random:SEED", another one at each launch
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
#include <unordered_set>
#include <vector>

#include "shim.hpp"

#define API extern "C" __attribute__((visibility("default")))

namespace {

// ---- Errors, settings, counters ----

enum Result {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801,
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

// ---- Streams, events, graphs ----

using Operation = std::function<void()>;

struct Stream {};
struct Event {
  explicit Event(bool timed) : timed(timed) {}
  bool timed;
  bool recorded = false;
  std::chrono::steady_clock::time_point at;
};
// What a node of a graph does, and the places of those that it waits for, which were added before it.
struct Work { Operation operation; std::vector<size_t> after; };
struct Graph;
struct Node { const Graph *graph; size_t place; };
struct Graph { std::vector<Work> works; std::vector<Node *> nodes; };
struct Executable { std::shared_ptr<const std::vector<Work>> works; size_t path; };
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

// Whether work may be given to a stream.
Result check_stream(void *stream) {
  if (!initialized) return NOT_INITIALIZED;
  if (is_legacy(stream)) return check_context();
  return known<Stream>(stream) ? SUCCESS : INVALID_HANDLE;
}

Result submit(void *stream, const Operation &operation) {
  TRY(check_stream(stream));
  operation();
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
  return submit(stream, [=] { count("uploads"); counters["uploaded_bytes"] += bytes; memcpy(at(to), from, bytes); });
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
  count("synchronisations");
  return SUCCESS;
}

// ---- Launches ----

// Arguments are copied when the kernel is launched, as a real driver does.
// What a kernel did wrong, once one did: the calls that wait for it, and all that come after those, report it.
unsigned long kernels_run = 0;
Result fault = SUCCESS;

bool is_idle() { return kernels_run >= number("STAND_IN_IDLE", ~uint64_t{0}); }

struct Launch {
  const shim::Kernel *kernel;
  uint3 grid, block;
  unsigned shared;
  std::vector<unsigned char> bytes;
  std::vector<size_t> offsets;
  void run() {
    const auto said = [](const char *name) { const char *text = shim::setting(name); return text ? strtoul(text, nullptr, 10) : ~0ul; };
    if (is_idle()) return;
    kernels_run++;
    if (kernels_run == said("STAND_IN_FAULT")) fault = ILLEGAL_ADDRESS;
    if (fault) return;
    std::vector<void *> pointers;
    for (const size_t offset : offsets) pointers.push_back(bytes.data() + offset);
    shim::launch(*kernel, grid, block, shared, pointers.data());
  }
};

// A launch with its arguments, if the kernel and the device allow it.
Result prepare(void *handle, uint3 grid, uint3 block, unsigned shared, void **arguments, Launch &launch) {
  if (!live_functions.count(handle)) return INVALID_HANDLE;
  const Function &function = *static_cast<Function *>(handle);
  const shim::Kernel &kernel = *function.kernel;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return INVALID_VALUE;
  if (!threads || block.x > 1024 || block.y > 1024 || block.z > 64 || threads > kernel.most_threads) return INVALID_VALUE;
  if (shared > function.most_dynamic || (!arguments && !kernel.argument_bytes.empty())) return INVALID_VALUE;
  launch = {&kernel, grid, block, shared, {}, {}};
  for (size_t i = 0; i < kernel.argument_bytes.size(); i++) {
    const auto *from = static_cast<unsigned char *>(arguments[i]);
    launch.bytes.resize(round_up(launch.bytes.size(), 16));
    launch.offsets.push_back(launch.bytes.size());
    launch.bytes.insert(launch.bytes.end(), from, from + kernel.argument_bytes[i]);
  }
  return SUCCESS;
}

// ---- Graphs ----

// As in CUDA_KERNEL_NODE_PARAMS_v2, CUDA_MEMCPY3D and CUDA_MEMSET_NODE_PARAMS.
struct KernelNode {
  void *function;
  uint3 grid, block;
  unsigned shared;
  void **arguments, **extra;
  void *kernel, *context;
};
struct CopySide {
  size_t x, y, z, level;
  unsigned type;
  const void *host;
  uint64_t device;
  void *array, *reserved;
  size_t pitch, height;
};
struct CopyNode {
  CopySide from, to;
  size_t width, height, depth;
};
struct FillNode {
  uint64_t to;
  size_t pitch;
  unsigned value, element;
  size_t width, height;
};
static_assert(sizeof(KernelNode) == 72 && sizeof(CopyNode) == 200 && sizeof(FillNode) == 40, "CUDA's");

// Nodes of other graphs, and one that is named twice, are refused.
Result add_node(void **node, void *graph, void *const *after, size_t count, Operation operation) {
  if (!node || !known<Graph>(graph) || (count && !after)) return INVALID_VALUE;
  auto &own = *static_cast<Graph *>(graph);
  Work work{std::move(operation), {}};
  for (size_t i = 0; i < count; i++) {
    if (!known<Node>(after[i]) || static_cast<Node *>(after[i])->graph != &own) return INVALID_VALUE;
    work.after.push_back(static_cast<Node *>(after[i])->place);
  }
  std::set<size_t> distinct(work.after.begin(), work.after.end());
  if (distinct.size() != count) return INVALID_VALUE;
  own.nodes.push_back(made(new Node{&own, own.works.size()}));
  own.works.push_back(std::move(work));
  *node = own.nodes.back();
  return SUCCESS;
}
Result check_node_context(void *context) {
  TRY(check_context());
  const auto *one = static_cast<Context *>(context);
  return one >= contexts && one < contexts + MOST_DEVICES && one->retained ? SUCCESS : INVALID_CONTEXT;
}
// Whether one side of a copy is a row of device memory. A pitch or a height may be left out where there is one row.
bool is_row(const CopySide &side, size_t width) {
  constexpr unsigned DEVICE = 2;
  return side.type == DEVICE && !side.x && !side.y && !side.z && !side.level && !side.reserved &&
         (!side.pitch || (side.pitch >= width && side.pitch <= 0x7fffffff));
}

// The number of nodes on the longest path.
size_t longest_path(const std::vector<Work> &works) {
  std::vector<size_t> length;
  size_t longest = 0;
  for (const Work &work : works) {
    size_t before = 0;
    for (const size_t one : work.after) before = std::max(before, length[one]);
    length.push_back(before + 1);
    longest = std::max(longest, length.back());
  }
  return longest;
}

// Runs every node after those that it waits for, else in the order that is asked for.
void run_graph(const std::vector<Work> &works) {
  const char *said = shim::setting("STAND_IN_GRAPH_ORDER");
  const std::string order = said ? said : "given";
  const bool is_random = !order.compare(0, 7, "random:");
  static uint64_t launches = 0;
  uint64_t state = is_random ? strtoull(order.c_str() + 7, nullptr, 10) * 1000003 + ++launches : 0;
  std::vector<size_t> waits;
  std::vector<std::vector<size_t>> next(works.size());
  std::set<size_t> ready;
  for (size_t i = 0; i < works.size(); i++) {
    waits.push_back(works[i].after.size());
    for (const size_t one : works[i].after) next[one].push_back(i);
    if (!waits[i]) ready.insert(i);
  }
  while (!ready.empty()) {
    auto one = order == "last" ? std::prev(ready.end()) : ready.begin();
    if (is_random) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::advance(one, (state >> 33) % ready.size());
    }
    const size_t i = *one;
    ready.erase(one);
    works[i].operation();
    for (const size_t after : next[i]) if (!--waits[after]) ready.insert(after);
  }
}

}  // namespace

const char *shim::setting(const char *name) {
  const auto said = settings().find(name);
  return said == settings().end() ? getenv(name) : said->second.c_str();
}

// ---- For tests ----

// What the driver has been asked to do since the last reset, in all threads: "launches" (one by one), "graph_launches" and,
// of those graphs, "replayed_launches" (kernels), "replayed_nodes" and "replayed_paths" (nodes on the longest path of each),
// "instantiations", "allocations", "uploads", "downloads", "pageable" (asynchronous copies with ordinary host memory), and
// "synchronisations" (of streams, contexts and events, and synchronous copies). Unknown words count nothing.
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
  const char *older = shim::setting("STAND_IN_OLDER");
  if (older && attribute == 75 && device >= atoi(older)) *value = 8;
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
  *stream = made(new Stream);
  return SUCCESS;
}
API int cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API int cuStreamDestroy_v2(void *stream) { Guard guard(lock); return destroy<Stream>(stream); }
API int cuStreamSynchronize(void *stream) {
  Guard guard(lock);
  TRY(fault);
  TRY(check_stream(stream));
  count("synchronisations");
  return SUCCESS;
}
API int cuStreamQuery(void *stream) { Guard guard(lock); return check_stream(stream); }
API int cuStreamWaitEvent(void *stream, void *event, unsigned) {
  Guard guard(lock);
  return known<Event>(event) ? check_stream(stream) : INVALID_HANDLE;
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
  one.recorded = true;
  one.at = std::chrono::steady_clock::now();
  return SUCCESS;
}
API int cuEventQuery(void *event) { Guard guard(lock); return known<Event>(event) ? SUCCESS : INVALID_HANDLE; }
API int cuEventSynchronize(void *event) {
  Guard guard(lock);
  TRY(fault);
  if (!known<Event>(event)) return INVALID_HANDLE;
  count("synchronisations");
  return SUCCESS;
}
API int cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
  Guard guard(lock);
  if (!known<Event>(start) || !known<Event>(end)) return INVALID_HANDLE;
  const auto &from = *static_cast<Event *>(start), &to = *static_cast<Event *>(end);
  if (!from.timed || !to.timed || !from.recorded || !to.recorded) return INVALID_HANDLE;
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
  return allocate(address, bytes);
}
API int cuMemFree_v2(uint64_t address) {
  Guard guard(lock);
  TRY(check_context());
  return release(address);
}
API int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_stream(stream));
  return allocate(address, bytes);
}
API int cuMemFreeAsync(uint64_t address, void *stream) {
  Guard guard(lock);
  TRY(check_context());
  TRY(check_stream(stream));
  return release(address);
}
API int cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  Guard guard(lock);
  TRY(check_context());
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
  return fill(to, value, length, nullptr);
}
API int cuMemsetD32_v2(uint64_t to, unsigned value, size_t length) {
  Guard guard(lock);
  TRY(check_context());
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
  Launch launch;
  TRY(prepare(function, {gx, gy, gz}, {bx, by, bz}, shared, arguments, launch));
  return submit(stream, [&] { count("launches"); launch.run(); });
}

// ---- Graphs ----

API int cuGraphCreate(void **graph, unsigned flags) {
  Guard guard(lock);
  if (!initialized) return NOT_INITIALIZED;
  if (!graph || flags) return INVALID_VALUE;
  if (!number("STAND_IN_GRAPHS", 1)) return OUT_OF_MEMORY;
  *graph = made(new Graph);
  return SUCCESS;
}
API int cuGraphAddKernelNode_v2(void **node, void *graph, void *const *after, size_t count_after, const KernelNode *what) {
  Guard guard(lock);
  TRY(check_context());
  if (!what || !what->function) return INVALID_VALUE;
  if (what->extra) return NOT_SUPPORTED;
  Launch launch;
  TRY(prepare(what->function, what->grid, what->block, what->shared, what->arguments, launch));
  return add_node(node, graph, after, count_after, [launch]() mutable { count("replayed_launches"); launch.run(); });
}
API int cuGraphAddMemcpyNode(void **node, void *graph, void *const *after, size_t count_after, const CopyNode *what,
                             void *context) {
  Guard guard(lock);
  TRY(check_node_context(context));
  if (!what || !what->width || what->height != 1 || what->depth != 1) return INVALID_VALUE;
  if (!is_row(what->from, what->width) || !is_row(what->to, what->width)) return INVALID_VALUE;
  const uint64_t to = what->to.device, from = what->from.device;
  const size_t bytes = what->width;
  TRY(check_range(to, bytes));
  TRY(check_range(from, bytes));
  return add_node(node, graph, after, count_after, [=] { memmove(at(to), at(from), bytes); });
}
API int cuGraphAddMemsetNode(void **node, void *graph, void *const *after, size_t count_after, const FillNode *what,
                             void *context) {
  Guard guard(lock);
  TRY(check_node_context(context));
  if (!what || !what->width || what->height != 1) return INVALID_VALUE;
  const FillNode fill = *what;
  if (fill.element != 1 && fill.element != 2 && fill.element != 4) return INVALID_VALUE;
  if (fill.to % fill.element || fill.width > SIZE_MAX / fill.element) return INVALID_VALUE;
  if (fill.element < 4 && fill.value >> 8 * fill.element) return INVALID_VALUE;
  TRY(check_range(fill.to, fill.width * fill.element));
  return add_node(node, graph, after, count_after, [fill] {
    for (size_t i = 0; i < fill.width; i++) memcpy(at(fill.to + i * fill.element), &fill.value, fill.element);
  });
}
API int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  Guard guard(lock);
  TRY(fault);
  if (!known<Graph>(graph)) return INVALID_VALUE;
  if (flags) return NOT_SUPPORTED;
  count("instantiations");
  const auto &works = static_cast<Graph *>(graph)->works;
  *executable = made(new Executable{std::make_shared<std::vector<Work>>(works), longest_path(works)});
  return SUCCESS;
}
API int cuGraphLaunch(void *executable, void *stream) {
  Guard guard(lock);
  TRY(fault);
  if (!known<Executable>(executable)) return INVALID_VALUE;
  const auto works = static_cast<Executable *>(executable)->works;
  const size_t path = static_cast<Executable *>(executable)->path;
  return submit(stream, [=] {
    count("graph_launches");
    counters["replayed_nodes"] += works->size();
    counters["replayed_paths"] += path;
    if (!is_idle()) run_graph(*works);
  });
}
API int cuGraphUpload(void *executable, void *stream) {
  Guard guard(lock);
  if (!known<Executable>(executable)) return INVALID_VALUE;
  return check_stream(stream);
}
API int cuGraphExecDestroy(void *executable) { Guard guard(lock); return destroy<Executable>(executable); }
API int cuGraphDestroy(void *graph) {
  Guard guard(lock);
  if (!known<Graph>(graph)) return INVALID_VALUE;
  for (Node *node : static_cast<Graph *>(graph)->nodes) destroy<Node>(node);
  return destroy<Graph>(graph);
}
API int cuGraphGetNodes(void *graph, void **nodes, size_t *nodes_count) {
  Guard guard(lock);
  if (!known<Graph>(graph)) return INVALID_VALUE;
  const auto &own = static_cast<Graph *>(graph)->nodes;
  if (nodes) std::copy_n(own.begin(), std::min(*nodes_count, own.size()), nodes);
  *nodes_count = own.size();
  return SUCCESS;
}
