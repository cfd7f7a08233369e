// Kernels with one fault each, and one without: what the shim is there to find. Each is launched with two blocks of 64 threads, 1024
// bytes of dynamic shared memory, n = 128 numbers in x and room for as many in y.
#include "portable.cuh"

KERNEL(sound)(int n, const float *x, float *y) {
  __shared__ __align__(16) float shared[64];
  const int i = threadIdx.x, from = blockIdx.x * 64;
  if (i < 16) copy<4, false>(shared + 4 * i, x + from + 4 * i, true);
  copy_commit();
  copy_wait<0>();
  __syncthreads();
  const float other = shared[63 - i];
  __syncthreads();
  shared[i] = other;
  __syncthreads();
  y[from + i] = shared[63 - i] + other;
}
REGISTER(sound)

KERNEL(without_a_barrier)(int n, const float *x, float *y) {
  __shared__ float shared[64];
  const int i = threadIdx.x, from = blockIdx.x * 64;
  shared[i] = x[from + i];
  y[from + i] = shared[63 - i];
}
REGISTER(without_a_barrier)

// What is overwritten is still being read.
KERNEL(without_a_second_barrier)(int n, const float *x, float *y) {
  __shared__ float shared[64];
  const int i = threadIdx.x, from = blockIdx.x * 64;
  shared[i] = x[from + i];
  __syncthreads();
  const float other = shared[63 - i];
  shared[i] = -1.0f;
  __syncthreads();
  y[from + i] = other + shared[i];
}
REGISTER(without_a_second_barrier)

KERNEL(copies_that_nobody_waits_for)(int n, const float *x, float *y) {
  __shared__ __align__(16) float shared[64];
  const int i = threadIdx.x, from = blockIdx.x * 64;
  if (i < 16) copy<4, false>(shared + 4 * i, x + from + 4 * i, true);
  copy_commit();
  __syncthreads();
  y[from + i] = shared[i];
}
REGISTER(copies_that_nobody_waits_for)

// The newer of two groups is not waited for.
KERNEL(copies_of_which_too_few_are_waited_for)(int n, const float *x, float *y) {
  __shared__ __align__(16) float shared[64];
  const int i = threadIdx.x, from = blockIdx.x * 64;
  if (i < 8) copy<4, false>(shared + 4 * i, x + from + 4 * i, true);
  copy_commit();
  if (i < 8) copy<4, false>(shared + 32 + 4 * i, x + from + 32 + 4 * i, true);
  copy_commit();
  copy_wait<1>();
  __syncthreads();
  y[from + i] = shared[i];
}
REGISTER(copies_of_which_too_few_are_waited_for)

KERNEL(reads_shared_memory_that_nobody_wrote)(int n, const float *x, float *y) {
  __shared__ float shared[64];
  const int i = threadIdx.x;
  if (i > 0) shared[i] = x[i];
  __syncthreads();
  y[blockIdx.x * 64 + i] = shared[i];
}
REGISTER(reads_shared_memory_that_nobody_wrote)

KERNEL(reads_beyond_the_end)(int n, const float *x, float *y) { y[blockIdx.x * 64 + threadIdx.x] = x[n + threadIdx.x]; }
REGISTER(reads_beyond_the_end)

KERNEL(writes_beyond_the_end)(int n, const float *x, float *y) { y[n + threadIdx.x] = x[threadIdx.x]; }
REGISTER(writes_beyond_the_end)

KERNEL(writes_beyond_shared_memory)(int n, const float *x, float *y) {
  DYNAMIC_SHARED(float, shared);
  shared[256 + threadIdx.x] = x[threadIdx.x];
  y[blockIdx.x * 64 + threadIdx.x] = shared[threadIdx.x];
}
REGISTER(writes_beyond_shared_memory)

KERNEL(copies_to_a_place_between)(int n, const float *x, float *y) {
  __shared__ __align__(16) float shared[68];
  copy<4, false>(shared + 1, x, true);
  copy_commit();
  copy_wait<0>();
  y[blockIdx.x * 64 + threadIdx.x] = shared[1];
}
REGISTER(copies_to_a_place_between)

KERNEL(barriers_in_two_branches)(int n, const float *x, float *y) {
  const int i = threadIdx.x;
  if (i < 32) __syncthreads();
  else if (i < 64)
    __syncthreads();
  y[blockIdx.x * 64 + i] = x[i];
}
REGISTER(barriers_in_two_branches)

KERNEL(multiplies_with_half_a_warp)(int n, const float *x, float *y) {
  float d[4] = {};
  const unsigned a[4] = {}, b[2] = {};
  if (lane() < 16) mma_tf32(d, a, b);
  y[blockIdx.x * 64 + threadIdx.x] = d[0] + x[threadIdx.x];
}
REGISTER(multiplies_with_half_a_warp)

// Begins to multiply by a warpgroup, of numbers that lie in shared memory.
__device__ inline void begin_multiplying(float (&d)[1][4], const unsigned (&a)[4][4], float *shared, const float *x) {
  for (int k = 0; k < 4; k++) shared[4 * threadIdx.x + k] = x[threadIdx.x];
  __syncthreads();
  multiply_in_group(d, a, shared);
}

// The sums are there when they are waited for, and not before.
KERNEL(ends_while_it_multiplies)(int n, const float *x, float *y) {
  DYNAMIC_SHARED(float, shared);
  float d[1][4] = {};
  const unsigned a[4][4] = {};
  begin_multiplying(d, a, shared, x);
  y[blockIdx.x * 64 + threadIdx.x] = d[0][0];
}
REGISTER(ends_while_it_multiplies)

KERNEL(multiplies_twice_at_once)(int n, const float *x, float *y) {
  DYNAMIC_SHARED(float, shared);
  float d[1][4] = {};
  const unsigned a[4][4] = {};
  begin_multiplying(d, a, shared, x);
  multiply_in_group(d, a, shared);
  wait_for_group();
  y[blockIdx.x * 64 + threadIdx.x] = d[0][0];
}
REGISTER(multiplies_twice_at_once)
