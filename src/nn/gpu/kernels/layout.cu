// Moves values and computes nothing.
#include "elements.cuh"
#include "values.cuh"

#define TURN_0 long long n0, int c0, int s0, int step0, int wide0, int rounded0, const float *x0, float *y0
#define TURN_1 long long n1, int c1, int s1, int step1, int wide1, int rounded1, const float *x1, float *y1
#define TURN_2 long long n2, int c2, int s2, int step2, int wide2, int rounded2, const float *x2, float *y2
#define TURN_3 long long n3, int c3, int s3, int step3, int wide3, int rounded3, const float *x3, float *y3
#define TURN_4 long long n4, int c4, int s4, int step4, int wide4, int rounded4, const float *x4, float *y4
#define TURN_5 long long n5, int c5, int s5, int step5, int wide5, int rounded5, const float *x5, float *y5
#define TURN_6 long long n6, int c6, int s6, int step6, int wide6, int rounded6, const float *x6, float *y6
#define TURN_7 long long n7, int c7, int s7, int step7, int wide7, int rounded7, const float *x7, float *y7
#define TURNS TURN_0, TURN_1, TURN_2, TURN_3, TURN_4, TURN_5, TURN_6, TURN_7
#define CASE_TURN(k) case k: turn = {(int)n##k, c##k, s##k, step##k, wide##k, rounded##k, x##k, y##k}; break;

namespace {

struct Turn {
  int n, c, s, step, wide, rounded;
  const float *x;
  float *y;
};

// How a turn rounds, where it does.
constexpr int TO_TF32 = 1, TO_BF16 = 2;

// Values that a block of threads turns, and those of a thread.
constexpr int TURNED = 1024, EACH = TURNED / 256;

// Quotients of numbers up to TURNED, which a multiplication gives exactly.
struct SmallDivisor {
  unsigned factor;
  __device__ explicit SmallDivisor(int by) : factor((1u << 21) / by + 1) {}
  __device__ int of(int numerator) const { return (numerator * factor) >> 21; }
};

}  // namespace

// y[n][i][j] = x[n][j][i] for i < s and j < c, as it is, rounded to TF32, or as a number of bf16 in half the room, by `rounded`; zero for j from c on, up to `wide`. x has `step` values
// from j to j + 1. Up to eight times: blockIdx.y says which. A block of threads turns TURNED values, as far as they are there: 32 of the
// s and 32 of the j, or all where there are fewer, and more of the other, by way of shared memory, so that it reads and writes
// values that lie beside each other.
KERNEL_BOUNDED(swap_axes, 256)(TURNS) {
  // A line is longer by one where it would else have an even length, so that its values are in other banks than the next one's.
  __shared__ float shared[TURNED * 3 / 2];
  Turn turn;
  switch (blockIdx.y) {
    CASE_TURN(0) CASE_TURN(1) CASE_TURN(2) CASE_TURN(3) CASE_TURN(4) CASE_TURN(5) CASE_TURN(6)
    default: turn = {(int)n7, c7, s7, step7, wide7, rounded7, x7, y7};
  }
  const int few = turn.wide < 32 ? turn.wide : 32, along = turn.s < 32 ? turn.s : few < 32 ? TURNED / few : 32;
  const int across = turn.s < 32 ? TURNED / along : few, line = along | 1;
  const int beside = (turn.s + along - 1) / along, tiles = (turn.wide + across - 1) / across * beside;
  const int k = blockIdx.x / tiles, tile = blockIdx.x % tiles, i0 = tile % beside * along, j0 = tile / beside * across;
  if (k >= turn.n) return;
  const SmallDivisor by_along(along), by_across(across);
  const float *x = turn.x + (k * turn.c + j0) * turn.step + i0;
  const int to = (k * turn.s + i0) * turn.wide + j0;
  float values[EACH];
  UNROLL for (int n = 0; n < EACH; n++) {
    const int at = threadIdx.x + n * 256, j = by_along.of(at), i = at - j * along;
    const bool is_there = j < across && i0 + i < turn.s && j0 + j < turn.c;
    values[n] = is_there ? x[j * turn.step + i] : 0.0f;
  }
  UNROLL for (int n = 0; n < EACH; n++) {
    const int at = threadIdx.x + n * 256, j = by_along.of(at), i = at - j * along;
    if (j < across) shared[j * line + i] = turn.rounded == TO_TF32 ? as_float(tf32(values[n])) : values[n];
  }
  __syncthreads();
  UNROLL for (int n = 0; n < EACH; n++) {
    const int at = threadIdx.x + n * 256, i = by_across.of(at), j = at - i * across;
    if (i < along && i0 + i < turn.s && j0 + j < turn.wide) {
      const float value = shared[j * line + i];
      if (turn.rounded == TO_BF16) reinterpret_cast<unsigned short *>(turn.y)[to + i * turn.wide + j] = bf16(value);
      else turn.y[to + i * turn.wide + j] = value;
    }
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
