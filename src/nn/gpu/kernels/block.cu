// What follows a convolution, in one pass each way: normalisation, max pooling, another summand and rectification of maps
// [N, H, W, C]. `norm` is as norm.cu leaves it, with `bias`; there may be none. `winners` holds where in its window each largest
// value was, row by row; there is none where nothing is pooled, and windows are of one pixel then.
#include "elements.cuh"
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

// What a thread is there for: as many channels as are loaded at once. blockIdx.x is a row of one of the images, of `height` rows,
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
__device__ inline void forward(const Window &window, const Rectifier &rectifier, const float *norm, const float *bias,
                               const float *x, const float *side, float *y, unsigned char *winners) {
  Pixel of;
  int i;
  if (!place<W>(window.p, window.q, window.c, of, i)) return;
  const Numbers<W> by(norm, bias, nullptr, of.channel, window.c);
  forward<W>(of, i, window, rectifier, norm != nullptr, by, x, side, y, winners);
}

template <int W>
__device__ inline void backward(const Window &window, const Rectifier &rectifier, const float *norm, const float *means,
                                const float *x, const float *y, const float *dy, const unsigned char *winners, float *dx) {
  Pixel of;
  int i;
  if (!place<W>(window.h, window.w, window.c, of, i)) return;
  const Numbers<W> by(norm, nullptr, means, of.channel, window.c);
  backward<W>(of, i, window, rectifier, norm != nullptr, by, x, y, dy, winners, dx);
}

}  // namespace

// The output.
KERNEL_BOUNDED(block_forward, 128)(WINDOW, int rectified, float ceiling, const float *norm, const float *bias, const float *x,
                                   const float *side, float *y, unsigned char *winners) {
  const Window window = GIVEN_WINDOW;
  const Rectifier rectifier{rectified, ceiling};
  const int width = width_for(c);
  if (width == 4) forward<4>(window, rectifier, norm, bias, x, side, y, winners);
  else if (width == 2) forward<2>(window, rectifier, norm, bias, x, side, y, winners);
  else forward<1>(window, rectifier, norm, bias, x, side, y, winners);
}
REGISTER(block_forward)

namespace {

// What block_back_parts sums, by a thread with W channels beside each other: `lanes` threads have a pixel, and a block of threads
// as many pixels at a time as there are `slots` for.
template <int W>
__device__ inline void back_parts(const Window &window, const Rectifier &rectifier, int begin, int end, int lanes,
                                  const float *norm, const float *x, const float *y, const float *dy,
                                  const unsigned char *winners, float *dside, float *parts, float (&shared)[2][1024]) {
  // Several pixels at a time, so that their loads are under way together.
  constexpr int AT_ONCE = 4;
  const int lane = threadIdx.x % lanes, slot = threadIdx.x / lanes, slots = 256 / lanes, c = window.c;
  const int channel = (blockIdx.x * lanes + lane) * W;
  Values<W> sum, product;
  UNROLL for (int k = 0; k < W; k++) sum.v[k] = product.v[k] = 0.0f;
  if (channel < c) {
    const Values<W> mean = load<W>(norm + channel), inverse = load<W>(norm + c + channel);
    for (int first = begin + slot; first < end; first += slots * AT_ONCE) {
      Values<W> gradient[AT_ONCE], input[AT_ONCE];
      UNROLL for (int n = 0; n < AT_ONCE; n++) {
        const int pixel = first + slots * n < end ? first + slots * n : first, i = pixel * c + channel;
        gradient[n] = load<W>(dy + i);
        if (rectifier.is_there) {
          const Values<W> output = load<W>(y + i);
          UNROLL for (int k = 0; k < W; k++) gradient[n].v[k] = rectifier.back(output.v[k], gradient[n].v[k]);
        }
        if (dside) store<W>(dside + i, gradient[n]);
        if (winners) {
          const int line = pixel / window.q, column = pixel - line * window.q, image = line / window.p;
          const int row = (line - image * window.p) * window.down - window.above, left = column * window.right - window.before;
          UNROLL for (int k = 0; k < W; k++) {
            const int winner = winners[i + k], down = winner / window.columns, right = winner - down * window.columns;
            input[n].v[k] = x[((image * window.h + row + down) * window.w + left + right) * c + channel + k];
          }
        } else {
          input[n] = load<W>(x + i);
        }
      }
      UNROLL for (int n = 0; n < AT_ONCE; n++)
        if (first + slots * n < end)
          UNROLL for (int k = 0; k < W; k++) {
            sum.v[k] += gradient[n].v[k];
            product.v[k] += gradient[n].v[k] * ((input[n].v[k] - mean.v[k]) * inverse.v[k]);
          }
    }
  }
  store<W>(shared[0] + threadIdx.x * W, sum);
  store<W>(shared[1] + threadIdx.x * W, product);
  __syncthreads();
  // Both sums of a channel, over the slots in their order.
  for (int at = threadIdx.x; at < 2 * lanes * W; at += 256) {
    const int which = at / (lanes * W), own = at - which * lanes * W, of = blockIdx.x * lanes * W + own;
    float all = shared[which][own];
    for (int k = 1; k < slots; k++) all += shared[which][k * lanes * W + own];
    if (of < c) parts[(blockIdx.y * c + of) * 2 + which] = all;
  }
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
KERNEL_BOUNDED(block_back, 128)(WINDOW, int rectified, float ceiling, const float *norm, const float *means, const float *x,
                                const float *y, const float *dy, const unsigned char *winners, float *dx) {
  const Window window = GIVEN_WINDOW;
  const Rectifier rectifier{rectified, ceiling};
  const int width = width_for(c);
  if (width == 4) backward<4>(window, rectifier, norm, means, x, y, dy, winners, dx);
  else if (width == 2) backward<2>(window, rectifier, norm, means, x, y, dy, winners, dx);
  else backward<1>(window, rectifier, norm, means, x, y, dy, winners, dx);
}
REGISTER(block_back)
