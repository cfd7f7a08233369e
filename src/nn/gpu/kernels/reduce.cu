// Sums, largest values, and what softmax makes of rows.
#include "elements.cuh"
#include "sums.cuh"

// parts[i] = the sum of the i-th 8192 values: a block of 256 threads for each.
KERNEL(sum_parts)(long long n, const float *x, float *parts) {
  __shared__ float shared[256];
  const long long begin = blockIdx.x * 8192LL;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < 8192; i += 256)
    if (begin + i < n) sum += x[begin + i];
  sum = sums::over_block(sum, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
REGISTER(sum_parts)

// y[0] = by the sum of n values: one block.
KERNEL(sum_all)(int n, float by, const float *x, float *y) {
  __shared__ double shared[256];
  double sum = 0.0;
  for (int i = threadIdx.x; i < n; i += 256) sum += x[i];
  sum = sums::over_block(sum, shared);
  if (threadIdx.x == 0) y[0] = (float)(sum * by);
}
REGISTER(sum_all)

// parts[part][column] = the sum over a part of the rows. A block of eight warps has 32 columns, one for each lane; blockIdx.y is
// the part.
KERNEL_BOUNDED(column_parts, 256)(long long rows, int columns, int part, const float *x, float *parts) {
  __shared__ float shared[8][32];
  const int warp = threadIdx.x >> 5, column = blockIdx.x * 32 + lane();
  const int begin = blockIdx.y * part, end = begin + part < rows ? begin + part : (int)rows;
  float sum = 0.0f;
  if (column < columns)
    for (int row = begin + warp; row < end; row += 8) sum += x[row * columns + column];
  sum = sums::over_warps(sum, shared);
  if (warp == 0 && column < columns) parts[blockIdx.y * columns + column] = sum;
}
REGISTER(column_parts)

namespace {

// Parts of [n, taps, wide] that are added up.
struct Parts {
  int n, channels, wide, taps, parts, summands;
  const float *x, *bias;
  float *y;
};

// What add_parts does, by a thread with W channels beside each other.
template <int W>
__device__ inline void add_own(const Parts &of, int tile, int lanes, float (&shared)[1024]) {
  const sums::Slots slots(lanes);
  const int each = of.taps * of.wide, one = of.n * each;
  // Where the values of this thread are.
  int k, tap, channel, first = 0;
  bool is_there;
  if (tile) {
    const int tiles = (of.wide + tile - 1) / tile;
    k = blockIdx.x / tiles, first = blockIdx.x % tiles * tile;
    const int across = (first + tile < of.wide ? tile : of.wide - first) / W;
    tap = slots.lane / across, channel = first + (slots.lane - tap * across) * W;
    is_there = tap < of.taps;
  } else {
    const int at = (blockIdx.x * lanes + slots.lane) * W;
    k = at / each, tap = (at - k * each) / of.wide, channel = at - k * each - tap * of.wide;
    is_there = at < one;
  }
  Values<W> sum;
  UNROLL for (int j = 0; j < W; j++) sum.v[j] = 0.0f;
  if (is_there) {
    const float *values = of.x + k * each + tap * of.wide + channel;
    UNROLL_BY(4) for (int part = slots.slot; part < of.parts; part += slots.count) {
      const Values<W> more = load<W>(values + part * one);
      UNROLL for (int j = 0; j < W; j++) sum.v[j] += more.v[j];
    }
  }
  store<W>(shared + threadIdx.x * W, sum);
  __syncthreads();
  const bool has_sum = slots.slot == 0 && is_there;
  if (has_sum) {
    for (int other = 1; other < slots.count; other++) {
      const Values<W> more = load<W>(shared + (other * lanes + slots.lane) * W);
      UNROLL for (int j = 0; j < W; j++) sum.v[j] += more.v[j];
    }
    if (of.bias) UNROLL for (int j = 0; j < W; j++) sum.v[j] += of.bias[(channel + j) % of.summands];
  }
  float *to = of.y + k * of.channels * of.taps;
  if (!tile) {
    if (!has_sum) return;
    if (of.taps == 1 && of.wide == of.channels) {
      store<W>(to + channel, sum);
      return;
    }
    UNROLL for (int j = 0; j < W; j++)
      if (channel + j < of.channels) to[(channel + j) * of.taps + tap] = sum.v[j];
    return;
  }
  // By way of shared memory, so that values that lie beside each other are written together.
  __syncthreads();
  if (has_sum) UNROLL for (int j = 0; j < W; j++) shared[(channel - first + j) * of.taps + tap] = sum.v[j];
  __syncthreads();
  const int end = first + tile < of.channels ? first + tile : of.channels;
  for (int at = threadIdx.x; at < (end - first) * of.taps; at += 256) to[first * of.taps + at] = shared[at];
}

}  // namespace

// y[n][channel][tap] = the sum of x[part][n][tap][channel] over the parts, plus bias[channel % summands]; there may be no bias. x has
// `wide` channels, a multiple of those that are loaded at once. In a block of 256 threads `lanes` have different ones. Where there
// is a `tile`, as well a multiple, the block has so many channels with all taps of one of the n, which are no more than there are
// lanes for; else whatever lies beside each other.
KERNEL_BOUNDED(add_parts, 256)(int n, int channels, int wide, int taps, int parts, int summands, int tile, int lanes,
                               const float *x, const float *bias, float *y) {
  __shared__ __align__(16) float shared[1024];
  const Parts of{n, channels, wide, taps, parts, summands, x, bias, y};
  const int width = width_for(wide);
  if (width == 4) add_own<4>(of, tile, lanes, shared);
  else if (width == 2) add_own<2>(of, tile, lanes, shared);
  else add_own<1>(of, tile, lanes, shared);
}
REGISTER(add_parts)

// A warp for each row from here on, four rows a block.
KERNEL(row_sums)(int rows, int columns, const float *x, float *y) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5);
  if (row >= rows) return;
  float sum = 0.0f;
  for (int i = lane(); i < columns; i += 32) sum += x[(long long)row * columns + i];
  sum = sums::over_warp(sum);
  if (lane() == 0) y[row] = sum;
}
REGISTER(row_sums)

KERNEL(row_max)(int rows, int columns, const float *x, float *y) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5);
  if (row >= rows) return;
  float largest = -INFINITY;
  for (int i = lane(); i < columns; i += 32) largest = fmaxf(largest, x[(long long)row * columns + i]);
  largest = sums::largest_of_warp(largest);
  if (lane() == 0) y[row] = largest;
}
REGISTER(row_max)

// Each of equal largest values has the whole gradient.
KERNEL(row_max_back)(long long n, int columns, const float *x, const float *y, const float *dy, float *dx) {
  const int i = element();
  if (i < n) dx[i] = x[i] == y[i / columns] ? dy[i / columns] : 0.0f;
}
REGISTER(row_max_back)

// Softmax over each row, or its logarithm.
KERNEL(softmax)(int rows, int columns, int logarithm, const float *x, float *y) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5);
  if (row >= rows) return;
  const float *own = x + (long long)row * columns;
  float *out = y + (long long)row * columns;
  float largest = -INFINITY, sum = 0.0f;
  for (int i = lane(); i < columns; i += 32) largest = fmaxf(largest, own[i]);
  largest = sums::largest_of_warp(largest);
  for (int i = lane(); i < columns; i += 32) sum += expf(own[i] - largest);
  sum = sums::over_warp(sum);
  const float log_sum = logf(sum);
  for (int i = lane(); i < columns; i += 32) out[i] = logarithm ? own[i] - largest - log_sum : expf(own[i] - largest) / sum;
}
REGISTER(softmax)

// From y = softmax(x), or its logarithm.
KERNEL(softmax_back)(int rows, int columns, int logarithm, const float *y, const float *dy, float *dx) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5);
  if (row >= rows) return;
  const long long start = (long long)row * columns;
  float sum = 0.0f;
  for (int i = lane(); i < columns; i += 32) sum += logarithm ? dy[start + i] : dy[start + i] * y[start + i];
  sum = sums::over_warp(sum);
  for (int i = lane(); i < columns; i += 32) {
    const float v = y[start + i], d = dy[start + i];
    dx[start + i] = logarithm ? d - expf(v) * sum : v * (d - sum);
  }
}
REGISTER(softmax_back)

// The loss of each row, and its gradient by the logits divided by the number of rows, where `unit` is wanted. `by` holds the
// smoothing and the share of `others`, the second class of each row.
KERNEL(cross_entropy)(int rows, int classes, const float *by, const int *labels, const int *others, const float *x, float *losses,
                      float *unit) {
  const int row = blockIdx.x * 4 + (threadIdx.x >> 5);
  if (row >= rows) return;
  const float *own = x + (long long)row * classes;
  const float smoothing = by[0], share = by[1], even = smoothing / classes;
  float largest = -INFINITY, sum = 0.0f, loss = 0.0f;
  for (int i = lane(); i < classes; i += 32) largest = fmaxf(largest, own[i]);
  largest = sums::largest_of_warp(largest);
  for (int i = lane(); i < classes; i += 32) sum += expf(own[i] - largest);
  sum = sums::over_warp(sum);
  const float log_sum = logf(sum);
  for (int i = lane(); i < classes; i += 32) {
    const float log = own[i] - largest - log_sum;
    float target = even;
    if (i == labels[row]) target += (1.0f - smoothing) * (1.0f - share);
    if (i == others[row]) target += (1.0f - smoothing) * share;
    if (target != 0.0f) loss -= log * target;
    if (unit) unit[(long long)row * classes + i] = (expf(log) - target) / rows;
  }
  loss = sums::over_warp(loss);
  if (lane() == 0) losses[row] = loss;
}
REGISTER(cross_entropy)

// 1 for a row whose first largest value is at its label, else 0; a NaN is never the largest.
KERNEL(hits)(int rows, int classes, const int *labels, const float *x, float *y) {
  const int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  const float *own = x + (long long)row * classes;
  int best = 0;
  for (int i = 1; i < classes; i++)
    if (own[i] > own[best] || (own[best] != own[best] && own[i] == own[i])) best = i;
  y[row] = best == labels[row] ? 1.0f : 0.0f;
}
REGISTER(hits)
