// Products of matrices on tensor cores, a tile of the result for each block of threads.
#pragma once
#include "portable.cuh"

namespace tile {

constexpr int ROWS = 64, COLUMNS = 64, DEPTH = 16, THREADS = 128;
// Rows of a tile in shared memory are four floats apart from a power of two, so that the eight rows and four columns of a
// fragment lie in different banks.
constexpr int STRIDE = DEPTH + 4;
// What a thread loads of each operand in a step.
constexpr int LOADS = ROWS * DEPTH / THREADS;

// Where the `i`th load of a thread goes: along the depth where neighbours in memory differ in it, else along the rows.
template <bool ALONG_DEPTH>
__device__ inline void place(int i, int &row, int &depth) {
  const int thread = threadIdx.x;
  if (ALONG_DEPTH) {
    row = (thread >> 4) + i * (THREADS / DEPTH);
    depth = thread & (DEPTH - 1);
  } else {
    row = thread & (ROWS - 1);
    depth = (thread >> 6) + i * (THREADS / ROWS);
  }
}

// What a thread loads of an operand: its rows stay the same from step to step.
template <class Operand>
struct Loads {
  static constexpr bool ALONG = Operand::ALONG_DEPTH;
  typename Operand::Row rows[ALONG ? LOADS : 1];

  __device__ Loads(const Operand &operand, int row0) {
    UNROLL for (int i = 0; i < (ALONG ? LOADS : 1); i++) {
      int row, depth;
      place<ALONG>(i, row, depth);
      rows[i] = operand.row(row0 + row);
    }
  }

  __device__ void fetch(const Operand &operand, int from, int end, float (&values)[LOADS]) const {
    int row, depth;
    if (ALONG) {
      place<ALONG>(0, row, depth);
      const bool there = from + depth < end;
      const typename Operand::Depth at = operand.depth(there ? from + depth : from);
      UNROLL for (int i = 0; i < LOADS; i++) values[i] = there ? operand.at(rows[ALONG ? i : 0], at) : 0.0f;
    } else {
      UNROLL for (int i = 0; i < LOADS; i++) {
        place<ALONG>(i, row, depth);
        values[i] = from + depth < end ? operand.at(rows[0], operand.depth(from + depth)) : 0.0f;
      }
    }
  }
};

// out(row, column, sum over depth of a(row, depth) * b(column, depth)) for the tile of rows from `row0` and columns from
// `column0`, over the depths from `begin` to `end`. An operand says where a row lies (`row`) and where a depth (`depth`), each
// worked out as seldom as possible, what it holds there (`at`, zero where there is nothing), and by ALONG_DEPTH which of the two
// is contiguous in memory. PRECISE splits each number in two of TF32: three products in the place of one, with the rounding errors
// of float32.
template <bool PRECISE, class A, class B, class Out>
__device__ inline void product(const A &a, const B &b, int row0, int column0, int begin, int end, const Out &out) {
  __shared__ float left[2][ROWS * STRIDE], right[2][COLUMNS * STRIDE];
  const int warp = threadIdx.x >> 5, group = lane() >> 2, in = lane() & 3;
  const int warp_row = (warp & 1) * 32, warp_column = (warp >> 1) * 32;
  float next_left[LOADS], next_right[LOADS];
  const Loads<A> from_left(a, row0);
  const Loads<B> from_right(b, column0);
  auto fetch = [&](int from) {
    from_left.fetch(a, from, end, next_left);
    from_right.fetch(b, from, end, next_right);
  };
  auto store = [&](int stage) {
    UNROLL for (int i = 0; i < LOADS; i++) {
      int row, depth;
      place<A::ALONG_DEPTH>(i, row, depth);
      left[stage][row * STRIDE + depth] = next_left[i];
    }
    UNROLL for (int i = 0; i < LOADS; i++) {
      int row, depth;
      place<B::ALONG_DEPTH>(i, row, depth);
      right[stage][row * STRIDE + depth] = next_right[i];
    }
  };
  float sums[2][4][4] = {};
  fetch(begin);
  store(0);
  __syncthreads();
  int stage = 0;
  for (int from = begin; from < end; from += DEPTH) {
    const bool more = from + DEPTH < end;
    if (more) fetch(from + DEPTH);
    UNROLL for (int k = 0; k < DEPTH; k += 8) {
      unsigned high_a[2][4], low_a[2][4], high_b[4][2], low_b[4][2];
      UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int j = 0; j < 4; j++) {
          const int row = warp_row + i * 16 + group + (j & 1) * 8, depth = k + in + (j >> 1) * 4;
          const float value = left[stage][row * STRIDE + depth];
          high_a[i][j] = tf32(value);
          if (PRECISE) low_a[i][j] = tf32(value - as_float(high_a[i][j]));
        }
      UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int j = 0; j < 2; j++) {
          const int column = warp_column + i * 8 + group, depth = k + in + j * 4;
          const float value = right[stage][column * STRIDE + depth];
          high_b[i][j] = tf32(value);
          if (PRECISE) low_b[i][j] = tf32(value - as_float(high_b[i][j]));
        }
      if (PRECISE) {
        mma_tf32_tiles(sums, low_a, high_b);
        mma_tf32_tiles(sums, high_a, low_b);
      }
      mma_tf32_tiles(sums, high_a, high_b);
    }
    if (more) store(stage ^ 1);
    __syncthreads();
    stage ^= 1;
  }
  UNROLL for (int i = 0; i < 2; i++)
    UNROLL for (int j = 0; j < 4; j++)
      UNROLL for (int e = 0; e < 4; e++) {
        const int row = row0 + warp_row + i * 16 + group + (e >> 1) * 8;
        const int column = column0 + warp_column + j * 8 + 2 * in + (e & 1);
        out(row, column, sums[i][j][e]);
      }
}

}  // namespace tile
