// Convolutions whose factors are rounded to TF32, or not at all, and depthwise ones.
#include "conv.cuh"

namespace {

using Large = tile::Tiles<tile::Large, tile::Factors::TF32>;
using Medium = tile::Tiles<tile::Medium, tile::Factors::TF32>;
using Small = tile::Tiles<tile::Small, tile::Factors::TF32>;
using Precise = tile::Tiles<tile::Small, tile::Factors::FLOAT32>;
#ifdef WARPGROUPS
using GroupHuge = group::Tiles<group::Huge, group::InTf32>;
// These have no registers to spare.
using GroupLarge = group::Tiles<group::Large, group::InTf32, false>;
using GroupMedium = group::Tiles<group::Medium, group::InTf32, false>;
using GroupWide = group::Tiles<group::Wide, group::InTf32>;
using GroupSmall = group::Tiles<group::Small, group::InTf32>;
#endif

}  // namespace

// Filters are [K, R, S, C / groups]. Which tiles are fast depends on the shape; the sums are the same in tiles of all sizes.
KERNEL_BOUNDED(conv_forward_large, Large::THREADS, 2)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<Large>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_large)

KERNEL_BOUNDED(conv_forward_medium, Medium::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<Medium>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_medium)

KERNEL_BOUNDED(conv_forward_small, Small::THREADS, 4)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<Small>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_small)

KERNEL_BOUNDED(conv_forward_precise, Precise::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<Precise>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_precise)

// Filters are [C, R, S, K / groups].
KERNEL_BOUNDED(conv_input_gradient_large, Large::THREADS, 2)(SHAPE, const float *dy, const float *filters, const float *more,
                                                             float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<Large>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_large)

KERNEL_BOUNDED(conv_input_gradient_medium, Medium::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more,
                                                               float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<Medium>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_medium)

KERNEL_BOUNDED(conv_input_gradient_small, Small::THREADS, 4)(SHAPE, const float *dy, const float *filters, const float *more,
                                                             float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<Small>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_small)

KERNEL_BOUNDED(conv_input_gradient_precise, Precise::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more,
                                                                 float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<Precise>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_precise)

KERNEL_BOUNDED(conv_filter_gradient_large, Large::THREADS, 2)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<Large>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_large)

KERNEL_BOUNDED(conv_filter_gradient_medium, Medium::THREADS, 4)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<Medium>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_medium)

KERNEL_BOUNDED(conv_filter_gradient_small, Small::THREADS, 5)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<Small>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_small)

KERNEL_BOUNDED(conv_filter_gradient_precise, Precise::THREADS, 3)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<Precise>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_precise)

// For the tensor cores of compute capability 9.0.
#ifdef WARPGROUPS
KERNEL_BOUNDED(conv_forward_group_large, GroupLarge::THREADS, 2)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupLarge>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_large)

KERNEL_BOUNDED(conv_forward_group_medium, GroupMedium::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupMedium>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_medium)

KERNEL_BOUNDED(conv_forward_group_wide, GroupWide::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupWide>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_wide)

KERNEL_BOUNDED(conv_forward_group_small, GroupSmall::THREADS, 4)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupSmall>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_small)

KERNEL_BOUNDED(conv_forward_group_few, GroupMedium::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupMedium, true>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_few)

KERNEL_BOUNDED(conv_input_gradient_group_large, GroupLarge::THREADS, 2)(SHAPE, const float *dy, const float *filters, const float *more,
                                                                        float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupLarge>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_large)

KERNEL_BOUNDED(conv_input_gradient_group_medium, GroupMedium::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more,
                                                                          float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupMedium>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_medium)

KERNEL_BOUNDED(conv_input_gradient_group_wide, GroupWide::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more,
                                                                      float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupWide>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_wide)

KERNEL_BOUNDED(conv_input_gradient_group_small, GroupSmall::THREADS, 4)(SHAPE, const float *dy, const float *filters, const float *more,
                                                                        float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupSmall>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_small)

KERNEL_BOUNDED(conv_filter_gradient_group_huge, GroupHuge::THREADS, 1)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<GroupHuge>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_group_huge)
#endif

// Depthwise convolutions, of one channel and one filter in each group: a thread for each output.
KERNEL(depthwise_forward)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  const int at = element();
  if (at >= (long long)n * p * q * c) return;
  const int channel = at % c, pixel = at / c, image = pixel / (p * q), row0 = pixel % (p * q) / q * down - above;
  const int column0 = pixel % q * right - before;
  float sum = bias ? bias[channel] : 0.0f;
  for (int i = 0; i < r; i++)
    for (int j = 0; j < s; j++) {
      const int row = row0 + i, column = column0 + j;
      if (row >= 0 && row < h && column >= 0 && column < w)
        sum += x[(((long long)image * h + row) * w + column) * c + channel] * filters[(channel * r + i) * s + j];
    }
  y[at] = sum;
}
REGISTER(depthwise_forward)

KERNEL(depthwise_input_gradient)(SHAPE, const float *dy, const float *filters, float *dx) {
  const int at = element();
  if (at >= (long long)n * h * w * c) return;
  const int channel = at % c, pixel = at / c, image = pixel / (h * w), row0 = pixel % (h * w) / w + above;
  const int column0 = pixel % w + before;
  float sum = 0.0f;
  for (int i = 0; i < r; i++)
    for (int j = 0; j < s; j++) {
      const int row = row0 - i, column = column0 - j;
      if (row >= 0 && column >= 0 && row % down == 0 && column % right == 0 && row / down < p && column / right < q)
        sum += dy[(((long long)image * p + row / down) * q + column / right) * c + channel] * filters[(channel * r + i) * s + j];
    }
  dx[at] = sum;
}
REGISTER(depthwise_input_gradient)

// A block has 32 channels, blockIdx.y is the part of the pixels, blockIdx.z the tap.
KERNEL(depthwise_filter_gradient)(SHAPE, int part, const float *x, const float *dy, float *parts) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.z / s, j = blockIdx.z % s;
  if (channel >= c) return;
  const int pixels = n * p * q, begin = blockIdx.y * part, end = begin + part < pixels ? begin + part : pixels;
  float sum = 0.0f;
  for (int pixel = begin; pixel < end; pixel++) {
    const int image = pixel / (p * q), row = pixel % (p * q) / q * down - above + i, column = pixel % q * right - before + j;
    if (row >= 0 && row < h && column >= 0 && column < w)
      sum += x[(((long long)image * h + row) * w + column) * c + channel] * dy[(long long)pixel * c + channel];
  }
  parts[((long long)blockIdx.y * c + channel) * r * s + blockIdx.z] = sum;
}
REGISTER(depthwise_filter_gradient)
