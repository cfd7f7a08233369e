// What follows a convolution, in one pass each way: normalisation, max pooling, another summand and rectification of maps
// [N, H, W, C]. `norm` is as norm.cu leaves it, with `bias`; there may be none. `winners` holds where in its window each largest
// value was, row by row, and NOBODY where rectification let no gradient through; there is none where nothing is pooled, and windows
// are of one pixel then.
#include "elements.cuh"
#include "sums.cuh"
#include "window.cuh"

namespace {

struct Rectifier {
  int is_there;
  float ceiling;
  __device__ float of(float v) const { return !is_there ? v : v < 0.0f ? 0.0f : v > ceiling ? ceiling : v; }
  // Whether the gradient of its output passes.
  __device__ bool passes(float y) const { return !is_there || (y > 0.0f && y < ceiling); }
  // The gradient before it, by its output.
  __device__ float back(float y, float dy) const { return passes(y) ? dy : 0.0f; }
};

// A place that no window has: they have fewer.
constexpr int NOBODY = 255;

// A channel's numbers, for as many channels as there are at once; moments and gradients of their own where there is `norm`.
template <int W>
struct Numbers {
  Values<W> mean, inverse, factor, summand, mean_dy, mean_product;

  __device__ Numbers(const float *norm, const float *bias, const float *means, int channel, int channels) {
    if (!norm) return;
    mean = load<W>(norm + channel);
    factor = load<W>(norm + 2 * channels + channel);
    if (bias) summand = load<W>(bias + channel);
    if (!means) return;
    inverse = load<W>(norm + channels + channel);
    mean_dy = load<W>(means + channel);
    mean_product = load<W>(means + channels + channel);
  }
};

// A value before rectification, by its channel's numbers.
template <int W>
__device__ inline void normalise(Values<W> &x, const Numbers<W> &by, bool is_normed) {
  if (is_normed) UNROLL for (int k = 0; k < W; k++) x.v[k] = (x.v[k] - by.mean.v[k]) * by.factor.v[k] + by.summand.v[k];
}

// The gradient of a value before normalisation.
template <int W>
__device__ inline void normalise_back(Values<W> &sum, const Values<W> &own, const Numbers<W> &by, bool is_normed) {
  if (!is_normed) return;
  UNROLL for (int k = 0; k < W; k++) {
    const float normalised = (own.v[k] - by.mean.v[k]) * by.inverse.v[k];
    sum.v[k] = by.factor.v[k] * (sum.v[k] - by.mean_dy.v[k] - normalised * by.mean_product.v[k]);
  }
}

// What all threads of a kernel are given.
struct Block {
  Window window;
  Rectifier rectifier;
  const float *norm, *bias, *means, *x, *side, *y, *dy;
  const unsigned char *winners;
};

// A pooled value of the output.
template <int W>
__device__ inline void forward(const Block &block, const Pixel &of, int i, const Numbers<W> &by, float *y, unsigned char *winners) {
  const Window &window = block.window;
  const int first_row = of.row * window.down - window.above, first_column = of.column * window.right - window.before;
  Values<W> largest;
  int winner[W];
  const int start = (window.first_row(of.row) - first_row) * window.columns + window.first_column(of.column) - first_column;
  UNROLL for (int k = 0; k < W; k++) largest.v[k] = -INFINITY, winner[k] = start;
  for (int a = window.first_row(of.row); a < window.end_row(of.row); a++)
    for (int b = window.first_column(of.column); b < window.end_column(of.column); b++) {
      Values<W> found = load<W>(block.x + window.input(of, a, b));
      normalise(found, by, block.norm);
      UNROLL for (int k = 0; k < W; k++)
        if (found.v[k] > largest.v[k] || found.v[k] != found.v[k]) {
          largest.v[k] = found.v[k];
          winner[k] = (a - first_row) * window.columns + b - first_column;
        }
    }
  if (block.side) {
    const Values<W> more = load<W>(block.side + i);
    UNROLL for (int k = 0; k < W; k++) largest.v[k] += more.v[k];
  }
  UNROLL for (int k = 0; k < W; k++) {
    largest.v[k] = block.rectifier.of(largest.v[k]);
    if (!block.rectifier.passes(largest.v[k])) winner[k] = NOBODY;
  }
  store<W>(y + i, largest);
  store_bytes<W>(winners + i, winner);
}

// Adds to the gradient of a value that was pooled what comes from the window (a, b), which has its values at `at`.
template <int W>
__device__ inline void add_window(const Block &block, const Pixel &of, int a, int b, const int (&winner)[W],
                                  const Values<W> &more, Values<W> &sum) {
  const Window &window = block.window;
  const int here = (of.row - a * window.down + window.above) * window.columns + of.column - b * window.right + window.before;
  UNROLL for (int k = 0; k < W; k++)
    if (winner[k] == here) sum.v[k] += more.v[k];
}

// The gradient of a value that was pooled. It is under up to MOST windows down and as many to the right, whose values are loaded
// together; any number of them where MOST is 0.
template <int W, int MOST>
__device__ inline void backward(const Block &block, const Pixel &of, int i, const Numbers<W> &by, float *dx) {
  const Window &window = block.window;
  Values<W> sum, own;
  if (block.norm) own = load<W>(block.x + i);
  UNROLL for (int k = 0; k < W; k++) sum.v[k] = 0.0f;
  const int first_row = window.first_window(of.row, window.above, window.rows, window.down);
  const int first_column = window.first_window(of.column, window.before, window.columns, window.right);
  const auto is_over = [&](int a, int b) {
    return a < window.p && a * window.down <= of.row + window.above && b < window.q &&
           b * window.right <= of.column + window.before;
  };
  if constexpr (MOST > 0) {
    Values<W> more[MOST][MOST];
    int winner[MOST][MOST][W];
    UNROLL for (int a = 0; a < MOST; a++)
      UNROLL for (int b = 0; b < MOST; b++) {
        // One that is not over the value is not added.
        const int at = is_over(first_row + a, first_column + b) ? window.output(of, first_row + a, first_column + b) : 0;
        load_bytes<W>(block.winners + at, winner[a][b]);
        more[a][b] = load<W>(block.dy + at);
      }
    UNROLL for (int a = 0; a < MOST; a++)
      UNROLL for (int b = 0; b < MOST; b++)
        if (is_over(first_row + a, first_column + b))
          add_window(block, of, first_row + a, first_column + b, winner[a][b], more[a][b], sum);
  } else {
    for (int a = first_row; is_over(a, first_column); a++)
      for (int b = first_column; is_over(a, b); b++) {
        const int at = window.output(of, a, b);
        int winner[W];
        load_bytes<W>(block.winners + at, winner);
        add_window(block, of, a, b, winner, load<W>(block.dy + at), sum);
      }
  }
  normalise_back(sum, own, by, block.norm);
  store<W>(dx + i, sum);
}

// What a thread is there for where nothing is pooled: as many channels as are loaded at once, of pixels of a row of one of the
// images. blockIdx.x is the row, of `columns` pixels, whose values are dealt out to the threads of all blocks along y.
// `each(at, by)` is asked for COUNT values with the numbers of their channel; `at` is negative where there is none.
template <int W, int COUNT, class Each>
__device__ inline void over_row(const Block &block, int columns, const Each &each) {
  const int c = block.window.c, length = columns * c, step = gridDim.y * blockDim.x * W, from = blockIdx.x * length;
  const int begin = (blockIdx.y * blockDim.x + threadIdx.x) * W;
  if (begin >= length) return;
  const bool is_same = step % c == 0;
  if constexpr (COUNT > 1) {
    // Values of other channels come one by one.
    if (!is_same) {
      over_row<W, 1>(block, columns, [&](const int (&one)[1], const Numbers<W> &by) {
        int at[COUNT] = {one[0]};
        UNROLL for (int k = 1; k < COUNT; k++) at[k] = -1;
        each(at, by);
      });
      return;
    }
  }
  Numbers<W> by(block.norm, block.bias, block.means, begin % c, c);
  for (int first = begin; first < length; first += COUNT * step) {
    if (!is_same && first > begin) by = Numbers<W>(block.norm, block.bias, block.means, first % c, c);
    int at[COUNT];
    UNROLL for (int k = 0; k < COUNT; k++) at[k] = first + k * step < length ? from + first + k * step : -1;
    each(at, by);
  }
}

template <int W>
__device__ inline void forward(const Block &block, float *y) {
  over_row<W, AT_ONCE>(block, block.window.q, [&](const int (&at)[AT_ONCE], const Numbers<W> &by) {
    Values<W> x[AT_ONCE], side[AT_ONCE];
    UNROLL for (int k = 0; k < AT_ONCE; k++) {
      if (at[k] < 0) continue;
      x[k] = load<W>(block.x + at[k]);
      if (block.side) side[k] = load<W>(block.side + at[k]);
    }
    UNROLL for (int k = 0; k < AT_ONCE; k++) {
      if (at[k] < 0) continue;
      normalise(x[k], by, block.norm);
      UNROLL for (int j = 0; j < W; j++) x[k].v[j] = block.rectifier.of(block.side ? x[k].v[j] + side[k].v[j] : x[k].v[j]);
      store<W>(y + at[k], x[k]);
    }
  });
}

template <int W>
__device__ inline void backward(const Block &block, float *dx) {
  over_row<W, AT_ONCE>(block, block.window.w, [&](const int (&at)[AT_ONCE], const Numbers<W> &by) {
    Values<W> own[AT_ONCE], gradient[AT_ONCE], output[AT_ONCE];
    UNROLL for (int k = 0; k < AT_ONCE; k++) {
      if (at[k] < 0) continue;
      gradient[k] = load<W>(block.dy + at[k]);
      if (block.norm) own[k] = load<W>(block.x + at[k]);
      if (block.rectifier.is_there) output[k] = load<W>(block.y + at[k]);
    }
    UNROLL for (int k = 0; k < AT_ONCE; k++) {
      if (at[k] < 0) continue;
      if (block.rectifier.is_there)
        UNROLL for (int j = 0; j < W; j++) gradient[k].v[j] = block.rectifier.back(output[k].v[j], gradient[k].v[j]);
      normalise_back(gradient[k], own[k], by, block.norm);
      store<W>(dx + at[k], gradient[k]);
    }
  });
}

// Where something is pooled, a thread has one value of as many channels: blockIdx.x is a row of one of the images, of `height` rows,
// blockIdx.y a part of the `columns` times `c` values of a row. False beyond its end.
template <int W>
__device__ inline bool place(int height, int columns, int c, Pixel &of, int &i) {
  const int line = blockIdx.x, at = (blockIdx.y * blockDim.x + threadIdx.x) * W;
  if (at >= columns * c) return false;
  const int image = line / height, column = at / c;
  of = {image, at - column * c, line - image * height, column};
  i = line * columns * c + at;
  return true;
}

template <int W>
__device__ inline void pooled_forward(const Block &block, float *y, unsigned char *winners) {
  const Window &window = block.window;
  Pixel of;
  int i;
  if (!place<W>(window.p, window.q, window.c, of, i)) return;
  forward<W>(block, of, i, Numbers<W>(block.norm, block.bias, nullptr, of.channel, window.c), y, winners);
}

template <int W, int MOST>
__device__ inline void pooled_backward(const Block &block, float *dx) {
  const Window &window = block.window;
  Pixel of;
  int i;
  if (!place<W>(window.h, window.w, window.c, of, i)) return;
  backward<W, MOST>(block, of, i, Numbers<W>(block.norm, nullptr, block.means, of.channel, window.c), dx);
}

}  // namespace

// The output.
KERNEL_BOUNDED(block_forward, 128, 6)(WINDOW, int rectified, float ceiling, const float *norm, const float *bias, const float *x,
                                      const float *side, float *y) {
  const Block block{GIVEN_WINDOW, {rectified, ceiling}, norm, bias, nullptr, x, side, nullptr, nullptr, nullptr};
  const int width = width_for(c);
  if (width == 4) forward<4>(block, y);
  else if (width == 2) forward<2>(block, y);
  else forward<1>(block, y);
}
REGISTER(block_forward)

KERNEL_BOUNDED(block_forward_pooled, 128)(WINDOW, int rectified, float ceiling, const float *norm, const float *bias, const float *x,
                                          const float *side, float *y, unsigned char *winners) {
  const Block block{GIVEN_WINDOW, {rectified, ceiling}, norm, bias, nullptr, x, side, nullptr, nullptr, nullptr};
  const int width = width_for(c);
  if (width == 4) pooled_forward<4>(block, y, winners);
  else if (width == 2) pooled_forward<2>(block, y, winners);
  else pooled_forward<1>(block, y, winners);
}
REGISTER(block_forward_pooled)

namespace {

// What block_back_parts sums, by a thread with W channels beside each other.
template <int W>
__device__ inline void back_parts(const Window &window, const Rectifier &rectifier, int begin, int end, int lanes,
                                  const float *norm, const float *x, const float *y, const float *dy,
                                  const unsigned char *winners, float *dside, float *parts, float (&shared)[2][1024]) {
  // Several pixels at a time, so that their loads are under way together.
  const sums::Slots slots(lanes);
  const int c = window.c, column = blockIdx.x * lanes * W, channel = column + slots.lane * W;
  Values<W> sum, product;
  UNROLL for (int k = 0; k < W; k++) sum.v[k] = product.v[k] = 0.0f;
  if (channel < c) {
    const Values<W> mean = load<W>(norm + channel), inverse = load<W>(norm + c + channel);
    for (int first = begin + slots.slot; first < end; first += slots.count * AT_ONCE) {
      Values<W> gradient[AT_ONCE], input[AT_ONCE];
      UNROLL for (int n = 0; n < AT_ONCE; n++) {
        const int pixel = first + slots.count * n < end ? first + slots.count * n : first, i = pixel * c + channel;
        gradient[n] = load<W>(dy + i);
        if (winners) {
          const int line = pixel / window.q, column = pixel - line * window.q, image = line / window.p;
          const int row = (line - image * window.p) * window.down - window.above, left = column * window.right - window.before;
          int winner[W];
          load_bytes<W>(winners + i, winner);
          UNROLL for (int k = 0; k < W; k++) {
            if (winner[k] == NOBODY) {
              gradient[n].v[k] = input[n].v[k] = 0.0f;
              continue;
            }
            const int down = winner[k] / window.columns, right = winner[k] - down * window.columns;
            input[n].v[k] = x[((image * window.h + row + down) * window.w + left + right) * c + channel + k];
          }
        } else {
          if (rectifier.is_there) {
            const Values<W> output = load<W>(y + i);
            UNROLL for (int k = 0; k < W; k++) gradient[n].v[k] = rectifier.back(output.v[k], gradient[n].v[k]);
          }
          input[n] = load<W>(x + i);
        }
        if (dside) store<W>(dside + i, gradient[n]);
      }
      UNROLL for (int n = 0; n < AT_ONCE; n++)
        if (first + slots.count * n < end)
          UNROLL for (int k = 0; k < W; k++) {
            sum.v[k] += gradient[n].v[k];
            product.v[k] += gradient[n].v[k] * ((input[n].v[k] - mean.v[k]) * inverse.v[k]);
          }
    }
  }
  sums::over_slots<W>(slots, sum, product, column, c, parts + blockIdx.y * c * 2, shared);
}

}  // namespace

// The gradient of the summand, where it is wanted, and sums over a part of the output's pixels of the gradient behind
// normalisation and of that times the normalised value, as `norm_back_parts` leaves them. `lanes` is a power of two.
KERNEL_BOUNDED(block_back_parts, 256, 3)(long long pixels, WINDOW, int rectified, float ceiling, int part, int lanes,
                                         const float *norm, const float *x, const float *y, const float *dy,
                                         const unsigned char *winners, float *dside, float *parts) {
  __shared__ __align__(16) float shared[2][1024];
  const Window window = GIVEN_WINDOW;
  const Rectifier rectifier{rectified, ceiling};
  const int begin = blockIdx.y * part, end = begin + part < pixels ? begin + part : (int)pixels, width = width_for(c);
  if (width == 4) back_parts<4>(window, rectifier, begin, end, lanes, norm, x, y, dy, winners, dside, parts, shared);
  else if (width == 2) back_parts<2>(window, rectifier, begin, end, lanes, norm, x, y, dy, winners, dside, parts, shared);
  else back_parts<1>(window, rectifier, begin, end, lanes, norm, x, y, dy, winners, dside, parts, shared);
}
REGISTER(block_back_parts)

// The gradient of the input, by `means` of `norm_back_finish`.
KERNEL_BOUNDED(block_back, 128, 5)(WINDOW, int rectified, float ceiling, const float *norm, const float *means, const float *x,
                                   const float *y, const float *dy, float *dx) {
  const Block block{GIVEN_WINDOW, {rectified, ceiling}, norm, nullptr, means, x, nullptr, y, dy, nullptr};
  const int width = width_for(c);
  if (width == 4) backward<4>(block, dx);
  else if (width == 2) backward<2>(block, dx);
  else backward<1>(block, dx);
}
REGISTER(block_back)

// Where something was pooled, and `winners` say what was rectified.
KERNEL_BOUNDED(block_back_pooled, 128)(WINDOW, const float *norm, const float *means, const float *x, const float *dy,
                                       const unsigned char *winners, float *dx) {
  const Block block{GIVEN_WINDOW, {}, norm, nullptr, means, x, nullptr, nullptr, dy, winners};
  const int width = width_for(c);
  if (width == 4 && rows <= down && columns <= right) pooled_backward<4, 1>(block, dx);
  else if (width == 4 && rows <= 2 * down && columns <= 2 * right) pooled_backward<4, 2>(block, dx);
  else if (width == 4) pooled_backward<4, 0>(block, dx);
  else if (width == 2) pooled_backward<2, 0>(block, dx);
  else pooled_backward<1, 0>(block, dx);
}
REGISTER(block_back_pooled)
