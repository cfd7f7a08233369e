// Sums whose order follows from the shape alone, so that they come out the same at every run.
#pragma once
#include "portable.cuh"

namespace sums {

// The sum over a warp, for every lane.
__device__ inline float over_warp(float value) {
  for (int mask = 16; mask > 0; mask >>= 1) value += shuffle_xor(value, mask);
  return value;
}

__device__ inline float largest_of_warp(float value) {
  for (int mask = 16; mask > 0; mask >>= 1) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

// The sum over a block of 256 threads, in a tree; `shared` has room for one number a thread. Thread 0 has it.
template <class T>
__device__ inline T over_block(T value, T *shared) {
  shared[threadIdx.x] = value;
  for (int half = 128; half > 0; half >>= 1) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads();
  return shared[0];
}

// Sums of 32 columns, one for each lane, over the eight warps of a block, in their order.
template <class T>
__device__ inline T over_warps(T value, T (&shared)[8][32]) {
  shared[threadIdx.x >> 5][lane()] = value;
  __syncthreads();
  T sum = shared[0][lane()];
  for (int warp = 1; warp < 8; warp++) sum += shared[warp][lane()];
  return sum;
}

}  // namespace sums
