// Windows of maps. Values of an image lie by channels where `last`, channels innermost, else in planes.
#pragma once
#include "portable.cuh"

// A place in maps.
struct Pixel {
  int image, channel, row, column;
};

struct Window {
  int c, h, w, p, q, rows, columns, down, right, above, before, last;

  __device__ int input(const Pixel &of, int row, int column) const {
    return last ? ((of.image * h + row) * w + column) * c + of.channel : ((of.image * c + of.channel) * h + row) * w + column;
  }
  __device__ int output(const Pixel &of, int row, int column) const {
    return last ? ((of.image * p + row) * q + column) * c + of.channel : ((of.image * c + of.channel) * p + row) * q + column;
  }
  // The place of the i-th value of maps of this size.
  __device__ Pixel place(int i, int height, int width) const {
    const int inner = last ? c : width, middle = last ? width : height, outer = last ? height : c;
    const int a = i % inner, b = i / inner % middle, rest = i / inner / middle, d = rest % outer;
    return last ? Pixel{rest / outer, a, d, b} : Pixel{rest / outer, d, b, a};
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

#define WINDOW int c, int h, int w, int p, int q, int rows, int columns, int down, int right, int above, int before, int last
#define GIVEN_WINDOW Window{c, h, w, p, q, rows, columns, down, right, above, before, last}
