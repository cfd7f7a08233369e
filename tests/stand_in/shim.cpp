// CUDA's execution model on one CPU thread: blocks run one after the other, and the threads of a block take turns.
//
// A thread runs until it has to wait for others, at a barrier or at an operation of its warp. A thread that never
// waits is a plain call: the next one begins on the same stack. A thread that waits keeps its stack, and the next one
// gets a fresh one. The last thread to arrive performs the operation for all and goes on; a warp runs as far as it
// gets before the next one begins. SHIM_ORDER=n permutes lanes, warps and blocks: results that change with it come
// from a missing barrier. Asynchronous copies land at once, or with SHIM_COPIES=late when they are waited for: either
// finds faults that the other hides. Shared memory is NaN where the block has not written to it.
#include "shim.hpp"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>

#if !defined(__x86_64__) || defined(SHIM_UCONTEXT)
#include <ucontext.h>
#endif

namespace shim {

const Place *current;
uint3 block_index, block_size, grid_size;
unsigned char *dynamic_shared;

namespace {

// ---- Switching stacks ----

constexpr size_t STACK_BYTES = 64 << 10, PAGE_BYTES = 4096;
void enter();  // where a fresh stack begins

#if defined(__x86_64__) && !defined(SHIM_UCONTEXT)
// Saves what the calling convention asks a function to preserve. This is many times faster than swapcontext, which
// calls the operating system. It ends with a jump, because a return to another stack's caller is always mispredicted.
using Context = void *;
extern "C" __attribute__((visibility("hidden"))) void shim_switch(Context *save, Context load);
asm(R"(
  .text
  .globl shim_switch
  .hidden shim_switch
  .type shim_switch, @function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
  .size shim_switch, . - shim_switch
)");
void prepare(Context &context, unsigned char *, unsigned char *top) {
  void **word = reinterpret_cast<void **>(top);
  *--word = nullptr;  // where `enter` would return to; it also gives the stack the alignment after a call
  *--word = reinterpret_cast<void *>(enter);
  for (int i = 0; i < 6; i++) *--word = nullptr;
  context = word;
}
void change(Context &from, Context &to) { shim_switch(&from, to); }
#else
using Context = ucontext_t;
void prepare(Context &context, unsigned char *bottom, unsigned char *top) {
  getcontext(&context);
  context.uc_stack.ss_sp = bottom;
  context.uc_stack.ss_size = static_cast<size_t>(top - bottom);
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
}
void change(Context &from, Context &to) { swapcontext(&from, &to); }
#endif

struct Stack { unsigned char *bottom, *top; };

// The pages of a stack's lower end cannot be touched, so an overflow faults. Tops are staggered: at equal distances
// they would share a few sets of the processor's caches.
Stack new_stack() {
  static unsigned made;
  void *memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, PAGE_BYTES, PROT_NONE)) { perror("stand-in: a thread's stack"); abort(); }
  auto *bottom = static_cast<unsigned char *>(memory);
  return {bottom + PAGE_BYTES, bottom + STACK_BYTES - made++ % 61 * 192};
}

// ---- The state of the launch that runs ----

struct Copy { float *to; const float *from; unsigned group, bytes; };

struct Thread : Place {
  unsigned warp;            // the number of its warp
  uint32_t bit;             // its place in the warp's order of running
  Stack stack;
  Context context;
  Factors factors;          // operands of an operation of the warp
  float *d;
  const unsigned *a, *b;
  unsigned rows, columns;   // fragments of each
  float value, received;
  int mask;
  std::vector<Copy> copies; // asynchronous copies under way, with SHIM_COPIES=late
  unsigned groups;          // how many groups of copies it has closed
  Product product;          // what its warpgroup multiplies
  Where product_where;
};

enum class Meeting { barrier, exchange, multiply };

// Sets of lanes are masks over the order of running, not over lane numbers.
struct Warp {
  uint32_t bit;                // its place in the block's order of running
  uint32_t all, live, fresh;   // lanes that exist, that have not ended, that have not begun
  uint32_t runnable;           // fresh or released; not the running one
  uint32_t in_warp, in_block;  // those that wait for their warp and for the block
  Meeting meeting;             // what those in `in_warp` wait for, and where
  Where where;
  Thread *order[32];
};

const Kernel *kernel;
void **arguments;
Context launcher;
// These are never destroyed: a launch may still run in another thread when the program ends.
std::vector<Thread> &threads = *new std::vector<Thread>;
std::vector<Warp> &warps = *new std::vector<Warp>;
std::vector<unsigned> &warp_order = *new std::vector<unsigned>;
uint32_t ready_warps;          // those with runnable lanes, by their place in the order of running
unsigned live, in_block;       // threads that have not ended, and those of them that wait at a barrier
Where block_where;
std::vector<Stack> &free_stacks = *new std::vector<Stack>;
uint64_t block_number, block_count, block_stride, block_offset;
unsigned dynamic_bytes;
bool late_copies;
pthread_t launching_thread;
volatile sig_atomic_t launching;

Thread &self() { return const_cast<Thread &>(static_cast<const Thread &>(*current)); }

[[noreturn]] void fault(const Thread &thread, const char *what, Where where, const char *other = "",
                        Where there = {"", 0}) {
  const uint3 block = block_index, index = thread.index;
  fprintf(stderr, "stand-in: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s at %s:%d", kernel->name, block.x,
          block.y, block.z, index.x, index.y, index.z, what, where.file, where.line);
  if (*other) fprintf(stderr, "%s at %s:%d", other, there.file, there.line);
  fprintf(stderr, "\n");
  abort();
}

// Says which kernel an invalid access belongs to, then lets the program die as it would have died.
struct sigaction before_segv, before_bus;
void on_signal(int number, siginfo_t *info, void *) {
  if (launching && pthread_equal(pthread_self(), launching_thread)) {
    char text[512];
    const int length = snprintf(text, sizeof text,
        "stand-in: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): invalid access to address %p\n", kernel->name,
        block_index.x, block_index.y, block_index.z, current->index.x, current->index.y, current->index.z, info->si_addr);
    if (write(2, text, static_cast<size_t>(length)) < 0) {}
    launching = 0;
  }
  sigaction(number, number == SIGSEGV ? &before_segv : &before_bus, nullptr);
}
void watch_signals() {
  static bool watching;
  if (watching) return;
  watching = true;
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &before_segv);
  sigaction(SIGBUS, &action, &before_bus);
}

// ---- Scheduling ----

void make_runnable(Warp &warp, uint32_t lanes) {
  warp.runnable |= lanes;
  if (warp.runnable) ready_warps |= warp.bit;
}

// Takes the thread that runs next, from the given warp if it has one, or returns null when there is none.
Thread *take(Warp *warp) {
  if (!warp->runnable) {
    // Its lanes wait for one another at one place and for the block at another: this would never end.
    if (warp->in_warp) {
      const Thread &inner = *warp->order[__builtin_ctz(warp->in_warp)];
      fault(inner, "waits for its warp", warp->where, ", while others of the warp wait at another barrier", block_where);
    }
    if (!ready_warps) return nullptr;
    warp = &warps[warp_order[static_cast<unsigned>(__builtin_ctz(ready_warps))]];
  }
  Thread *next = warp->order[__builtin_ctz(warp->runnable)];
  warp->runnable &= warp->runnable - 1;
  if (!warp->runnable) ready_warps &= ~warp->bit;
  return next;
}

// Gives a thread a stack on its first turn. `stack` is null where one has to be found.
bool is_fresh(const Thread &thread) { return warps[thread.warp].fresh & thread.bit; }
void begin(Thread &thread, const Stack *stack) {
  warps[thread.warp].fresh &= ~thread.bit;
  if (stack) { thread.stack = *stack; return; }
  if (free_stacks.empty()) {
    thread.stack = new_stack();
  } else {
    thread.stack = free_stacks.back();
    free_stacks.pop_back();
  }
  prepare(thread.context, thread.stack.bottom, thread.stack.top);
}

// Lets others run until someone has released the current thread.
void suspend() {
  Thread &me = self();
  Thread *next = take(&warps[me.warp]);
  if (!next) { fprintf(stderr, "stand-in: kernel %s: no thread can run\n", kernel->name); abort(); }
  if (is_fresh(*next)) begin(*next, nullptr);
  current = next;
  change(me.context, next->context);
}

void release_block() {
  in_block = 0;
  for (Warp &warp : warps) {
    const uint32_t lanes = warp.in_block;
    warp.in_block = 0;
    make_runnable(warp, lanes);
  }
}

// ---- Operations of a warp ----

using Row = float __attribute__((vector_size(32)));  // eight columns

// What 32 bits of an operand hold.
struct OfTf32 {
  static constexpr unsigned COUNT = 1;
  static float number(unsigned bits, unsigned) { return as_float(bits & 0xffffe000u); }
};
struct OfBf16 {
  static constexpr unsigned COUNT = 2;
  static float number(unsigned bits, unsigned which) { return as_float(which ? bits & 0xffff0000u : bits << 16); }
};

// Sums run over k in order, in float. A processor with wider registers computes the same bits.
template <class Of>
inline __attribute__((always_inline)) void multiply_of(const Thread *lanes, unsigned fragment_row, unsigned fragment_column) {
  constexpr unsigned COUNT = Of::COUNT, DEPTH = 8 * COUNT;
  const unsigned at = (fragment_row * lanes->columns + fragment_column) * 4;
  float a[16][DEPTH];
  union { Row row[DEPTH]; float at[DEPTH][8]; } b;
  union { Row row[16]; float at[16][8]; } d;
  for (unsigned i = 0; i < 32; i++) {
    const unsigned g = i >> 2, t = i & 3;
    const Thread &lane = lanes[i];
    const unsigned *own_a = lane.a + fragment_row * 4, *own_b = lane.b + fragment_column * 2;
    for (unsigned half = 0; half < 2; half++)
      for (unsigned which = 0; which < COUNT; which++) {
        const unsigned k = COUNT * (t + 4 * half) + which;
        a[g][k] = Of::number(own_a[2 * half], which);
        a[g + 8][k] = Of::number(own_a[2 * half + 1], which);
        b.at[k][g] = Of::number(own_b[half], which);
      }
    memcpy(&d.at[g][2 * t], lane.d + at, 8);
    memcpy(&d.at[g + 8][2 * t], lane.d + at + 2, 8);
  }
  for (unsigned row = 0; row < 16; row++) {
    Row sum = d.row[row];
    for (unsigned k = 0; k < DEPTH; k++) sum += a[row][k] * b.row[k];
    d.row[row] = sum;
  }
  for (unsigned i = 0; i < 32; i++) {
    const unsigned g = i >> 2, t = i & 3;
    memcpy(lanes[i].d + at, &d.at[g][2 * t], 8);
    memcpy(lanes[i].d + at + 2, &d.at[g + 8][2 * t], 8);
  }
}

#if defined(__x86_64__) && defined(__GLIBC__)
#define WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define WIDEST
#endif
WIDEST void multiply_tf32(const Thread *lanes, unsigned row, unsigned column) { multiply_of<OfTf32>(lanes, row, column); }
WIDEST void multiply_bf16(const Thread *lanes, unsigned row, unsigned column) { multiply_of<OfBf16>(lanes, row, column); }

void multiply(Warp &warp) {
  const Thread *lanes = &threads[static_cast<size_t>(warp.order[0]->linear & ~31u)];
  for (unsigned row = 0; row < lanes->rows; row++)
    for (unsigned column = 0; column < lanes->columns; column++)
      (lanes->factors == Factors::bf16 ? multiply_bf16 : multiply_tf32)(lanes, row, column);
}

// What a lane that has ended or never existed would pass is undefined, so it is NaN.
void exchange(Warp &warp) {
  const unsigned first = warp.order[0]->linear & ~31u;
  for (uint32_t lanes = warp.live; lanes; lanes &= lanes - 1) {
    Thread &to = *warp.order[__builtin_ctz(lanes)];
    const unsigned from = first + ((to.linear & 31u) ^ static_cast<unsigned>(to.mask));
    const bool alive = from < threads.size() && (warp.live & threads[from].bit);
    to.received = alive ? threads[from].value : as_float(0xffffffffu);
  }
}

void perform(Warp &warp) {
  switch (warp.meeting) {
    case Meeting::barrier: break;
    case Meeting::exchange: exchange(warp); break;
    case Meeting::multiply:
      if (warp.live != 0xffffffffu) {
        fault(*warp.order[__builtin_ctz(warp.live)], "a product without all 32 lanes", warp.where);
      }
      multiply(warp);
      break;
  }
  const uint32_t lanes = warp.in_warp;
  warp.in_warp = 0;
  make_runnable(warp, lanes);
}

void meet(Meeting meeting, Where where) {
  Thread &me = self();
  Warp &warp = warps[me.warp];
  if (!warp.in_warp) {
    warp.meeting = meeting;
    warp.where = where;
  } else if (warp.meeting != meeting || warp.where.line != where.line) {
    fault(me, "waits for its warp", where, ", while others of the warp wait", warp.where);
  }
  warp.in_warp |= me.bit;
  if (warp.in_warp == warp.live) {
    warp.in_warp &= ~me.bit;
    perform(warp);
  } else {
    suspend();
  }
}

// ---- Blocks ----

// Prepares the next block and returns false when there is none.
bool next_block() {
  if (block_number == block_count) return false;
  const uint64_t at = (block_number++ * block_stride + block_offset) % block_count;
  block_index = {static_cast<unsigned>(at % grid_size.x), static_cast<unsigned>(at / grid_size.x % grid_size.y),
                 static_cast<unsigned>(at / grid_size.x / grid_size.y)};
  live = static_cast<unsigned>(threads.size());
  in_block = 0;
  for (Warp &warp : warps) {
    warp.live = warp.fresh = warp.runnable = warp.all;
    warp.in_warp = warp.in_block = 0;
    ready_warps |= warp.bit;
  }
  if (dynamic_bytes) memset(dynamic_shared, 0xff, dynamic_bytes);
  memset(kernel->shared_begin, 0xff, static_cast<size_t>(kernel->shared_end - kernel->shared_begin));
  return true;
}

void enter() { kernel->run(arguments); }

// The place of dynamic shared memory: it ends at a page that cannot be touched.
unsigned char *shared_memory_end() {
  static unsigned char *end = [] {
    constexpr size_t bytes = 256 << 10;
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) { perror("stand-in: shared memory"); abort(); }
    auto *last = static_cast<unsigned char *>(memory) + bytes - PAGE_BYTES;
    mprotect(last, PAGE_BYTES, PROT_NONE);
    return last;
  }();
  return end;
}

struct Generator {  // splitmix64
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  unsigned below(unsigned bound) { return static_cast<unsigned>(next() % bound); }
};

uint64_t common_divisor(uint64_t a, uint64_t b) { return b ? common_divisor(b, a % b) : a; }

// Lays out threads and warps for this size of block, in the order of running that SHIM_ORDER asks for. The layout of
// the launch before is kept where it fits.
void arrange_threads(uint3 block, uint64_t order) {
  static uint3 arranged;
  static uint64_t arranged_order;
  if (!threads.empty() && order == arranged_order && !memcmp(&arranged, &block, sizeof block)) return;
  arranged = block;
  arranged_order = order;
  const unsigned count = block.x * block.y * block.z, warp_count = (count + 31) / 32;
  Generator random{order};
  auto shuffle = [&](auto *items, unsigned length) {
    if (order) for (unsigned i = length; i > 1; i--) std::swap(items[i - 1], items[random.below(i)]);
  };
  threads.resize(count);
  warps.resize(warp_count);
  warp_order.resize(warp_count);
  for (unsigned i = 0; i < count; i++) {
    Thread &thread = threads[i];
    thread.index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    thread.linear = i;
    thread.warp = i / 32;
    thread.copies.clear();
    thread.groups = 0;
    thread.product = {};
  }
  for (unsigned w = 0; w < warp_count; w++) {
    Warp &warp = warps[w];
    const unsigned lanes = count - 32 * w < 32 ? count - 32 * w : 32;
    warp.all = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    for (unsigned i = 0; i < lanes; i++) warp.order[i] = &threads[32 * w + i];
    shuffle(warp.order, lanes);
    for (unsigned i = 0; i < lanes; i++) warp.order[i]->bit = 1u << i;
    warp_order[w] = w;
  }
  shuffle(warp_order.data(), warp_count);
  for (unsigned i = 0; i < warp_count; i++) warps[warp_order[i]].bit = 1u << i;
}

// Lets the blocks run in the order of their numbers, or by steps of another size that visit each of them once.
void arrange_blocks(uint3 grid, uint64_t order) {
  block_number = 0;
  block_count = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
  block_stride = 1;
  block_offset = 0;
  if (!order) return;
  Generator random{~order};
  block_offset = random.next() % block_count;
  do block_stride = 1 + random.next() % block_count; while (common_divisor(block_stride, block_count) != 1);
}

std::map<std::string, Kernel> &kernels() {
  static auto *table = new std::map<std::string, Kernel>;
  return *table;
}

}  // namespace

// ---- What kernels call ----

void wait_for_block(Where where) {
  Thread &me = self();
  if (!in_block) block_where = where;
  else if (block_where.line != where.line) fault(me, "waits for its block", where, ", while other threads wait", block_where);
  if (++in_block == live) return release_block();
  warps[me.warp].in_block |= me.bit;
  suspend();
}

void wait_for_warp(Where where) { meet(Meeting::barrier, where); }

void multiply_in_warp(Factors factors, float *d, const unsigned *a, const unsigned *b, unsigned rows, unsigned columns, Where where) {
  Thread &me = self();
  me.factors = factors;
  me.d = d;
  me.a = a;
  me.b = b;
  me.rows = rows;
  me.columns = columns;
  meet(Meeting::multiply, where);
}

void begin_product(const Product &product, Where where) {
  Thread &me = self();
  if (me.product.d) fault(me, "multiplies", where, ", while it multiplies", me.product_where);
  me.product = product;
  me.product_where = where;
}

Product end_product() {
  Thread &me = self();
  const Product product = me.product;
  me.product = {};
  return product;
}

float exchange_in_warp(float value, int mask, Where where) {
  Thread &me = self();
  if (mask < 0 || mask > 31) fault(me, "shuffles with a lane beyond its warp", where);
  me.value = value;
  me.mask = mask;
  meet(Meeting::exchange, where);
  return me.received;
}

void next_thread() {
  Thread &me = self();
  Warp &warp = warps[me.warp];
  if (me.product.d) fault(me, "ends while it multiplies", me.product_where);
  if (!me.copies.empty()) me.copies.clear();
  me.groups = 0;
  warp.live &= ~me.bit;
  // Those who still wait no longer wait for this thread.
  if (warp.in_warp && warp.in_warp == warp.live) perform(warp);
  if (in_block == --live && live) release_block();
  Thread *next = take(&warp);
  if (!next && next_block()) next = take(&warps[warp_order[0]]);
  if (next && is_fresh(*next)) {
    begin(*next, &me.stack);
    current = next;
    return;
  }
  free_stacks.push_back(me.stack);
  current = next;
  change(me.context, next ? next->context : launcher);
}

void copy(float *to, const float *from, unsigned bytes) {
  Thread &me = self();
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) & (bytes - 1)) {
    fprintf(stderr, "stand-in: kernel %s, thread (%u, %u, %u): copy of %u bytes with an address that is not a multiple of them\n",
            kernel->name, me.index.x, me.index.y, me.index.z, bytes);
    abort();
  }
  static const float zeros[4] = {};
  if (late_copies) me.copies.push_back({to, from ? from : zeros, me.groups, bytes});
  else memcpy(to, from ? from : zeros, bytes);
}

void copy_commit() { self().groups++; }

void copy_wait(unsigned under_way) {
  Thread &me = self();
  size_t kept = 0;
  for (const Copy &copy : me.copies) {
    if (copy.group + under_way >= me.groups) me.copies[kept++] = copy;
    else memcpy(copy.to, copy.from, copy.bytes);
  }
  me.copies.resize(kept);
}

// ---- What the driver calls ----

Registration::Registration(Kernel added) {
  if (kernels().emplace(added.name, added).second) return;
  fprintf(stderr, "stand-in: two kernels are called %s\n", added.name);
  abort();
}

const Kernel *find(const char *name) {
  const auto at = kernels().find(name);
  return at == kernels().end() ? nullptr : &at->second;
}

void launch(const Kernel &launched, uint3 grid, uint3 block, unsigned shared, void **with) {
  watch_signals();
  const char *order = setting("SHIM_ORDER"), *copies = setting("SHIM_COPIES");
  late_copies = copies && !strcmp(copies, "late");
  kernel = &launched;
  arguments = with;
  block_size = block;
  grid_size = grid;
  dynamic_bytes = (shared + 15) & ~15u;
  dynamic_shared = shared_memory_end() - dynamic_bytes;
  ready_warps = 0;
  const uint64_t number = order ? strtoull(order, nullptr, 10) : 0;
  arrange_threads(block, number);
  arrange_blocks(grid, number);
  next_block();
  Thread *first = take(&warps[warp_order[0]]);
  begin(*first, nullptr);
  current = first;
  launching_thread = pthread_self();
  launching = 1;
  change(launcher, first->context);
  launching = 0;
}

}  // namespace shim
