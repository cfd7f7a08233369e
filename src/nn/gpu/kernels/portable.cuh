// The vocabulary of the kernels. The same names work under nvcc, where they are thin wrappers around PTX, and under
// g++, where tests/stand_in/shim.hpp runs a kernel on the CPU. A kernel includes this file and nothing else of CUDA.
//
//   KERNEL(scale)(int n, float factor, float *x) { ... }        a kernel that may be launched with up to 1024 threads
//   KERNEL_BOUNDED(scale, 256, 2)(int n, ...) { ... }           at most 256 threads a block, two blocks wanted per SM
//   REGISTER(scale)                                             after each kernel; without it the stand-in lacks it
//
// Kernel names are global, also inside a namespace. Everything else in a .cu file should be `static` or in a namespace
// of its own, because all files are compiled as one. A `__shared__` variable belongs in a kernel or in a function that no
// other file can see (a `static` one, or a template over local types); the stand-in's build refuses others, because it
// could not tell whose shared memory they are.
#pragma once

#ifdef __CUDACC__

#define KERNEL(name) extern "C" __global__ void name
#define KERNEL_BOUNDED(name, ...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__) name
#define REGISTER(name)
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(count) PRAGMA(unroll count)
#define DYNAMIC_SHARED(type, name)                                        \
  extern __shared__ __align__(1024) unsigned char dynamic_shared_bytes[];   \
  type *name = reinterpret_cast<type *>(dynamic_shared_bytes)

// The position of this thread in its warp. Blocks are numbered along x first, so it holds for two-dimensional blocks
// too.
static __device__ __forceinline__ unsigned lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31u;
}

static __device__ __forceinline__ unsigned as_bits(float value) { return __float_as_uint(value); }
static __device__ __forceinline__ float as_float(unsigned bits) { return __uint_as_float(bits); }

// Zeros before the first bit of a number that is not zero.
static __device__ __forceinline__ int leading_zeros(unsigned bits) { return __clz((int)bits); }

// The upper half of a product.
static __device__ __forceinline__ unsigned multiply_high(unsigned a, unsigned b) { return __umulhi(a, b); }

// Starts an asynchronous copy of one, two or four floats from global to shared memory, or of as many zeros where `valid` is
// false. Both addresses must be multiples of their bytes; `global` is not read where `valid` is false. Four floats go past the
// nearest cache, but for CACHED.
template <int WIDTH, bool CACHED>
static __device__ __forceinline__ void copy(float *shared, const float *global, bool valid) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (WIDTH == 4 && !CACHED) {
    asm volatile("{.reg .pred none; setp.eq.u32 none, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, none;}" ::"r"(to), "l"(global),
                 "r"((unsigned)valid)
                 : "memory");
  } else {
    asm volatile("{.reg .pred none; setp.eq.u32 none, %3, 0; cp.async.ca.shared.global [%0], [%1], %2, none;}" ::"r"(to), "l"(global),
                 "n"(4 * WIDTH), "r"((unsigned)valid)
                 : "memory");
  }
}

// Closes the group of copies that this thread has started since the last call.
static __device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the `N` newest groups of this thread are still under way. Other threads see the copies only
// after a barrier.
template <int N>
static __device__ __forceinline__ void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Rounds to the 10 stored mantissa bits of TF32, to nearest, ties away from zero.
static __device__ __forceinline__ unsigned tf32(float value) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

// Bits that are the same number to a tensor core, which ignores the low 13: cheaper than `tf32`.
static __device__ __forceinline__ unsigned near_tf32(float value) {
  const unsigned bits = as_bits(value);
  return fabsf(value) < INFINITY ? bits + 0x1000u : bits;
}

// d[16, 8] += a[16, 8] * b[8, 8] over a warp (`mma.sync.m16n8k8`, PTX ISA section 9.7.14). With g = lane / 4 and
// t = lane % 4, a lane holds
//   a = { A[g][t], A[g + 8][t], A[g][t + 4], A[g + 8][t + 4] },  b = { B[t][g], B[t + 4][g] },
//   d = { D[g][2t], D[g][2t + 1], D[g + 8][2t], D[g + 8][2t + 1] }.
// The low 13 bits of `a` and `b` are ignored. All 32 lanes must arrive.
static __device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for M times N fragments: d[i][j] += a[i] * b[j].
template <int M, int N>
static __device__ __forceinline__ void mma_tf32_tiles(float (&d)[M][N][4], const unsigned (&a)[M][4],
                                                      const unsigned (&b)[N][2]) {
  UNROLL for (int i = 0; i < M; i++)
    UNROLL for (int j = 0; j < N; j++) mma_tf32(d[i][j], a[i], b[j]);
}

// A number rounded to the 7 stored mantissa bits of bf16, to nearest, ties to even, and a pair of them, the first in the low half.
static __device__ __forceinline__ unsigned short bf16(float value) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
static __device__ __forceinline__ unsigned bf16_pair(float first, float second) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

// d[16, 8] += a[16, 16] * b[16, 8] over a warp (`mma.sync.m16n8k16`), of pairs of bf16 that are neighbours along the depth. With
// g and t as above, a lane holds
//   a = { A[g][2t, 2t + 1], A[g + 8][2t, 2t + 1], A[g][2t + 8, 2t + 9], A[g + 8][2t + 8, 2t + 9] },
//   b = { B[2t, 2t + 1][g], B[2t + 8, 2t + 9][g] },  and d as above.
static __device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for M times N fragments: d[i][j] += a[i] * b[j].
template <int M, int N>
static __device__ __forceinline__ void mma_bf16_tiles(float (&d)[M][N][4], const unsigned (&a)[M][4],
                                                      const unsigned (&b)[N][2]) {
  UNROLL for (int i = 0; i < M; i++)
    UNROLL for (int j = 0; j < N; j++) mma_bf16(d[i][j], a[i], b[j]);
}

// A bit for each lane of the warp: whether it passes true. All lanes must arrive.
static __device__ __forceinline__ unsigned lanes_with(bool value) { return __ballot_sync(0xffffffffu, value); }

// The lowest bit that is set in a number that is not zero.
static __device__ __forceinline__ int first_bit(unsigned bits) { return __ffs(bits) - 1; }

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WARPGROUPS 1
// Makes what this thread has written to shared memory, also by copies that it has waited for, visible to `multiply_in_group` of
// the threads that meet it at the next barrier.
static __device__ __forceinline__ void fence_for_groups() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// A fragment of the left operand, of 16 rows from `row` on, a multiple of 16, and the eight depths from 8 step on, of rows of 32
// floats in shared memory with the four floats from 4 (i ^ row % 8) on in the place of those from 4 i on.
static __device__ __forceinline__ void load_fragment(float (&a)[4], const float *rows, int row, int step) {
  const unsigned own = lane(), from = (row + own % 16) * 32 + (((2 * step + own / 16) ^ (own % 8)) * 4);
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(rows + from));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=f"(a[0]), "=f"(a[1]), "=f"(a[2]), "=f"(a[3])
               : "r"(at)
               : "memory");
}

// Where a tensor core finds eight depths of the right operand (PTX ISA, matrix descriptor): rows of 128 bytes, of which eight make a
// kilobyte, with their 16 bytes exchanged.
static __device__ __forceinline__ unsigned long long group_operand(const float *rows, int step) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(rows)) + 32u * step;
  return (at & 0x3ffffu) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

// Where it finds 16 depths of pairs of bf16: rows of 64 bytes, of which eight make half a kilobyte, with the 16 bytes of two rows
// exchanged.
static __device__ __forceinline__ unsigned long long group_pairs(const float *rows, int step) {
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(rows)) + 32u * step;
  return (at & 0x3ffffu) >> 4 | 1ull << 16 | 32ull << 32 | 2ull << 62;
}

#define SUM(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define GROUP_PRODUCT(name, depth, factors, transposed)                                                                              \
  static __device__ __forceinline__ void name(float (&d)[8][4], const unsigned (&a)[4], unsigned long long b) {                      \
    asm volatile(                                                                                                                    \
        "wgmma.mma_async.sync.aligned.m64n64k" depth ".f32." factors "." factors " "                                                 \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "  \
        "{%32,%33,%34,%35}, %36, 1, 1, 1" transposed ";"                                                                             \
        : SUM(0), SUM(1), SUM(2), SUM(3), SUM(4), SUM(5), SUM(6), SUM(7)                                                             \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                                       \
  }                                                                                                                                  \
  static __device__ __forceinline__ void name(float (&d)[16][4], const unsigned (&a)[4], unsigned long long b) {                     \
    asm volatile(                                                                                                                    \
        "wgmma.mma_async.sync.aligned.m64n128k" depth ".f32." factors "." factors " "                                                \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"    \
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,"   \
        "%62,%63}, {%64,%65,%66,%67}, %68, 1, 1, 1" transposed ";"                                                                   \
        : SUM(0), SUM(1), SUM(2), SUM(3), SUM(4), SUM(5), SUM(6), SUM(7), SUM(8), SUM(9), SUM(10), SUM(11), SUM(12), SUM(13),        \
          SUM(14), SUM(15)                                                                                                           \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                                       \
  }
GROUP_PRODUCT(group_product, "8", "tf32", "")
// Only these say whether the right operand is transposed.
GROUP_PRODUCT(group_product_of_pairs, "16", "bf16", ", 0")
#undef GROUP_PRODUCT
#undef SUM

// d[64, 8 N] += a[64, 32] * b[32, 8 N] over a warpgroup, four warps whose first has a number that is a multiple of four
// (`wgmma`, PTX ISA section 9.7.15), of which each has 16 rows: a[step] and d[i] are fragments as `mma_tf32` has them, of the depths
// from 8 step on and the columns from 8 i on. Right rows are of 32 floats in shared memory, from a multiple of 1024 bytes on, with
// the four floats from 4 (i ^ row % 8) on in the place of those from 4 i on. All 128 threads must arrive. It is under way until
// `wait_for_group`: until then nothing may touch its operands and sums.
template <int N>
static __device__ __forceinline__ void multiply_in_group(float (&d)[N][4], const unsigned (&a)[4][4], const float *rows) {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  UNROLL for (int step = 0; step < 4; step++) group_product(d, a[step], group_operand(rows, step));
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// The same of pairs of bf16: a[step] are fragments as `mma_bf16` has them, of the depths from 16 step on. Right rows are of 16 pairs,
// from a multiple of 512 bytes on, with the four pairs from 4 (i ^ row / 2 % 4) on in the place of those from 4 i on.
template <int N>
static __device__ __forceinline__ void multiply_pairs_in_group(float (&d)[N][4], const unsigned (&a)[2][4], const float *rows) {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  UNROLL for (int step = 0; step < 2; step++) group_product_of_pairs(d, a[step], group_pairs(rows, step));
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits for what `multiply_in_group` or `multiply_pairs_in_group` began.
static __device__ __forceinline__ void wait_for_group() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
#endif

// The value that the lane with number `lane() ^ mask` passes. All lanes of the warp must arrive.
static __device__ __forceinline__ float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

// The value that the lane with number `from` passes. All lanes of the warp must arrive.
static __device__ __forceinline__ int shuffle(int value, int from) { return __shfl_sync(0xffffffffu, value, from); }

#else

#include "shim.hpp"

#endif
