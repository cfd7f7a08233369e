// Pooling. Values of an image lie by channels where `last`, channels innermost, else in planes.
#include "elements.cuh"

namespace {

struct Window {
  int c, h, w, p, q, rows, columns, down, right, above, before, last;

  __device__ long long input(long long image, int channel, int row, int column) const {
    return last ? ((image * h + row) * w + column) * c + channel : ((image * c + channel) * h + row) * w + column;
  }
  __device__ long long output(long long image, int channel, int row, int column) const {
    return last ? ((image * p + row) * q + column) * c + channel : ((image * c + channel) * p + row) * q + column;
  }
  // Image, channel, row and column of the i-th value of maps of this size.
  __device__ void place(long long i, int height, int width, long long &image, int &channel, int &row, int &column) const {
    if (last) {
      channel = i % c;
      column = i / c % width;
      row = i / c / width % height;
    } else {
      column = i % width;
      row = i / width % height;
      channel = i / width / height % c;
    }
    image = i / c / height / width;
  }
  __device__ int first_row(int row) const { return row * down > above ? row * down - above : 0; }
  __device__ int end_row(int row) const { return row * down + rows - above < h ? row * down + rows - above : h; }
  __device__ int first_column(int column) const { return column * right > before ? column * right - before : 0; }
  __device__ int end_column(int column) const {
    return column * right + columns - before < w ? column * right + columns - before : w;
  }
  // The windows that a row or a column of the input is under.
  __device__ int first_window(int at, int padding, int size, int stride) const {
    return at + padding >= size ? (at + padding - size) / stride + 1 : 0;
  }
};

}  // namespace

#define WINDOW int c, int h, int w, int p, int q, int rows, int columns, int down, int right, int above, int before, int last
#define GIVEN_WINDOW Window{c, h, w, p, q, rows, columns, down, right, above, before, last}

// The largest value of each window and where in its plane it is, the first of equal ones; a NaN wins over every number.
KERNEL(max_pool)(long long n, WINDOW, const float *x, float *y, int *winners) {
  const long long i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  long long image;
  int channel, row, column;
  window.place(i, p, q, image, channel, row, column);
  float largest = -INFINITY;
  int winner = window.first_row(row) * w + window.first_column(column);
  for (int a = window.first_row(row); a < window.end_row(row); a++)
    for (int b = window.first_column(column); b < window.end_column(column); b++) {
      const float value = x[window.input(image, channel, a, b)];
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
  const long long i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  long long image;
  int channel, row, column;
  window.place(i, h, w, image, channel, row, column);
  float sum = 0.0f;
  for (int a = window.first_window(row, above, rows, down); a < p && a * down <= row + above; a++)
    for (int b = window.first_window(column, before, columns, right); b < q && b * right <= column + before; b++) {
      const long long at = window.output(image, channel, a, b);
      if (winners[at] == row * w + column) sum += dy[at];
    }
  dx[i] = sum;
}
REGISTER(max_pool_back)

// The mean of each window, whose padding counts as zeros.
KERNEL(mean_pool)(long long n, WINDOW, const float *x, float *y) {
  const long long i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  long long image;
  int channel, row, column;
  window.place(i, p, q, image, channel, row, column);
  float sum = 0.0f;
  for (int a = window.first_row(row); a < window.end_row(row); a++)
    for (int b = window.first_column(column); b < window.end_column(column); b++) sum += x[window.input(image, channel, a, b)];
  y[i] = sum / (float)(rows * columns);
}
REGISTER(mean_pool)

KERNEL(mean_pool_back)(long long n, WINDOW, const float *dy, float *dx) {
  const long long i = element();
  if (i >= n) return;
  const Window window = GIVEN_WINDOW;
  long long image;
  int channel, row, column;
  window.place(i, h, w, image, channel, row, column);
  float sum = 0.0f;
  for (int a = window.first_window(row, above, rows, down); a < p && a * down <= row + above; a++)
    for (int b = window.first_window(column, before, columns, right); b < q && b * right <= column + before; b++)
      sum += dy[window.output(image, channel, a, b)];
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
  const long long i = element();
  if (i >= n) return;
  const long long at = last ? i / c / pixels * c + i % c : i / pixels;
  dx[i] = dy[at] / (float)pixels;
}
REGISTER(channel_means_back)
