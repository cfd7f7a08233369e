// Batch normalisation. A value of channel c lies at (r / s * channels + c) * s + r % s, where r counts images and pixels: s is
// the number of pixels where channels are planes, and 1 where they are innermost. In kernels that sum, the warps of a block have
// 32 channels, one for each lane, unless it says otherwise; blockIdx.y is the part of the values.
#include "elements.cuh"
#include "sums.cuh"

namespace {

// Warps of a block where there are few blocks: so many that most of their loads are under way at once.
constexpr int WARPS = 16;

struct Layout {
  int channels, s;
  __device__ int at(int r, int channel) const {
    return s == 1 ? r * channels + channel : (r / s * channels + channel) * s + r % s;
  }
  __device__ int channel(int i) const { return i / s % channels; }
};

// The sums over the parts of both numbers of a channel.
__device__ inline void sums_of_parts(const float *sums, int parts, int channels, int channel, double &first, double &second) {
  __shared__ double shared[2][WARPS][32];
  double a = 0.0, b = 0.0;
  if (channel < channels) {
    for (int p = threadIdx.x >> 5; p < parts; p += WARPS) {
      const Values<2> both = load<2>(sums + (p * channels + channel) * 2);
      a += both.v[0];
      b += both.v[1];
    }
  }
  first = sums::over_warps(a, shared[0]);
  second = sums::over_warps(b, shared[1]);
}

}  // namespace

namespace {

// The sums of norm_parts where channels are innermost, by a thread with W of them beside each other.
template <int W>
__device__ inline void parts_of_innermost(int begin, int end, int channels, int lanes, const float *x, float *parts,
                                          float (&shared)[2][1024]) {
  const sums::Slots slots(lanes);
  const int column = blockIdx.x * lanes * W, channel = column + slots.lane * W;
  Values<W> sum, square;
  UNROLL for (int k = 0; k < W; k++) sum.v[k] = square.v[k] = 0.0f;
  if (channel < channels) {
    const Values<W> first = load<W>(x + channel);
    for (int row = begin + slots.slot; row < end; row += slots.count * AT_ONCE) {
      Values<W> v[AT_ONCE];
      UNROLL for (int n = 0; n < AT_ONCE; n++) {
        const int own = row + slots.count * n;
        v[n] = load<W>(x + (own < end ? own : row) * channels + channel);
      }
      UNROLL for (int n = 0; n < AT_ONCE; n++)
        if (row + slots.count * n < end)
          UNROLL for (int k = 0; k < W; k++) {
            const float from_first = v[n].v[k] - first.v[k];
            sum.v[k] += from_first;
            square.v[k] += from_first * from_first;
          }
    }
  }
  sums::over_slots<W>(slots, sum, square, column, channels, parts + blockIdx.y * channels * 2, shared);
}

}  // namespace

// Sums over a part of the values of each channel, of x less the channel's first value and of its square: what is far from zero
// keeps its digits. parts is [part][channel][2]. Where channels are innermost, a block of 256 threads has `lanes` times as many of
// them as are loaded at once.
KERNEL_BOUNDED(norm_parts, 256, 3)(long long rows, int channels, int s, int part, int lanes, const float *x, float *parts) {
  __shared__ __align__(16) float shared[2][1024];
  const int begin = blockIdx.y * part, end = begin + part < rows ? begin + part : (int)rows;
  if (s == 1) {
    const int width = width_for(channels);
    if (width == 4) parts_of_innermost<4>(begin, end, channels, lanes, x, parts, shared);
    else if (width == 2) parts_of_innermost<2>(begin, end, channels, lanes, x, parts, shared);
    else parts_of_innermost<1>(begin, end, channels, lanes, x, parts, shared);
    return;
  }
  const sums::Slots slots(32);
  const int column = blockIdx.x * 32, channel = column + slots.lane;
  Values<1> sum{{0.0f}}, square{{0.0f}};
  if (channel < channels) {
    const Layout layout{channels, s};
    const float first = x[layout.at(0, channel)];
    for (int r = begin + slots.slot; r < end; r += slots.count) {
      const float v = x[layout.at(r, channel)] - first;
      sum.v[0] += v;
      square.v[0] += v * v;
    }
  }
  sums::over_slots<1>(slots, sum, square, column, channels, parts + blockIdx.y * channels * 2, shared);
}
REGISTER(norm_parts)

namespace {

// What becomes of a channel's moments: running averages move by `momentum` where there are some; channels that go by the
// averages, as they were before, are those with a number other than 0 in `by_averages`. Leaves mean, 1 / sqrt(var + eps), factor
// and summand of each channel in `norm`, [4][channels].
struct Finish {
  int channels;
  float eps, momentum;
  const float *weight, *bias;
  float *running_mean, *running_var;
  const float *by_averages;
  float *norm;

  // What there is to know of a channel before its sums.
  struct Known {
    float weight, bias, mean, var;
    bool is_by_averages;
  };
  __device__ Known known(int channel) const {
    const float mean = running_mean ? running_mean[channel] : 0.0f, var = running_mean ? running_var[channel] : 0.0f;
    return {weight[channel], bias[channel], mean, var, by_averages && by_averages[channel] != 0.0f};
  }

  // `share` is 1 / rows.
  __device__ void moments(int channel, const Known &known, int rows, double share, float first, double sum, double square) const {
    const double shift = sum * share, spread = square * share - shift * shift;
    const float own_mean = (float)(first + shift), own_var = (float)(spread > 0.0 ? spread : 0.0);
    if (running_mean) {
      const float unbias = (float)rows / (float)(rows > 2 ? rows - 1 : 1);
      running_mean[channel] = known.mean + momentum * (own_mean - known.mean);
      running_var[channel] = known.var + momentum * (own_var * unbias - known.var);
    }
    given(channel, known.is_by_averages ? known.mean : own_mean, known.is_by_averages ? known.var : own_var, known.weight, known.bias);
  }

  __device__ void given(int channel, float mean, float var, float weight, float bias) const {
    const float inverse = 1.0f / sqrtf(var + eps);
    norm[channel] = mean;
    norm[channels + channel] = inverse;
    norm[2 * channels + channel] = inverse * weight;
    norm[3 * channels + channel] = bias - mean * (inverse * weight);
  }
};

}  // namespace

// Moments from the parts' sums.
KERNEL_BOUNDED(norm_finish, 32 * WARPS)(int channels, int s, long long rows, int parts, float eps, float momentum, const float *x,
                                        const float *sums, const float *weight, const float *bias, float *running_mean,
                                        float *running_var, const float *by_averages, float *norm) {
  const Finish finish{channels, eps, momentum, weight, bias, running_mean, running_var, by_averages, norm};
  const int channel = blockIdx.x * 32 + lane();
  const bool finishes = threadIdx.x < 32 && channel < channels;
  // Loaded before the sums, so as not to wait twice.
  Finish::Known known{};
  float first = 0.0f;
  if (finishes) known = finish.known(channel), first = x[Layout{channels, s}.at(0, channel)];
  double sum, square;
  sums_of_parts(sums, parts, channels, channel, sum, square);
  if (finishes) finish.moments(channel, known, (int)rows, 1.0 / rows, first, sum, square);
}
REGISTER(norm_finish)

// Moments and normalised values at once, of channels beside each other with few values.
KERNEL_BOUNDED(norm_whole, 32 * WARPS)(int channels, int rows, float eps, float momentum, const float *x, const float *weight,
                                       const float *bias, float *running_mean, float *running_var, const float *by_averages,
                                       float *norm, float *y) {
  __shared__ double shared[2][WARPS][32];
  const Finish finish{channels, eps, momentum, weight, bias, running_mean, running_var, by_averages, norm};
  const int warp = threadIdx.x >> 5, channel = blockIdx.x * 32 + lane();
  const bool is_there = channel < channels;
  const double share = 1.0 / rows;
  const float first = is_there ? x[channel] : 0.0f, summand = is_there ? bias[channel] : 0.0f;
  Finish::Known known{};
  if (warp == 0 && is_there) known = finish.known(channel);
  float sum = 0.0f, square = 0.0f;
  if (is_there)
    for (int r = warp; r < rows; r += WARPS) {
      const float v = x[r * channels + channel] - first;
      sum += v;
      square += v * v;
    }
  const double all = sums::over_warps((double)sum, shared[0]), all_squares = sums::over_warps((double)square, shared[1]);
  if (warp == 0 && is_there) finish.moments(channel, known, rows, share, first, all, all_squares);
  __syncthreads();
  if (!is_there) return;
  const float mean = norm[channel], factor = norm[2 * channels + channel];
  for (int r = warp; r < rows; r += WARPS) y[r * channels + channel] = (x[r * channels + channel] - mean) * factor + summand;
}
REGISTER(norm_whole)

// By moments that are given.
KERNEL(norm_given)(int channels, float eps, const float *mean, const float *var, const float *weight, const float *bias,
                   float *norm) {
  const int channel = element();
  if (channel >= channels) return;
  const Finish finish{channels, eps, 0.0f, weight, bias, nullptr, nullptr, nullptr, norm};
  finish.given(channel, mean[channel], var[channel], weight[channel], bias[channel]);
}
REGISTER(norm_given)

KERNEL(norm_apply)(long long n, int channels, int s, const float *norm, const float *bias, const float *x, float *y) {
  const int i = element();
  if (i >= n) return;
  const int channel = Layout{channels, s}.channel(i);
  y[i] = (x[i] - norm[channel]) * norm[2 * channels + channel] + bias[channel];
}
REGISTER(norm_apply)

// Sums over a part of dy and of dy times the normalised value.
KERNEL_BOUNDED(norm_back_parts, 256)(long long rows, int channels, int s, int part, const float *norm, const float *x,
                                     const float *dy, float *parts) {
  __shared__ float shared[2][8][32];
  const int warp = threadIdx.x >> 5, channel = blockIdx.x * 32 + lane();
  const int begin = blockIdx.y * part, end = begin + part < rows ? begin + part : (int)rows;
  float sum = 0.0f, product = 0.0f;
  if (channel < channels) {
    const Layout layout{channels, s};
    const float mean = norm[channel], inverse = norm[channels + channel];
    for (int r = begin + warp; r < end; r += 8) {
      const int at = layout.at(r, channel);
      sum += dy[at];
      product += dy[at] * ((x[at] - mean) * inverse);
    }
  }
  sum = sums::over_warps(sum, shared[0]);
  product = sums::over_warps(product, shared[1]);
  if (warp != 0 || channel >= channels) return;
  float *out = parts + (blockIdx.y * channels + channel) * 2;
  out[0] = sum;
  out[1] = product;
}
REGISTER(norm_back_parts)

// The gradients of factor and summand, and what the gradient of x needs of them: [2][channels] in `means`, zero where the moments
// are constants (`constant` for all, `by_averages` for some).
KERNEL_BOUNDED(norm_back_finish, 32 * WARPS)(int channels, long long rows, int parts, int constant, const float *by_averages,
                                      const float *sums, float *dweight, float *dbias, float *means) {
  const int channel = blockIdx.x * 32 + lane();
  double sum, product;
  sums_of_parts(sums, parts, channels, channel, sum, product);
  if (threadIdx.x >= 32 || channel >= channels) return;
  dweight[channel] = (float)product;
  dbias[channel] = (float)sum;
  const bool fixed = constant || (by_averages && by_averages[channel] != 0.0f);
  means[channel] = fixed ? 0.0f : (float)(sum / rows);
  means[channels + channel] = fixed ? 0.0f : (float)(product / rows);
}
REGISTER(norm_back_finish)

namespace {

// The gradient of a value of a channel whose numbers these are.
__device__ inline float gradient(float mean, float inverse, float factor, float mean_dy, float mean_product, float x, float dy) {
  return factor * (dy - mean_dy - (x - mean) * inverse * mean_product);
}

}  // namespace

KERNEL(norm_back_apply)(long long n, int channels, int s, const float *norm, const float *means, const float *x, const float *dy,
                        float *dx) {
  const int i = element();
  if (i >= n) return;
  const int channel = Layout{channels, s}.channel(i);
  dx[i] = gradient(norm[channel], norm[channels + channel], norm[2 * channels + channel], means[channel],
                   means[channels + channel], x[i], dy[i]);
}
REGISTER(norm_back_apply)

// All of that at once, of channels beside each other with few values. dx may be absent.
KERNEL_BOUNDED(norm_back_whole, 32 * WARPS)(int channels, int rows, int constant, const float *by_averages, const float *norm,
                                     const float *x, const float *dy, float *dweight, float *dbias, float *dx) {
  __shared__ double shared[2][WARPS][32];
  const int warp = threadIdx.x >> 5, channel = blockIdx.x * 32 + lane();
  const bool is_there = channel < channels;
  float mean = 0.0f, inverse = 0.0f, sum = 0.0f, product = 0.0f;
  if (is_there) {
    mean = norm[channel], inverse = norm[channels + channel];
    for (int r = warp; r < rows; r += WARPS) {
      const float d = dy[r * channels + channel];
      sum += d;
      product += d * ((x[r * channels + channel] - mean) * inverse);
    }
  }
  const double all = sums::over_warps((double)sum, shared[0]), all_products = sums::over_warps((double)product, shared[1]);
  if (!is_there) return;
  if (warp == 0) {
    dweight[channel] = (float)all_products;
    dbias[channel] = (float)all;
  }
  if (!dx) return;
  const bool fixed = constant || (by_averages && by_averages[channel] != 0.0f);
  const float mean_dy = fixed ? 0.0f : (float)(all / rows), mean_product = fixed ? 0.0f : (float)(all_products / rows);
  const float factor = norm[2 * channels + channel];
  for (int r = warp; r < rows; r += WARPS) {
    const int at = r * channels + channel;
    dx[at] = gradient(mean, inverse, factor, mean_dy, mean_product, x[at], dy[at]);
  }
}
REGISTER(norm_back_whole)
