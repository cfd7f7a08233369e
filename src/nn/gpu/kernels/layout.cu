// Moves values and computes nothing.
#include "elements.cuh"

// y[n][s][c] = x[n][c][s].
KERNEL(swap_axes)(long long n, int c, int s, const float *x, float *y) {
  const long long i = element();
  if (i >= n * c * s) return;
  const int channel = i % c, place = i / c % s;
  y[i] = x[(i / c / s * c + channel) * s + place];
}
REGISTER(swap_axes)

// A block of `rows` times `columns` values from one matrix into another, whose rows are so far apart.
KERNEL(copy_block)(long long rows, int columns, int from_step, const float *from, int into_step, float *into) {
  const long long i = element();
  if (i >= rows * columns) return;
  into[i / columns * into_step + i % columns] = from[i / columns * from_step + i % columns];
}
REGISTER(copy_block)

// y[i] = x[rows[i]].
KERNEL(gather_rows)(int count, int columns, const int *rows, const float *x, float *y) {
  const long long i = element();
  if (i >= (long long)count * columns) return;
  y[i] = x[(long long)rows[i / columns] * columns + i % columns];
}
REGISTER(gather_rows)

// The gradients of the rows that were gathered, those of one row in the order in which they were.
KERNEL(scatter_rows)(int total, int count, int columns, const int *rows, const float *dy, float *dx) {
  const long long i = element();
  if (i >= (long long)total * columns) return;
  const int row = i / columns, column = i % columns;
  float sum = 0.0f;
  for (int at = 0; at < count; at++)
    if (rows[at] == row) sum += dy[(long long)at * columns + column];
  dx[i] = sum;
}
REGISTER(scatter_rows)

// Writes up to eight numbers at the end of a ring of `room`, whose length so far is counted here: one warp.
KERNEL(log_numbers)(int room, int count, int *written, float *ring, const float *a, const float *b, const float *c, const float *d,
                    const float *e, const float *f, const float *g, const float *h) {
  const int i = threadIdx.x, before = *written;
  const float *number = i == 0 ? a : i == 1 ? b : i == 2 ? c : i == 3 ? d : i == 4 ? e : i == 5 ? f : i == 6 ? g : h;
  __syncwarp();
  if (i < count) ring[(before + i) % room] = number[0];
  if (i == 0) *written = (before + count) % room;
}
REGISTER(log_numbers)
