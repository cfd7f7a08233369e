// Values beside each other in memory, moved at once.
#pragma once
#include "portable.cuh"

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

// How many are moved at once where they come in rows of `count`.
__device__ inline int width_for(int count) { return count % 4 == 0 ? 4 : count % 2 == 0 ? 2 : 1; }
