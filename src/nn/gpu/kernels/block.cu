// What follows a convolution, in one pass each way: normalisation, max pooling, another summand and rectification of maps
// [N, H, W, C]. `norm` is as norm.cu leaves it, with `bias`; there may be none. `winners` holds where in its window each largest
// value was, row by row; there is none where nothing is pooled, and windows are of one pixel then.
#include "elements.cuh"
#include "sums.cuh"
#include "values.cuh"
#include "window.cuh"

namespace {

struct Rectifier {
  int is_there;
  float ceiling;
  __device__ float of(float v) const { return !is_there ? v : v < 0.0f ? 0.0f : v > ceiling ? ceiling : v; }
  // The gradient before it, by its output.
  __device__ float back(float y, float dy) const { return !is_there || (y > 0.0f && y < ceiling) ? dy : 0.0f; }
};

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

template <int W>
__device__ inline void forward(const Pixel &of, int i, const Window &window, const Rectifier &rectifier, bool is_normed,
                               const Numbers<W> &by, const float *x, const float *side, float *y, unsigned char *winners) {
  const int first_row = of.row * window.down - window.above, first_column = of.column * window.right - window.before;
  Values<W> largest;
  int winner[W];
  const int start = (window.first_row(of.row) - first_row) * window.columns + window.first_column(of.column) - first_column;
  UNROLL for (int k = 0; k < W; k++) largest.v[k] = -INFINITY, winner[k] = start;
  for (int a = window.first_row(of.row); a < window.end_row(of.row); a++)
    for (int b = window.first_column(of.column); b < window.end_column(of.column); b++) {
      Values<W> found = load<W>(x + window.input(of, a, b));
      UNROLL for (int k = 0; k < W; k++) {
        if (is_normed) found.v[k] = (found.v[k] - by.mean.v[k]) * by.factor.v[k] + by.summand.v[k];
        if (found.v[k] > largest.v[k] || found.v[k] != found.v[k]) {
          largest.v[k] = found.v[k];
          winner[k] = (a - first_row) * window.columns + b - first_column;
        }
      }
    }
  if (side) {
    const Values<W> more = load<W>(side + i);
    UNROLL for (int k = 0; k < W; k++) largest.v[k] += more.v[k];
  }
  UNROLL for (int k = 0; k < W; k++) largest.v[k] = rectifier.of(largest.v[k]);
  store<W>(y + i, largest);
  if (winners) UNROLL for (int k = 0; k < W; k++) winners[i + k] = (unsigned char)winner[k];
}

template <int W>
__device__ inline void backward(const Pixel &of, int i, const Window &window, const Rectifier &rectifier, bool is_normed,
                                const Numbers<W> &by, const float *x, const float *y, const float *dy,
                                const unsigned char *winners, float *dx) {
  Values<W> sum, own;
  if (is_normed) own = load<W>(x + i);
  UNROLL for (int k = 0; k < W; k++) sum.v[k] = 0.0f;
  for (int a = window.first_window(of.row, window.above, window.rows, window.down);
       a < window.p && a * window.down <= of.row + window.above; a++)
    for (int b = window.first_window(of.column, window.before, window.columns, window.right);
         b < window.q && b * window.right <= of.column + window.before; b++) {
      const int at = window.output(of, a, b);
      const int here = (of.row - a * window.down + window.above) * window.columns + of.column - b * window.right + window.before;
      const Values<W> more = load<W>(dy + at);
      Values<W> output = more;
      if (rectifier.is_there) output = load<W>(y + at);
      UNROLL for (int k = 0; k < W; k++)
        if (!winners || winners[at + k] == here) sum.v[k] += rectifier.back(output.v[k], more.v[k]);
    }
  if (is_normed) {
    UNROLL for (int k = 0; k < W; k++) {
      const float normalised = (own.v[k] - by.mean.v[k]) * by.inverse.v[k];
      sum.v[k] = by.factor.v[k] * (sum.v[k] - by.mean_dy.v[k] - normalised * by.mean_product.v[k]);
    }
  }
  store<W>(dx + i, sum);
}

// Rows that a block of threads has: a channel's numbers are loaded once for all of them.
constexpr int LINES = 4;

// What a thread is there for: as many channels as are loaded at once, of a column of several rows. blockIdx.x counts LINES of the
// `count` rows of `height` to an image, blockIdx.y parts of the `columns` times `c` values of one. Calls each(pixel, value).
template <class Each>
__device__ inline void lines(int count, int height, int columns, int c, int column, int channel, const Each &each) {
  UNROLL for (int k = 0; k < LINES; k++) {
    const int line = blockIdx.x * LINES + k, image = line / height;
    if (line < count) each(Pixel{image, channel, line - image * height, column}, (line * columns + column) * c + channel);
  }
}

// Where in a row a thread begins; false where that is beyond it.
__device__ inline bool in_row(int columns, int c, int width, int &column, int &channel) {
  const int at = (blockIdx.y * blockDim.x + threadIdx.x) * width;
  column = at / c, channel = at - column * c;
  return at < columns * c;
}

template <int W>
__device__ inline void forward_lines(int n, const Window &window, const Rectifier &rectifier, const float *norm, const float *bias,
                                     const float *x, const float *side, float *y, unsigned char *winners) {
  int column, channel;
  if (!in_row(window.q, window.c, W, column, channel)) return;
  const Numbers<W> by(norm, bias, nullptr, channel, window.c);
  lines(n * window.p, window.p, window.q, window.c, column, channel, [&](const Pixel &of, int i) {
    forward<W>(of, i, window, rectifier, norm != nullptr, by, x, side, y, winners);
  });
}

template <int W>
__device__ inline void backward_lines(int n, const Window &window, const Rectifier &rectifier, const float *norm,
                                      const float *means, const float *x, const float *y, const float *dy,
                                      const unsigned char *winners, float *dx) {
  int column, channel;
  if (!in_row(window.w, window.c, W, column, channel)) return;
  const Numbers<W> by(norm, nullptr, means, channel, window.c);
  lines(n * window.h, window.h, window.w, window.c, column, channel, [&](const Pixel &of, int i) {
    backward<W>(of, i, window, rectifier, norm != nullptr, by, x, y, dy, winners, dx);
  });
}

}  // namespace

// The output for n images.
KERNEL_BOUNDED(block_forward, 128)(int n, WINDOW, int rectified, float ceiling, const float *norm, const float *bias,
                                   const float *x, const float *side, float *y, unsigned char *winners) {
  const Window window = GIVEN_WINDOW;
  const Rectifier rectifier{rectified, ceiling};
  const int width = width_for(c);
  if (width == 4) forward_lines<4>(n, window, rectifier, norm, bias, x, side, y, winners);
  else if (width == 2) forward_lines<2>(n, window, rectifier, norm, bias, x, side, y, winners);
  else forward_lines<1>(n, window, rectifier, norm, bias, x, side, y, winners);
}
REGISTER(block_forward)

// The gradient of the summand, where it is wanted, and sums over a part of the output's pixels of the gradient behind
// normalisation and of that times the normalised value, as `norm_back_parts` leaves them.
KERNEL_BOUNDED(block_back_parts, 256)(long long pixels, WINDOW, int rectified, float ceiling, int part, const float *norm,
                                      const float *x, const float *y, const float *dy, const unsigned char *winners, float *dside,
                                      float *parts) {
  __shared__ float shared[2][8][32];
  const Window window = GIVEN_WINDOW;
  const Rectifier rectifier{rectified, ceiling};
  const int warp = threadIdx.x >> 5, channel = blockIdx.x * 32 + lane();
  const int begin = blockIdx.y * part, end = begin + part < pixels ? begin + part : (int)pixels;
  float sum = 0.0f, product = 0.0f;
  if (channel < c) {
    const float mean = norm[channel], inverse = norm[c + channel];
    // Several pixels at a time, so that their loads are under way together.
    constexpr int AT_ONCE = 4;
    for (int first = begin + warp; first < end; first += 8 * AT_ONCE) {
      float gradients[AT_ONCE], inputs[AT_ONCE];
      int places[AT_ONCE];
      UNROLL for (int k = 0; k < AT_ONCE; k++) {
        const int pixel = first + 8 * k, i = pixel * c + channel;
        gradients[k] = 0.0f, places[k] = -1;
        if (pixel >= end) continue;
        gradients[k] = rectifier.back(rectified ? y[i] : 0.0f, dy[i]);
        if (dside) dside[i] = gradients[k];
        places[k] = i;
        if (winners) {
          const int line = pixel / q, column = pixel - line * q, image = line / p, row = line - image * p, winner = winners[i];
          const int down_by = winner / columns;
          const Pixel of{image, channel, 0, 0};
          places[k] = window.input(of, row * down - above + down_by, column * right - before + winner - down_by * columns);
        }
      }
      UNROLL for (int k = 0; k < AT_ONCE; k++) inputs[k] = places[k] >= 0 ? x[places[k]] : 0.0f;
      UNROLL for (int k = 0; k < AT_ONCE; k++) {
        sum += gradients[k];
        product += gradients[k] * ((inputs[k] - mean) * inverse);
      }
    }
  }
  sum = sums::over_warps(sum, shared[0]);
  product = sums::over_warps(product, shared[1]);
  if (warp != 0 || channel >= c) return;
  float *out = parts + (blockIdx.y * c + channel) * 2;
  out[0] = sum;
  out[1] = product;
}
REGISTER(block_back_parts)

// The gradient of the input for n images, by `means` of `norm_back_finish`.
KERNEL_BOUNDED(block_back, 128, 6)(int n, WINDOW, int rectified, float ceiling, const float *norm, const float *means, const float *x,
                                const float *y, const float *dy, const unsigned char *winners, float *dx) {
  const Window window = GIVEN_WINDOW;
  const Rectifier rectifier{rectified, ceiling};
  const int width = width_for(c);
  if (width == 4) backward_lines<4>(n, window, rectifier, norm, means, x, y, dy, winners, dx);
  else if (width == 2) backward_lines<2>(n, window, rectifier, norm, means, x, y, dy, winners, dx);
  else backward_lines<1>(n, window, rectifier, norm, means, x, y, dy, winners, dx);
}
REGISTER(block_back)
