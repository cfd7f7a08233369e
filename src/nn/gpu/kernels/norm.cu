// Batch normalisation. A value of channel c lies at (r / s * channels + c) * s + r % s, where r counts images and pixels: s is
// the number of pixels where channels are planes, and 1 where they are innermost.
#include "elements.cuh"

namespace {

struct Values {
  int channels, s;
  __device__ long long at(long long r, int channel) const { return (r / s * channels + channel) * s + r % s; }
  __device__ int channel(long long i) const { return i / s % channels; }
};

}  // namespace

// Sums over a part of the values of each channel, of x less the channel's first value and of its square: what is far from zero
// keeps its digits. blockIdx.y is the part; parts is [part][channel][2].
KERNEL(norm_parts)(long long rows, int channels, int s, int part, const float *x, float *parts) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  const Values values{channels, s};
  const float first = x[values.at(0, channel)];
  const long long begin = blockIdx.y * (long long)part, end = begin + part < rows ? begin + part : rows;
  float sum = 0.0f, square = 0.0f;
  for (long long r = begin; r < end; r++) {
    const float v = x[values.at(r, channel)] - first;
    sum += v;
    square += v * v;
  }
  float *out = parts + ((long long)blockIdx.y * channels + channel) * 2;
  out[0] = sum;
  out[1] = square;
}
REGISTER(norm_parts)

// Moments from the parts' sums; running averages move by `momentum` where there are some. Channels that go by the averages, as
// they were before, are those with a number other than 0 in `by_averages`. Leaves mean, 1 / sqrt(var + eps), factor and summand
// of each channel in `norm`, [4][channels].
KERNEL(norm_finish)(int channels, int s, long long rows, int parts, float eps, float momentum, const float *x, const float *sums,
                    const float *weight, const float *bias, float *running_mean, float *running_var, const float *by_averages,
                    float *norm) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  double sum = 0.0, square = 0.0;
  for (int p = 0; p < parts; p++) {
    sum += sums[((long long)p * channels + channel) * 2];
    square += sums[((long long)p * channels + channel) * 2 + 1];
  }
  const double shift = sum / rows, spread = square / rows - shift * shift;
  const float own_mean = (float)(x[Values{channels, s}.at(0, channel)] + shift), own_var = (float)(spread > 0.0 ? spread : 0.0);
  float mean = own_mean, var = own_var;
  if (by_averages && by_averages[channel] != 0.0f) {
    mean = running_mean[channel];
    var = running_var[channel];
  }
  if (running_mean) {
    const float unbias = (float)rows / (float)(rows > 2 ? rows - 1 : 1);
    running_mean[channel] += momentum * (own_mean - running_mean[channel]);
    running_var[channel] += momentum * (own_var * unbias - running_var[channel]);
  }
  const float inverse = 1.0f / sqrtf(var + eps);
  norm[channel] = mean;
  norm[channels + channel] = inverse;
  norm[2 * channels + channel] = inverse * weight[channel];
  norm[3 * channels + channel] = bias[channel] - mean * (inverse * weight[channel]);
}
REGISTER(norm_finish)

// The same from moments that are given.
KERNEL(norm_given)(int channels, float eps, const float *mean, const float *var, const float *weight, const float *bias,
                   float *norm) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  const float inverse = 1.0f / sqrtf(var[channel] + eps);
  norm[channel] = mean[channel];
  norm[channels + channel] = inverse;
  norm[2 * channels + channel] = inverse * weight[channel];
  norm[3 * channels + channel] = bias[channel] - mean[channel] * (inverse * weight[channel]);
}
REGISTER(norm_given)

KERNEL(norm_apply)(long long n, int channels, int s, const float *norm, const float *bias, const float *x, float *y) {
  const long long i = element();
  if (i >= n) return;
  const int channel = Values{channels, s}.channel(i);
  y[i] = (x[i] - norm[channel]) * norm[2 * channels + channel] + bias[channel];
}
REGISTER(norm_apply)

// Sums over a part of dy and of dy times the normalised value.
KERNEL(norm_back_parts)(long long rows, int channels, int s, int part, const float *norm, const float *x, const float *dy,
                        float *parts) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  const Values values{channels, s};
  const float mean = norm[channel], inverse = norm[channels + channel];
  const long long begin = blockIdx.y * (long long)part, end = begin + part < rows ? begin + part : rows;
  float sum = 0.0f, product = 0.0f;
  for (long long r = begin; r < end; r++) {
    const long long at = values.at(r, channel);
    sum += dy[at];
    product += dy[at] * ((x[at] - mean) * inverse);
  }
  float *out = parts + ((long long)blockIdx.y * channels + channel) * 2;
  out[0] = sum;
  out[1] = product;
}
REGISTER(norm_back_parts)

// The gradients of factor and summand, and what the gradient of x needs of them: [2][channels] in `means`, zero where the moments
// are constants (`constant` for all, `by_averages` for some).
KERNEL(norm_back_finish)(int channels, long long rows, int parts, int constant, const float *by_averages, const float *sums,
                         float *dweight, float *dbias, float *means) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  double sum = 0.0, product = 0.0;
  for (int p = 0; p < parts; p++) {
    sum += sums[((long long)p * channels + channel) * 2];
    product += sums[((long long)p * channels + channel) * 2 + 1];
  }
  dweight[channel] = (float)product;
  dbias[channel] = (float)sum;
  const bool fixed = constant || (by_averages && by_averages[channel] != 0.0f);
  means[channel] = fixed ? 0.0f : (float)(sum / rows);
  means[channels + channel] = fixed ? 0.0f : (float)(product / rows);
}
REGISTER(norm_back_finish)

KERNEL(norm_back_apply)(long long n, int channels, int s, const float *norm, const float *means, const float *x, const float *dy,
                        float *dx) {
  const long long i = element();
  if (i >= n) return;
  const int channel = Values{channels, s}.channel(i);
  const float normalised = (x[i] - norm[channel]) * norm[channels + channel];
  dx[i] = norm[2 * channels + channel] * (dy[i] - means[channel] - normalised * means[channels + channel]);
}
REGISTER(norm_back_apply)
