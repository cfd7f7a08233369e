// Convolutions of maps [N, H, W, C] with filters [K, R, S, C / groups], as products of matrices whose left side is gathered from
// the maps. blockIdx.z is the group.
#include "elements.cuh"
#include "tile.cuh"

namespace {

struct Shape {
  int n, h, w, c, p, q, k, r, s, down, right, above, before, groups;
  __device__ int channels() const { return c / groups; }
  __device__ int filters() const { return k / groups; }
  __device__ int taps() const { return r * s; }
};

// An image, and where a filter's first tap lies in it for one output pixel.
struct Corner {
  const float *image;
  int y, x;
};

// A tap of a filter with a channel of the input.
struct Tap {
  int y, x, channel;
};

__device__ inline Corner corner(const Shape &g, const float *x, int pixel) {
  const int area = g.p * g.q, image = pixel / area, at = pixel - image * area, row = at / g.q;
  return {x + (long long)image * g.h * g.w * g.c, row * g.down - g.above, (at - row * g.q) * g.right - g.before};
}

__device__ inline Tap tap(const Shape &g, int place) {
  const int channels = g.channels(), number = place / channels, row = number / g.s;
  return {row, number - row * g.s, (int)blockIdx.z * channels + place - number * channels};
}

__device__ inline float under(const Shape &g, const Corner &corner, const Tap &tap) {
  const int y = corner.y + tap.y, x = corner.x + tap.x;
  const bool inside = (unsigned)y < (unsigned)g.h && (unsigned)x < (unsigned)g.w;
  return inside ? corner.image[(y * g.w + x) * g.c + tap.channel] : 0.0f;
}

// The pixels under each output pixel.
struct Patches {
  static constexpr bool ALONG_DEPTH = true;
  using Row = Corner;
  using Depth = Tap;
  Shape g;
  const float *x;
  __device__ Row row(int pixel) const {
    if (pixel < g.n * g.p * g.q) return corner(g, x, pixel);
    return {x, -(1 << 30), 0};
  }
  __device__ Depth depth(int place) const { return tap(g, place); }
  __device__ float at(const Row &corner, const Depth &tap) const { return under(g, corner, tap); }
};

// The same the other way round: a row for each place of a filter.
struct PatchColumns {
  static constexpr bool ALONG_DEPTH = false;
  using Row = Tap;
  using Depth = Corner;
  Shape g;
  const float *x;
  __device__ Row row(int place) const {
    if (place < g.taps() * g.channels()) return tap(g, place);
    return {-(1 << 30), 0, 0};
  }
  __device__ Depth depth(int pixel) const { return corner(g, x, pixel); }
  __device__ float at(const Row &tap, const Depth &corner) const { return under(g, corner, tap); }
};

struct Filters {
  static constexpr bool ALONG_DEPTH = true;
  using Row = const float *;
  using Depth = int;
  Shape g;
  const float *w;
  __device__ Row row(int filter) const {
    const bool there = filter < g.filters();
    return there ? w + (long long)(blockIdx.z * g.filters() + filter) * g.taps() * g.channels() : nullptr;
  }
  __device__ Depth depth(int place) const { return place; }
  __device__ float at(Row row, Depth depth) const { return row ? row[depth] : 0.0f; }
};

// The gradients of the output pixels that an input pixel went into.
struct Spread {
  static constexpr bool ALONG_DEPTH = true;
  // The image's gradient, and the pixel with the padding before it.
  using Row = Corner;
  using Depth = Tap;
  Shape g;
  const float *dy;
  __device__ Row row(int pixel) const {
    if (pixel >= g.n * g.h * g.w) return {dy, -(1 << 30), 0};
    const int area = g.h * g.w, image = pixel / area, at = pixel - image * area, y = at / g.w;
    return {dy + (long long)image * g.p * g.q * g.k, y + g.above, at - y * g.w + g.before};
  }
  __device__ Depth depth(int place) const {
    const int filters = g.filters(), number = place / filters, row = number / g.s;
    return {row, number - row * g.s, (int)blockIdx.z * filters + place - number * filters};
  }
  __device__ float at(const Row &pixel, const Depth &tap) const {
    int p = pixel.y - tap.y, q = pixel.x - tap.x;
    if (p < 0 || q < 0) return 0.0f;
    if (g.down != 1 || g.right != 1) {
      if (p % g.down != 0 || q % g.right != 0) return 0.0f;
      p /= g.down;
      q /= g.right;
    }
    return p < g.p && q < g.q ? pixel.image[(p * g.q + q) * g.k + tap.channel] : 0.0f;
  }
};

// The filters by channel: a row for each channel, along taps and filters.
struct FilterColumns {
  static constexpr bool ALONG_DEPTH = false;
  using Row = int;
  using Depth = const float *;
  Shape g;
  const float *w;
  __device__ Row row(int channel) const { return channel < g.channels() ? channel : -1; }
  __device__ Depth depth(int place) const {
    const int filters = g.filters(), tap = place / filters, filter = place - tap * filters;
    return w + ((long long)(blockIdx.z * filters + filter) * g.taps() + tap) * g.channels();
  }
  __device__ float at(Row channel, Depth from) const { return channel >= 0 ? from[channel] : 0.0f; }
};

// The gradient of the output, a row for each filter.
struct OutputColumns {
  static constexpr bool ALONG_DEPTH = false;
  using Row = int;
  using Depth = const float *;
  Shape g;
  const float *dy;
  __device__ Row row(int filter) const { return filter < g.filters() ? (int)blockIdx.z * g.filters() + filter : -1; }
  __device__ Depth depth(int pixel) const { return dy + (long long)pixel * g.k; }
  __device__ float at(Row filter, Depth from) const { return filter >= 0 ? from[filter] : 0.0f; }
};

template <bool PRECISE>
__device__ inline void forward(const Shape &g, const float *x, const float *w, const float *bias, float *y) {
  const int pixels = g.n * g.p * g.q, filters = g.filters();
  tile::product<PRECISE>(
      Patches{g, x}, Filters{g, w}, blockIdx.x * tile::ROWS, blockIdx.y * tile::COLUMNS, 0, g.taps() * g.channels(),
      [&](int pixel, int filter, float sum) {
        if (pixel >= pixels || filter >= filters) return;
        const int own = blockIdx.z * filters + filter;
        y[(long long)pixel * g.k + own] = bias ? sum + bias[own] : sum;
      });
}

template <bool PRECISE>
__device__ inline void input_gradient(const Shape &g, const float *dy, const float *w, float *dx) {
  const int pixels = g.n * g.h * g.w, channels = g.channels();
  tile::product<PRECISE>(
      Spread{g, dy}, FilterColumns{g, w}, blockIdx.x * tile::ROWS, blockIdx.y * tile::COLUMNS, 0, g.taps() * g.filters(),
      [&](int pixel, int channel, float sum) {
        if (pixel < pixels && channel < channels) dx[(long long)pixel * g.c + blockIdx.z * channels + channel] = sum;
      });
}

// Pixels are cut into parts of `part` each, which are added up afterwards: gridDim.x is the parts times the tiles of filters.
template <bool PRECISE>
__device__ inline void filter_gradient(const Shape &g, int part, const float *x, const float *dy, float *parts) {
  const int pixels = g.n * g.p * g.q, filters = g.filters(), places = g.taps() * g.channels();
  const int tiles = (filters + tile::ROWS - 1) / tile::ROWS, number = blockIdx.x / tiles;
  const int begin = number * part, end = begin + part < pixels ? begin + part : pixels;
  float *own = parts + (long long)number * g.k * places;
  tile::product<PRECISE>(
      OutputColumns{g, dy}, PatchColumns{g, x}, blockIdx.x % tiles * tile::ROWS, blockIdx.y * tile::COLUMNS, begin, end,
      [&](int filter, int place, float sum) {
        if (filter < filters && place < places) own[(long long)(blockIdx.z * filters + filter) * places + place] = sum;
      });
}

}  // namespace

#define SHAPE int n, int h, int w, int c, int p, int q, int k, int r, int s, int down, int right, int above, int before, int groups
#define GIVEN Shape{n, h, w, c, p, q, k, r, s, down, right, above, before, groups}

KERNEL(conv_forward)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  forward<false>(GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward)

KERNEL(conv_forward_precise)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  forward<true>(GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_precise)

KERNEL(conv_input_gradient)(SHAPE, const float *dy, const float *filters, float *dx) {
  input_gradient<false>(GIVEN, dy, filters, dx);
}
REGISTER(conv_input_gradient)

KERNEL(conv_input_gradient_precise)(SHAPE, const float *dy, const float *filters, float *dx) {
  input_gradient<true>(GIVEN, dy, filters, dx);
}
REGISTER(conv_input_gradient_precise)

KERNEL(conv_filter_gradient)(SHAPE, int part, const float *x, const float *dy, float *parts) {
  filter_gradient<false>(GIVEN, part, x, dy, parts);
}
REGISTER(conv_filter_gradient)

KERNEL(conv_filter_gradient_precise)(SHAPE, int part, const float *x, const float *dy, float *parts) {
  filter_gradient<true>(GIVEN, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_precise)

// Depthwise convolutions, of one channel and one filter in each group: a thread for each output.
KERNEL(depthwise_forward)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  const long long at = element();
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
  const long long at = element();
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
