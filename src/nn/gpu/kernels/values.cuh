// Values beside each other in memory, moved at once.
#pragma once
#include "portable.cuh"

// Loads that a thread has under way at once, where it has a loop of them.
constexpr int AT_ONCE = 4;

// WIDTH of them.
template <int WIDTH>
struct Values {
  float v[WIDTH];
};

template <int WIDTH>
__device__ inline Values<WIDTH> load(const float *from) {
  Values<WIDTH> out;
  if constexpr (WIDTH == 4) {
    const float4 found = *reinterpret_cast<const float4 *>(from);
    out.v[0] = found.x, out.v[1] = found.y, out.v[2] = found.z, out.v[3] = found.w;
  } else if constexpr (WIDTH == 2) {
    const float2 found = *reinterpret_cast<const float2 *>(from);
    out.v[0] = found.x, out.v[1] = found.y;
  } else {
    out.v[0] = *from;
  }
  return out;
}

template <int WIDTH>
__device__ inline void store(float *to, const Values<WIDTH> &values) {
  if constexpr (WIDTH == 4) {
    *reinterpret_cast<float4 *>(to) = make_float4(values.v[0], values.v[1], values.v[2], values.v[3]);
  } else if constexpr (WIDTH == 2) {
    *reinterpret_cast<float2 *>(to) = make_float2(values.v[0], values.v[1]);
  } else {
    *to = values.v[0];
  }
}

// Bytes beside each other, as numbers.
template <int WIDTH>
__device__ inline void load_bytes(const unsigned char *from, int (&out)[WIDTH]) {
  unsigned found;
  if constexpr (WIDTH == 4) found = *reinterpret_cast<const unsigned *>(from);
  else if constexpr (WIDTH == 2) found = *reinterpret_cast<const unsigned short *>(from);
  else found = *from;
  UNROLL for (int k = 0; k < WIDTH; k++) out[k] = (int)(found >> 8 * k & 255u);
}

template <int WIDTH>
__device__ inline void store_bytes(unsigned char *to, const int (&values)[WIDTH]) {
  unsigned all = 0;
  UNROLL for (int k = 0; k < WIDTH; k++) all |= ((unsigned)values[k] & 255u) << 8 * k;
  if constexpr (WIDTH == 4) *reinterpret_cast<unsigned *>(to) = all;
  else if constexpr (WIDTH == 2) *reinterpret_cast<unsigned short *>(to) = (unsigned short)all;
  else *to = (unsigned char)all;
}

// How many are moved at once where they come in rows of `count`.
__device__ inline int width_for(int count) { return count % 4 == 0 ? 4 : count % 2 == 0 ? 2 : 1; }
