// Random numbers, the same as the processor draws.
#include "elements.cuh"

namespace {

__device__ inline unsigned rotated(unsigned x, int by) { return x << by | x >> (32 - by); }

__device__ inline void quarter_round(unsigned &a, unsigned &b, unsigned &c, unsigned &d) {
  a += b, d = rotated(d ^ a, 16);
  c += d, b = rotated(b ^ c, 12);
  a += b, d = rotated(d ^ a, 8);
  c += d, b = rotated(b ^ c, 7);
}

}  // namespace

// scales[i] = 0 where the i-th number from 0 to 1 of the stream of `key`, eight words, is below p, else `keep`: a thread for each 16 of
// the n numbers. The stream is that of ChaCha (Bernstein 2008) with eight rounds, counted from block 0, with a nonce of zeros; of each
// word the upper 24 bits are a number.
KERNEL(dropout_scales)(int n, float p, float keep, const unsigned *key, float *scales) {
  const int block = element(), first = block * 16;
  if (block >= (n + 15) / 16) return;
  unsigned start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
  UNROLL for (int i = 0; i < 8; i++) start[4 + i] = key[i];
  start[12] = block, start[13] = start[14] = start[15] = 0;
  unsigned x[16];
  UNROLL for (int i = 0; i < 16; i++) x[i] = start[i];
  UNROLL for (int round = 0; round < 4; round++) {
    UNROLL for (int i = 0; i < 4; i++) quarter_round(x[i], x[i + 4], x[i + 8], x[i + 12]);
    UNROLL for (int i = 0; i < 4; i++) quarter_round(x[i], x[(i + 1) % 4 + 4], x[(i + 2) % 4 + 8], x[(i + 3) % 4 + 12]);
  }
  UNROLL for (int i = 0; i < 16; i++) {
    const float number = (float)((x[i] + start[i]) >> 8) / 16777216.0f;
    if (first + i < n) scales[first + i] = number < p ? 0.0f : keep;
  }
}
REGISTER(dropout_scales)
