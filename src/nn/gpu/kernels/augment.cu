// Changes of images of bytes, [height][width][channels], the numbers of each image having been drawn on the host: to the byte what
// src/data/augment does there, with its operations in its order. Image k of what is changed lies at rows[k] among `pixels`, or at k
// where there are no rows, and becomes image k of y. `count` is the number of bytes of all images of y, and a thread is there for
// each of them or for each pixel. Where images get another size, theirs is from_height and from_width, and height and width are
// those of y.
#include "elements.cuh"
#include "exact.cuh"

namespace augment {

using exact::difference;
using exact::product;
using exact::quotient;
using exact::sum;

// Where an image begins.
__device__ inline const unsigned char *image_at(const unsigned char *pixels, const int *rows, int image, int len) {
  return pixels + (long long)(rows ? rows[image] : image) * len;
}

// Of which image a byte is, and where in it: `i` counts those of all images.
struct ByteAt {
  int len, image, channel, row, column;
  __device__ inline ByteAt(int i, int height, int width, int channels) : len(height * width * channels), image(i / len) {
    const int at = i - image * len, pixel = at / channels;
    channel = at - pixel * channels, row = pixel / width, column = pixel - row * width;
  }
};

// A number as a byte, cut off at its point.
__device__ inline unsigned char byte(float value) { return (unsigned char)fminf(fmaxf(value, 0.0f), 255.0f); }

// The nearest byte to a number, the even one of two.
__device__ inline unsigned char nearest(float value) { return byte(rintf(value)); }

}  // namespace augment

// Each image as a window sees it, of which an area is zero. `moves` has seven numbers for each image: how many rows
// and columns the window lies lower and further right, whether left is right in the image, first row and column of the area, and
// those after its last.
KERNEL(move_images)(long long count, int from_height, int from_width, int height, int width, int channels, const int *rows,
                    const unsigned char *pixels, const int *moves, unsigned char *y) {
  const int i = element();
  if (i >= count) return;
  const augment::ByteAt at(i, height, width, channels);
  const int *move = moves + at.image * 7;
  const int from_row = at.row + move[0], from_column = at.column + move[1];
  const bool is_inside = from_row >= 0 && from_row < from_height && from_column >= 0 && from_column < from_width;
  const bool is_blank = at.row >= move[3] && at.column >= move[4] && at.row < move[5] && at.column < move[6];
  if (is_blank || !is_inside) {
    y[i] = 0;
    return;
  }
  const int place = from_row * from_width + (move[2] ? from_width - 1 - from_column : from_column);
  y[i] = augment::image_at(pixels, rows, at.image, from_height * from_width * channels)[place * channels + at.channel];
}
REGISTER(move_images)

// Each image turned about its middle: a thread for each of the `count` pixels. `turns` has the sine and the cosine for each image.
KERNEL(turn_images)(long long count, int height, int width, int channels, const int *rows, const unsigned char *pixels,
                    const double *turns, unsigned char *y) {
  using namespace augment;
  const int i = element();
  if (i >= count) return;
  const int plane = height * width, image = i / plane, at = i - image * plane, row = at / width, column = at - row * width;
  const double sine = turns[image * 2], cosine = turns[image * 2 + 1];
  const double middle_y = (height - 1.0) / 2.0, middle_x = (width - 1.0) / 2.0;
  const double down = row - middle_y, right = column - middle_x;
  const double from_x = sum(difference(product(cosine, right), product(sine, down)), middle_x);
  const double from_y = sum(sum(product(sine, right), product(cosine, down)), middle_y);
  const double left = floor(from_x), top = floor(from_y);
  const float x = (float)difference(from_x, left), above = (float)difference(from_y, top);
  const float x_rest = difference(1.0f, x), above_rest = difference(1.0f, above);
  const int first_row = (int)top, first_column = (int)left;
  const unsigned char *from = image_at(pixels, rows, image, plane * channels);
  for (int channel = 0; channel < channels; channel++) {
    float found[2];
    UNROLL for (int k = 0; k < 2; k++) {
      const int from_row = first_row + k;
      const bool has_row = from_row >= 0 && from_row < height;
      const unsigned char *beside = from + ((long long)from_row * width + first_column) * channels + channel;
      const float near = has_row && first_column >= 0 && first_column < width ? beside[0] : 0.0f;
      const float far = has_row && first_column + 1 >= 0 && first_column + 1 < width ? beside[channels] : 0.0f;
      found[k] = sum(product(near, x_rest), product(far, x));
    }
    y[(long long)i * channels + channel] = nearest(sum(product(found[0], above_rest), product(found[1], above)));
  }
}
REGISTER(turn_images)

// What each row and then each column of an image is made of that shows a part of another: a thread for each, and 1 + `most` numbers,
// the first row or column that it is made of, and the weights of that one and those after it. `areas` has first row, first column,
// rows and columns of the part of each image.
KERNEL(resize_taps)(int images, int height, int width, int most, const int *areas, float *taps) {
  using namespace augment;
  const int i = element(), lines = height + width, image = i / lines, line = i - image * lines;
  if (image >= images) return;
  const bool is_column = line >= height;
  const int at = is_column ? line - height : line, begin = areas[image * 4 + is_column], from = areas[image * 4 + 2 + is_column];
  const double scale = quotient((double)from, (double)(is_column ? width : height));
  const double centre = product(at + 0.5, scale);
  // A triangle on both sides of it as wide as a pixel of the part, or as one of the image where that is wider.
  const double support = fmax(scale, 1.0);
  const int first = (int)fmax(sum(difference(centre, support), 0.5), 0.0), end = min((int)sum(sum(centre, support), 0.5), from);
  double total = 0.0;
  const auto weight = [&](int input) {
    return fmax(difference(1.0, fabs(quotient(difference(input + 0.5, centre), support))), 0.0);
  };
  for (int input = first; input < end; input++) total = sum(total, weight(input));
  float *own = taps + (long long)i * (1 + most);
  own[0] = (float)(begin + first);
  for (int k = 0; k < most; k++) own[1 + k] = first + k < end ? (float)quotient(weight(first + k), total) : 0.0f;
}
REGISTER(resize_taps)

// A part of each image at another size, by `taps` as resize_taps gives them.
KERNEL(resize_images)(long long count, int from_height, int from_width, int height, int width, int channels, int most,
                      const int *rows, const unsigned char *pixels, const float *taps, unsigned char *y) {
  using namespace augment;
  const int i = element();
  if (i >= count) return;
  const ByteAt at(i, height, width, channels);
  const float *down = taps + ((long long)at.image * (height + width) + at.row) * (1 + most);
  const float *right = down + (long long)(height - at.row + at.column) * (1 + most);
  const unsigned char *from = image_at(pixels, rows, at.image, from_height * from_width * channels) + at.channel;
  const int first_row = (int)down[0], first_column = (int)right[0];
  float value = 0.0f;
  for (int k = 0; k < most; k++) {
    // A weight of zero may stand for a row or a column that is not there; with any other it would add nothing either.
    if (down[1 + k] == 0.0f) continue;
    float wide = 0.0f;
    for (int j = 0; j < most; j++) {
      if (right[1 + j] == 0.0f) continue;
      const unsigned char found = from[((long long)(first_row + k) * from_width + first_column + j) * channels];
      wide = sum(wide, product(right[1 + j], (float)found));
    }
    value = sum(value, product(down[1 + k], wide));
  }
  y[i] = nearest(value);
}
REGISTER(resize_images)

namespace augment {

// A pixel, in one channel or in three.
struct Pixel {
  unsigned char v[3];
};

__device__ inline Pixel load_pixel(const unsigned char *from, int channels) {
  return {{from[0], channels == 3 ? from[1] : (unsigned char)0, channels == 3 ? from[2] : (unsigned char)0}};
}

__device__ inline void store_pixel(unsigned char *to, const Pixel &pixel, int channels) {
  to[0] = pixel.v[0];
  if (channels == 3) to[1] = pixel.v[1], to[2] = pixel.v[2];
}

// Its luma (ITU-R BT.601), cut off at its point.
__device__ inline float gray(const Pixel &pixel, int channels) {
  if (channels != 3) return pixel.v[0];
  const float red = product(0.2989f, pixel.v[0]), green = product(0.587f, pixel.v[1]), blue = product(0.114f, pixel.v[2]);
  return floorf(sum(sum(red, green), blue));
}

// Each value away from `other` by a factor.
__device__ inline void blend(Pixel &pixel, float other, float factor) {
  const float share = product(difference(1.0f, factor), other);
  UNROLL for (int k = 0; k < 3; k++) pixel.v[k] = byte(sum(product(factor, (float)pixel.v[k]), share));
}

// Turns the hue by way of HSV.
__device__ inline void turn_hue(Pixel &pixel, float turn) {
  const float red = quotient(pixel.v[0], 255.0f), green = quotient(pixel.v[1], 255.0f), blue = quotient(pixel.v[2], 255.0f);
  const float largest = fmaxf(fmaxf(red, green), blue), range = difference(largest, fminf(fminf(red, green), blue));
  if (range == 0.0f) return;
  const float sector = largest == red     ? quotient(difference(green, blue), range)
                       : largest == green ? sum(2.0f, quotient(difference(blue, red), range))
                                          : sum(4.0f, quotient(difference(red, green), range));
  const float turned = sum(quotient(sector, 6.0f), turn);
  // What is left of it after whole turns, which is exact but for the turn that a negative rest is brought up by.
  const float rest = difference(turned, truncf(turned));
  const float at = product(rest < 0.0f ? sum(rest, 1.0f) : rest, 6.0f);
  const float saturation = quotient(range, largest), part = difference(at, floorf(at));
  const float low = product(largest, difference(1.0f, saturation));
  const float falling = product(largest, difference(1.0f, product(saturation, part)));
  const float rising = product(largest, difference(1.0f, product(saturation, difference(1.0f, part))));
  float r = largest, g = low, b = falling;
  switch ((int)floorf(at) % 6) {
    case 0: r = largest, g = rising, b = low; break;
    case 1: r = falling, g = largest, b = low; break;
    case 2: r = low, g = largest, b = rising; break;
    case 3: r = low, g = falling, b = largest; break;
    case 4: r = rising, g = low, b = largest; break;
  }
  const float scale = 256.0f - 1e-3f;
  pixel = {{byte(product(r, scale)), byte(product(g, scale)), byte(product(b, scale))}};
}

constexpr int BRIGHTNESS = 1, CONTRAST = 2, SATURATION = 3, HUE = 4;

// The step of this kind and number, which needs the mean gray only to change the contrast.
__device__ inline void recolor(Pixel &pixel, int kind, float number, float mean, int channels) {
  if (kind == BRIGHTNESS) blend(pixel, 0.0f, number);
  else if (kind == CONTRAST) blend(pixel, mean, number);
  else if (kind == SATURATION && channels == 3) blend(pixel, gray(pixel, channels), number);
  else if (kind == HUE && channels == 3) turn_hue(pixel, number);
}

}  // namespace augment

// The colours of each image changed in up to four steps: a block of 256 threads for each image, of `plane` pixels in one channel or in
// three. `steps` has a kind and the bits of a number for each of the four; of each kind there is one at most.
KERNEL_BOUNDED(recolor_images, 256)(int plane, int channels, const int *rows, const unsigned char *pixels, const int *steps,
                                    unsigned char *y) {
  using namespace augment;
  __shared__ double sums[256];
  const int image = blockIdx.x, len = plane * channels;
  const unsigned char *from = image_at(pixels, rows, image, len);
  unsigned char *to = y + (long long)image * len;
  const int *own = steps + image * 8;
  int contrast = 0;
  while (contrast < 4 && own[contrast * 2] != CONTRAST) contrast++;
  // A sum of whole numbers, which is exact in any order.
  double gray_sum = 0.0;
  for (int at = threadIdx.x; at < plane; at += 256) {
    Pixel pixel = load_pixel(from + at * channels, channels);
    for (int k = 0; k < contrast; k++) recolor(pixel, own[k * 2], as_float(own[k * 2 + 1]), 0.0f, channels);
    store_pixel(to + at * channels, pixel, channels);
    gray_sum += gray(pixel, channels);
  }
  if (contrast == 4) return;
  sums[threadIdx.x] = gray_sum;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  __syncthreads();
  const float mean = (float)quotient(sums[0], (double)plane);
  for (int at = threadIdx.x; at < plane; at += 256) {
    Pixel pixel = load_pixel(to + at * channels, channels);
    for (int k = contrast; k < 4; k++) recolor(pixel, own[k * 2], as_float(own[k * 2 + 1]), mean, channels);
    store_pixel(to + at * channels, pixel, channels);
  }
}
REGISTER(recolor_images)

namespace augment {

// What alter_images knows besides the four changes of colours.
constexpr int MAP = 5, SHARPNESS = 6, POSTERIZE = 7, SOLARIZE = 8, AUTO_CONTRAST = 9, EQUALIZE = 10;

// The nearest column or row to where a pixel comes from.
__device__ inline double nearest_place(const double *by, int column, int row) {
  return floor(sum(sum(sum(product(by[0], (double)column), product(by[1], (double)row)), by[2]), 0.5));
}

// A value away from the blurred one by a factor: of a pixel within an image, `line` values in a row.
__device__ inline unsigned char sharpened(const unsigned char *at, int line, int channels, float factor) {
  int blurred = 4 * at[0];
  for (int down = -1; down <= 1; down++)
    for (int right = -1; right <= 1; right++) blurred += at[(long long)down * line + right * channels];
  // To the nearest: thirteenths have no middle between two numbers.
  const float other = (float)((2 * blurred + 13) / 26);
  return byte(sum(product(factor, (float)at[0]), product(difference(1.0f, factor), other)));
}

// Makes of how often each value is there the value that is put in its place.
__device__ inline void make_table(int *table, int kind) {
  int first = 0, last = 255;
  while (first < 255 && table[first] == 0) first++;
  while (last > 0 && table[last] == 0) last--;
  int below = 0;
  for (int value = 0; value < last; value++) below += table[value];
  const int step = below / 255;
  const bool is_kept = kind == EQUALIZE ? step == 0 : first >= last;
  const float scale = product(quotient(1.0f, (float)(last - first)), 255.0f);
  below = 0;
  for (int value = 0; value < 256; value++) {
    const int count = table[value];
    if (is_kept) table[value] = value;
    else if (kind == EQUALIZE) table[value] = min((below + step / 2) / step, 255);
    else table[value] = byte(product((float)max(value - first, 0), scale));
    below += count;
  }
}

}  // namespace augment

// One operation of RandAugment on each image: a block of 256 threads for each. `alterations` has sixteen words for each image: a kind,
// the bits of a number, the value of what comes from beyond the image, one without a meaning, and six numbers in double precision by
// which column and row of a pixel become those that it comes from.
KERNEL_BOUNDED(alter_images, 256)(int height, int width, int channels, const int *rows, const unsigned char *pixels,
                                  const int *alterations, unsigned char *y) {
  using namespace augment;
  __shared__ double sums[256];
  __shared__ int tables[3 * 256];
  const int image = blockIdx.x, plane = height * width, len = plane * channels;
  const unsigned char *from = image_at(pixels, rows, image, len);
  unsigned char *to = y + (long long)image * len;
  const int *own = alterations + image * 16;
  const int kind = own[0];
  const float number = as_float(own[1]);
  if (kind == MAP) {
    const double *map = reinterpret_cast<const double *>(own + 4);
    for (int at = threadIdx.x; at < plane; at += 256) {
      const int row = at / width, column = at - row * width;
      const double from_x = nearest_place(map, column, row), from_y = nearest_place(map + 3, column, row);
      const bool is_inside = from_x >= 0.0 && from_x < width && from_y >= 0.0 && from_y < height;
      const int place = is_inside ? (int)from_y * width + (int)from_x : 0;
      for (int k = 0; k < channels; k++) to[at * channels + k] = is_inside ? from[place * channels + k] : (unsigned char)own[2];
    }
    return;
  }
  if (kind == SHARPNESS) {
    for (int i = threadIdx.x; i < len; i += 256) {
      const int at = i / channels, row = at / width, column = at - row * width;
      const bool is_within = row > 0 && row < height - 1 && column > 0 && column < width - 1;
      to[i] = is_within ? sharpened(from + i, width * channels, channels, number) : from[i];
    }
    return;
  }
  if (kind == POSTERIZE || kind == SOLARIZE) {
    for (int i = threadIdx.x; i < len; i += 256) {
      const int value = from[i], inverted = (float)value >= number ? 255 - value : value;
      to[i] = (unsigned char)(kind == POSTERIZE ? value & own[1] : inverted);
    }
    return;
  }
  if (kind == AUTO_CONTRAST || kind == EQUALIZE) {
    for (int i = threadIdx.x; i < 3 * 256; i += 256) tables[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < len; i += 256) atomicAdd(&tables[i % channels * 256 + from[i]], 1);
    __syncthreads();
    if (threadIdx.x < channels) make_table(tables + threadIdx.x * 256, kind);
    __syncthreads();
    for (int i = threadIdx.x; i < len; i += 256) to[i] = (unsigned char)tables[i % channels * 256 + from[i]];
    return;
  }
  float mean = 0.0f;
  if (kind == CONTRAST) {
    // A sum of whole numbers, which is exact in any order.
    double gray_sum = 0.0;
    for (int at = threadIdx.x; at < plane; at += 256) gray_sum += gray(load_pixel(from + at * channels, channels), channels);
    sums[threadIdx.x] = gray_sum;
    for (int half = 128; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    __syncthreads();
    mean = (float)quotient(sums[0], (double)plane);
  }
  for (int at = threadIdx.x; at < plane; at += 256) {
    Pixel pixel = load_pixel(from + at * channels, channels);
    recolor(pixel, kind, number, mean, channels);
    store_pixel(to + at * channels, pixel, channels);
  }
}
REGISTER(alter_images)
