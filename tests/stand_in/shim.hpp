// What a kernel sees when g++ compiles it: the names of CUDA and of src/nn/gpu/kernels/portable.cuh, over the
// execution model in shim.cpp. It never appears in the product, only in the stand-in for libcuda that tests load.
//
// Build options: SHIM_UNIT, a string that names the translation unit and consists of letters, digits and underscores.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <utility>
#include <vector>

struct uint3 { unsigned x, y, z; };
using dim3 = uint3;
// The alignments are those of CUDA, so a misaligned vector access faults here as well.
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace shim {

// Which thread of its block is running.
struct Place {
  uint3 index;
  unsigned linear;
};
extern const Place *current;
extern uint3 block_index, block_size, grid_size;
extern unsigned char *dynamic_shared;

// A position in a kernel's source. Two threads at different positions wait at different barriers.
struct Where {
  const char *file;
  int line;
};

// Each of these may switch to another thread of the block and returns when the threads concerned have all arrived.
void wait_for_block(Where);
void wait_for_warp(Where);
// What the 32 bits of an operand hold: a number of TF32, or two of bf16.
enum class Factors { tf32, bf16 };
// d[rows][columns][4] += a[rows][4] * b[columns][2], fragment by fragment.
void multiply_in_warp(Factors, float *d, const unsigned *a, const unsigned *b, unsigned rows, unsigned columns, Where);
float exchange_in_warp(float value, int mask, Where);

// What a warpgroup multiplies while its threads go on: the right operand has eight rows for each of the `columns`.
struct Product {
  Factors factors;
  float *d;
  const unsigned *a;
  const float *rows;
  unsigned columns;
};
// A thread has one of them under way at most, and none when it ends.
void begin_product(const Product &, Where);
// The one under way; nothing in it where there is none.
Product end_product();

void copy(float *to, const float *from_or_null, unsigned bytes);
void copy_commit();
void copy_wait(unsigned groups_under_way);

// Ends the current thread. Returns once another thread that has not yet begun may run on the same stack.
void next_thread();

// A kernel as the stand-in driver knows it.
struct Kernel {
  const char *name;
  void (*run)(void **arguments);         // runs threads until the launch is over; never returns
  std::vector<size_t> argument_bytes;
  unsigned most_threads;                 // a launch with more threads per block fails
  unsigned char *shared_begin, *shared_end;  // the static shared memory of the kernel's translation unit
};

// Adds a kernel to the table while the library is loaded. Two kernels of one name abort the program.
struct Registration { explicit Registration(Kernel); };

// The kernel of this name, or null.
const Kernel *find(const char *name);

// Runs a whole launch, one thread of one block at a time. The caller has checked the sizes and holds the driver's
// lock: only one launch may run in a process.
void launch(const Kernel &, uint3 grid, uint3 block, unsigned dynamic_bytes, void **arguments);

// A setting by its name: what `stand_in_set` last said, or else the environment; null when neither knows it.
const char *setting(const char *name);

template <auto Function> struct Runner;
template <class... Arguments, void (*Function)(Arguments...)> struct Runner<Function> {
  template <size_t... I> [[noreturn]] static void run_all([[maybe_unused]] void **arguments, std::index_sequence<I...>) {
    for (;;) {
      Function(*static_cast<Arguments *>(arguments[I])...);
      next_thread();
    }
  }
  static void run(void **arguments) { run_all(arguments, std::index_sequence_for<Arguments...>{}); }
  static Kernel kernel(const char *name, unsigned most_threads, unsigned char *begin, unsigned char *end) {
    return {name, run, {sizeof(Arguments)...}, most_threads, begin, end};
  }
};

}  // namespace shim

#define __host__
#define __device__ __attribute__((unused))
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static const
#define threadIdx (shim::current->index)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
#define UNROLL
#define UNROLL_BY(count)

// The linker script that build.sh writes collects the static variables of a translation unit, which are its shared
// memory and little else, between these two names, so that they can be poisoned before each block.
#define __shared__ static __attribute__((used))
#ifdef SHIM_UNIT
namespace shim {
extern unsigned char shared_begin[] __asm__("shared_memory_of_" SHIM_UNIT) __attribute__((visibility("hidden")));
extern unsigned char shared_end[] __asm__("shared_memory_end_of_" SHIM_UNIT) __attribute__((visibility("hidden")));
}
#endif

// Kernels are static here: a kernel called `advance` would otherwise collide with a function of the C library, and a
// missing REGISTER shows as an unused function.
#define KERNEL(name) KERNEL_BOUNDED(name, 1024)
#define KERNEL_BOUNDED(name, ...)                                                  \
  static constexpr unsigned bounds_of_##name[] = {__VA_ARGS__};                    \
  static void name
#define REGISTER(name)                                                             \
  static const shim::Registration registration_of_##name{                          \
      shim::Runner<name>::kernel(#name, bounds_of_##name[0], shim::shared_begin, shim::shared_end)};
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(shim::dynamic_shared)

#define SHIM_HERE shim::Where where = {__builtin_FILE(), __builtin_LINE()}

inline unsigned lane() { return shim::current->linear & 31u; }
inline void __syncthreads(SHIM_HERE) { shim::wait_for_block(where); }
inline void __syncwarp(SHIM_HERE) { shim::wait_for_warp(where); }
inline void __threadfence() {}
inline void __threadfence_block() {}

inline unsigned as_bits(float value) { unsigned bits; memcpy(&bits, &value, sizeof bits); return bits; }
inline float as_float(unsigned bits) { float value; memcpy(&value, &bits, sizeof value); return value; }

inline int leading_zeros(unsigned bits) { return __builtin_clz(bits); }
inline unsigned multiply_high(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }

template <int WIDTH, bool CACHED> inline void copy(float *shared, const float *global, bool valid) {
  shim::copy(shared, valid ? global : nullptr, WIDTH * sizeof(float));
}
inline void copy_commit() { shim::copy_commit(); }
template <int N> inline void copy_wait() { shim::copy_wait(N); }

// Adding half of the last kept bit rounds to nearest with ties away from zero. Infinities stay, NaN becomes the NaN
// that the GPU gives.
inline unsigned tf32(float value) {
  const unsigned bits = as_bits(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return (bits & 0x007fffffu) ? 0x7fffffffu : bits;
  return (bits + 0x1000u) & 0xffffe000u;
}

inline unsigned near_tf32(float value) {
  const unsigned bits = as_bits(value);
  return fabsf(value) < INFINITY ? bits + 0x1000u : bits;
}

inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SHIM_HERE) {
  shim::multiply_in_warp(shim::Factors::tf32, d, a, b, 1, 1, where);
}
// The lanes of a warp meet once for all of them.
template <int M, int N>
inline void mma_tf32_tiles(float (&d)[M][N][4], const unsigned (&a)[M][4], const unsigned (&b)[N][2], SHIM_HERE) {
  shim::multiply_in_warp(shim::Factors::tf32, &d[0][0][0], &a[0][0], &b[0][0], M, N, where);
}

// To nearest, ties to even. Infinities stay, and what is rounded beyond the largest number becomes one; NaN becomes the NaN that the GPU
// gives.
inline unsigned short bf16(float value) {
  const unsigned bits = as_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
  return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline unsigned bf16_pair(float first, float second) { return bf16(first) | (unsigned)bf16(second) << 16; }

inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], SHIM_HERE) {
  shim::multiply_in_warp(shim::Factors::bf16, d, a, b, 1, 1, where);
}
template <int M, int N>
inline void mma_bf16_tiles(float (&d)[M][N][4], const unsigned (&a)[M][4], const unsigned (&b)[N][2], SHIM_HERE) {
  shim::multiply_in_warp(shim::Factors::bf16, &d[0][0][0], &a[0][0], &b[0][0], M, N, where);
}
inline float shuffle_xor(float value, int mask, SHIM_HERE) { return shim::exchange_in_warp(value, mask, where); }
inline int shuffle(int value, int from, SHIM_HERE) {
  return static_cast<int>(as_bits(shim::exchange_in_warp(as_float(static_cast<unsigned>(value)), static_cast<int>(lane()) ^ from, where)));
}

inline unsigned lanes_with(bool value, SHIM_HERE) {
  unsigned bits = value ? 1u << lane() : 0;
  for (int mask = 1; mask < 32; mask *= 2) bits |= as_bits(shim::exchange_in_warp(as_float(bits), mask, where));
  return bits;
}
inline int first_bit(unsigned bits) { return __builtin_ctz(bits); }

// The stand-in has warpgroups. What they multiply is read, and sums are written, when it is waited for, as late as can be. A missing
// `fence_for_groups` is not found here.
#define WARPGROUPS 1
inline void fence_for_groups() {}
inline float among_exchanged(const float *rows, int row, int depth) {
  return rows[row * 32 + ((depth / 4 ^ row % 8) * 4 | depth % 4)];
}
inline void load_fragment(float (&a)[4], const float *rows, int row, int step) {
  const int group = static_cast<int>(lane()) / 4, in = static_cast<int>(lane()) % 4;
  for (int i = 0; i < 4; i++) a[i] = among_exchanged(rows, row + group + i % 2 * 8, step * 8 + i / 2 * 4 + in);
}
template <int N>
inline void multiply_in_group(float (&d)[N][4], const unsigned (&a)[4][4], const float *rows, SHIM_HERE) {
  shim::begin_product({shim::Factors::tf32, &d[0][0], &a[0][0], rows, N}, where);
}
inline unsigned pair_among_exchanged(const float *rows, int row, int depth) {
  return as_bits(rows[row * 16 + ((depth / 8 ^ row / 2 % 4) * 4 | depth % 8 / 2)]);
}
template <int N>
inline void multiply_pairs_in_group(float (&d)[N][4], const unsigned (&a)[2][4], const float *rows, SHIM_HERE) {
  shim::begin_product({shim::Factors::bf16, &d[0][0], &a[0][0], rows, N}, where);
}
inline void wait_for_group(SHIM_HERE) {
  const shim::Product it = shim::end_product();
  const int group = static_cast<int>(lane()) / 4, in = static_cast<int>(lane()) % 4;
  const bool in_pairs = it.factors == shim::Factors::bf16;
  for (int step = 0; it.d && step < (in_pairs ? 2 : 4); step++) {
    unsigned b[16][2];
    for (int i = 0; i < static_cast<int>(it.columns); i++)
      for (int k = 0; k < 2; k++) {
        const int row = i * 8 + group;
        b[i][k] = in_pairs ? pair_among_exchanged(it.rows, row, step * 16 + k * 8 + 2 * in)
                           : as_bits(among_exchanged(it.rows, row, step * 8 + k * 4 + in));
      }
    shim::multiply_in_warp(it.factors, it.d, it.a + 4 * step, &b[0][0], 1, it.columns, where);
  }
}

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return b < a ? b : a; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
template <class T> inline T __ldg(const T *from) { return *from; }

// Only one thread runs at a time, so an ordinary addition is atomic. There is none for floats on purpose: its result
// would depend on the order of threads.
inline int atomicAdd(int *at, int value) { const int old = *at; *at += value; return old; }
inline unsigned atomicAdd(unsigned *at, unsigned value) { const unsigned old = *at; *at += value; return old; }
inline int atomicMax(int *at, int value) { const int old = *at; *at = max(old, value); return old; }
inline unsigned atomicMax(unsigned *at, unsigned value) { const unsigned old = *at; *at = max(old, value); return old; }
inline int atomicOr(int *at, int value) { const int old = *at; *at |= value; return old; }
inline unsigned atomicOr(unsigned *at, unsigned value) { const unsigned old = *at; *at |= value; return old; }
