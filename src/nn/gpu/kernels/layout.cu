// Moves values and computes nothing.
#include "elements.cuh"
#include "values.cuh"

// y[n][i][j] = x[n][j][i] for i < s and j < c, rounded to TF32 or not; zero for j from c on, up to `wide`. x has `step` values
// from j to j + 1. blockIdx.y is n, if there are so many.
KERNEL(swap_axes)(long long n, int c, int s, int step, int wide, int rounded, const float *x, float *y) {
  const int at = element();
  if (at >= s * wide) return;
  const int i = at / wide, j = at - i * wide;
  for (int k = blockIdx.y; k < n; k += gridDim.y) {
    const float value = j < c ? x[(k * c + j) * step + i] : 0.0f;
    y[k * s * wide + at] = rounded ? as_float(tf32(value)) : value;
  }
}
REGISTER(swap_axes)

// Rows of c values as rows of `wide` ones, a multiple of four, by zeros.
KERNEL(widen)(long long rows, int c, int wide, const float *x, float *y) {
  const int i = element() * 4;
  if (i >= rows * wide) return;
  const int row = i / wide, j = i - row * wide;
  const float *from = x + row * c + j;
  Values<4> values;
  UNROLL for (int k = 0; k < 4; k++) values.v[k] = j + k < c ? from[k] : 0.0f;
  store<4>(y + i, values);
}
REGISTER(widen)

// A block of `rows` times `columns` values from one matrix into another, whose rows are so far apart.
KERNEL(copy_block)(long long rows, int columns, int from_step, const float *from, int into_step, float *into) {
  const int i = element();
  if (i >= rows * columns) return;
  into[i / columns * into_step + i % columns] = from[i / columns * from_step + i % columns];
}
REGISTER(copy_block)

// y[i] = x[rows[i]].
KERNEL(gather_rows)(int count, int columns, const int *rows, const float *x, float *y) {
  const int i = element();
  if (i >= (long long)count * columns) return;
  y[i] = x[(long long)rows[i / columns] * columns + i % columns];
}
REGISTER(gather_rows)

// The gradients of the rows that were gathered. `places` says where among the gathered ones each of the `total` rows is: where its
// own begin, of all rows and of one more, and then those of all rows in turn, each row's in the order in which they were gathered.
KERNEL(scatter_rows)(int total, int columns, const int *places, const float *dy, float *dx) {
  const int i = element();
  if (i >= (long long)total * columns) return;
  const int row = i / columns, column = i % columns;
  float sum = 0.0f;
  for (int at = places[row]; at < places[row + 1]; at++) sum += dy[(long long)places[total + 1 + at] * columns + column];
  dx[i] = sum;
}
REGISTER(scatter_rows)

// Writes up to eight numbers, as many as are there, at the end of a ring of `room`, whose length so far is counted here: one warp.
KERNEL(log_numbers)(int room, int *written, float *ring, const float *a, const float *b, const float *c, const float *d,
                    const float *e, const float *f, const float *g, const float *h) {
  const int i = threadIdx.x, before = *written;
  const int count = !a ? 0 : !b ? 1 : !c ? 2 : !d ? 3 : !e ? 4 : !f ? 5 : !g ? 6 : !h ? 7 : 8;
  const float *number = i == 0 ? a : i == 1 ? b : i == 2 ? c : i == 3 ? d : i == 4 ? e : i == 5 ? f : i == 6 ? g : h;
  __syncwarp();
  if (i < count) ring[(before + i) % room] = number[0];
  if (i == 0) *written = (before + count) % room;
}
REGISTER(log_numbers)
