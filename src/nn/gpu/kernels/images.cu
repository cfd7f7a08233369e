// Images of bytes as the numbers that a network takes in.
#include "elements.cuh"

// The `count` numbers of images that lie at `pixels` as [height][width][channels]: y holds them as [channels][height * width], or
// pixel by pixel as they lie. Image k of y is image rows[k], or image k where there are no rows; `table` has the numbers of the 256
// bytes, channel by channel. `plane` is height * width.
KERNEL(normalise_images)(long long count, int channels, int plane, int by_pixel, const int *rows, const unsigned char *pixels,
                         const float *table, float *y) {
  const int i = element();
  if (i >= count) return;
  const int len = channels * plane, image = i / len, at = i - image * len;
  const int pixel = by_pixel ? at / channels : at % plane, channel = by_pixel ? at % channels : at / plane;
  const long long from = rows ? rows[image] : image;
  y[i] = table[channel * 256 + pixels[from * len + pixel * channels + channel]];
}
REGISTER(normalise_images)
