// Pooling.
#include "elements.cuh"
#include "window.cuh"

// The largest value of each window and where in its plane it is, the first of equal ones; a NaN wins over every number.
KERNEL(max_pool)(long long n, WINDOW, const float *x, float *y, int *winners) {
  const int i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  const Pixel of = window.place(i, p, q);
  float largest = -INFINITY;
  int winner = window.first_row(of.row) * w + window.first_column(of.column);
  for (int a = window.first_row(of.row); a < window.end_row(of.row); a++)
    for (int b = window.first_column(of.column); b < window.end_column(of.column); b++) {
      const float value = x[window.input(of, a, b)];
      if (value > largest || value != value) {
        largest = value;
        winner = a * w + b;
      }
    }
  y[i] = largest;
  winners[i] = winner;
}
REGISTER(max_pool)

KERNEL(max_pool_back)(long long n, WINDOW, const int *winners, const float *dy, float *dx) {
  const int i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  const Pixel of = window.place(i, h, w);
  float sum = 0.0f;
  for (int a = window.first_window(of.row, above, rows, down); a < p && a * down <= of.row + above; a++)
    for (int b = window.first_window(of.column, before, columns, right); b < q && b * right <= of.column + before; b++) {
      const int at = window.output(of, a, b);
      if (winners[at] == of.row * w + of.column) sum += dy[at];
    }
  dx[i] = sum;
}
REGISTER(max_pool_back)

// The mean of each window, whose padding counts as zeros.
KERNEL(mean_pool)(long long n, WINDOW, const float *x, float *y) {
  const int i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  const Pixel of = window.place(i, p, q);
  float sum = 0.0f;
  for (int a = window.first_row(of.row); a < window.end_row(of.row); a++)
    for (int b = window.first_column(of.column); b < window.end_column(of.column); b++) sum += x[window.input(of, a, b)];
  y[i] = sum / (float)(rows * columns);
}
REGISTER(mean_pool)

KERNEL(mean_pool_back)(long long n, WINDOW, const float *dy, float *dx) {
  const int i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  const Pixel of = window.place(i, h, w);
  float sum = 0.0f;
  for (int a = window.first_window(of.row, above, rows, down); a < p && a * down <= of.row + above; a++)
    for (int b = window.first_window(of.column, before, columns, right); b < q && b * right <= of.column + before; b++)
      sum += dy[window.output(of, a, b)];
  dx[i] = sum / (float)(rows * columns);
}
REGISTER(mean_pool_back)

// The mean of each channel of each image, and how its gradient goes back.
KERNEL(channel_means)(int n, int c, int pixels, int last, const float *x, float *y) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n * c) return;
  const float *own = last ? x + (long long)(i / c) * pixels * c + i % c : x + (long long)i * pixels;
  const int step = last ? c : 1;
  float sum = 0.0f;
  for (int at = 0; at < pixels; at++) sum += own[(long long)at * step];
  y[i] = sum / (float)pixels;
}
REGISTER(channel_means)

KERNEL(channel_means_back)(long long n, int c, int pixels, int last, const float *dy, float *dx) {
  const int i = element();
  if (i >= n) return;
  const int at = last ? i / c / pixels * c + i % c : i / pixels;
  dx[i] = dy[at] / (float)pixels;
}
REGISTER(channel_means_back)
