// Sums whose order follows from the shape alone, so that they come out the same at every run.
#pragma once
#include "values.cuh"

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

// Sums of 32 columns, one for each lane, over the warps of a block, in their order.
template <class T, int WARPS>
__device__ inline T over_warps(T value, T (&shared)[WARPS][32]) {
  shared[threadIdx.x >> 5][lane()] = value;
  __syncthreads();
  T sum = shared[0][lane()];
  for (int warp = 1; warp < WARPS; warp++) sum += shared[warp][lane()];
  return sum;
}

// How the 256 threads of a block share the sums of columns: a thread has W columns beside each other, `lanes` threads those of a
// row, and the block as many rows at a time as there are slots. `lanes` is a power of two.
struct Slots {
  int lane, slot, lanes, count;
  __device__ Slots(int lanes) : lane(threadIdx.x % lanes), slot(threadIdx.x / lanes), lanes(lanes), count(256 / lanes) {}
};

// Two sums of each column over the slots, in their order: `parts` has both of a column beside each other, of `columns` columns, of
// which this block has those from `first` on.
template <int W>
__device__ inline void over_slots(const Slots &slots, const Values<W> &one, const Values<W> &other, int first, int columns,
                                  float *parts, float (&shared)[2][1024]) {
  store<W>(shared[0] + threadIdx.x * W, one);
  store<W>(shared[1] + threadIdx.x * W, other);
  __syncthreads();
  const int width = slots.lanes * W;
  for (int at = threadIdx.x; at < 2 * width; at += 256) {
    const int which = at / width, own = at - which * width;
    float all = shared[which][own];
    for (int k = 1; k < slots.count; k++) all += shared[which][k * width + own];
    if (first + own < columns) parts[(first + own) * 2 + which] = all;
  }
}

}  // namespace sums
