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
#define DYNAMIC_SHARED(type, name)                                        \
  extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];   \
  type *name = reinterpret_cast<type *>(dynamic_shared_bytes)

// The position of this thread in its warp. Blocks are numbered along x first, so it holds for two-dimensional blocks
// too.
static __device__ __forceinline__ unsigned lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31u;
}

static __device__ __forceinline__ unsigned as_bits(float value) { return __float_as_uint(value); }
static __device__ __forceinline__ float as_float(unsigned bits) { return __uint_as_float(bits); }

// The upper half of a product.
static __device__ __forceinline__ unsigned multiply_high(unsigned a, unsigned b) { return __umulhi(a, b); }

// Starts an asynchronous copy of four floats from global to shared memory, or of four zeros where `valid` is false.
// Both addresses must be multiples of 16 bytes; `global` is not read where `valid` is false.
static __device__ __forceinline__ void copy16(float *shared, const float *global, bool valid) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid ? 16 : 0) : "memory");
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

// The value that the lane with number `lane() ^ mask` passes. All lanes of the warp must arrive.
static __device__ __forceinline__ float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

#else

#include "shim.hpp"

#endif
