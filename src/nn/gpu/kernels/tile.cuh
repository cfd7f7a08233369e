// Products of matrices on tensor cores, a tile of the result for each block of threads.
#pragma once
#include "values.cuh"

namespace tile {

constexpr int DEPTH = 16, THREADS = 128;

// A stage of an operand in shared memory, with `COUNT` rows. What lies along the depth in memory lies so here, in a way that a
// load of four numbers is what a thread needs:
// - of the right operand four depths of a row;
// - of the left operand two depths of the rows `r` and `r + 8` of a fragment, in turns. Every other pair of rows has its pairs
//   of depths exchanged, so that neighbours are in other banks.
// What lies along the rows has a line for each depth, two longer than a multiple of eight, for the same reason.
template <int COUNT>
constexpr int LINE = COUNT + 2;

// The sizes of a tile, of which each of four warps has a quarter: fragments of 16 rows and of 8 columns.
template <int R, int C>
struct Size {
  static constexpr int ROWS = R, COLUMNS = C, M = R / 2 / 16, N = C / 2 / 8;
  // Two stages of each operand: one is multiplied while the other is filled.
  struct Shared {
    alignas(16) float left[2][DEPTH * LINE<R>], right[2][DEPTH * LINE<C>];
  };
};
using Large = Size<128, 64>;
using Small = Size<64, 64>;

// The first row of a pair of the left operand's.
__device__ inline int first_of_pair(int pair) { return pair / 8 * 16 + pair % 8; }

// Where the left operand has two depths of a pair of rows.
__device__ inline int pair_at(int pair, int depths) { return pair * 2 * DEPTH + (depths ^ (pair & 1)) * 4; }

// What a thread moves of an operand, with COUNT rows in a tile, into each stage. Its rows, or its row, stay the same from stage
// to stage.
template <class Operand, bool LEFT, int COUNT>
struct Loads {
  static constexpr bool ALONG = Operand::ALONG_DEPTH;
  static constexpr int WIDTH = Operand::WIDTH;
  // Loads beside each other in memory, and those of one thread.
  static constexpr int BESIDE = (ALONG ? DEPTH : COUNT) / WIDTH, LOADS = COUNT * DEPTH / WIDTH / THREADS;

  typename Operand::Row rows[ALONG ? LOADS : 1];
  Values<WIDTH> values[LOADS];

  // Where the `i`th load goes, along the contiguous side and across it.
  __device__ static int along() { return threadIdx.x % BESIDE * WIDTH; }
  __device__ static int across(int i) {
    const int step = THREADS / BESIDE, at = threadIdx.x / BESIDE;
    return ALONG && LEFT ? first_of_pair(at + i / 2 * step) + i % 2 * 8 : at + i * step;
  }

  __device__ Loads(const Operand &operand, int row0) {
    UNROLL for (int i = 0; i < (ALONG ? LOADS : 1); i++) rows[i] = operand.row(row0 + (ALONG ? across(i) : along()));
  }

  __device__ void fetch(const Operand &operand, int from, int end) {
    if constexpr (ALONG) {
      const bool there = from + along() < end;
      const typename Operand::Depth depth = operand.depth(there ? from + along() : from);
      UNROLL for (int i = 0; i < LOADS; i++) fetch_at(i, operand, there ? operand.at(rows[i], depth) : -1);
    } else {
      UNROLL for (int i = 0; i < LOADS; i++) {
        const int depth = from + across(i);
        fetch_at(i, operand, depth < end ? operand.at(rows[0], operand.depth(depth)) : -1);
      }
    }
  }

  __device__ void fetch_at(int i, const Operand &operand, int at) {
    if (at >= 0) values[i] = load<WIDTH>(operand.values + at);
    else UNROLL for (int k = 0; k < WIDTH; k++) values[i].v[k] = 0.0f;
  }

  // Into a stage; rounded to TF32 but for PRECISE products, which split each number later.
  template <bool PRECISE>
  __device__ void put(float *stage) {
    if (!PRECISE && !Operand::IS_ROUNDED)
      UNROLL for (int i = 0; i < LOADS; i++)
        UNROLL for (int k = 0; k < WIDTH; k++) values[i].v[k] = as_float(near_tf32(values[i].v[k]));
    if constexpr (ALONG && LEFT) {
      UNROLL for (int i = 0; i < LOADS; i += 2) {
        const int pair = threadIdx.x / BESIDE + i / 2 * (THREADS / BESIDE);
        const Values<WIDTH> &a = values[i], &b = values[i + 1];
        if constexpr (WIDTH == 1) {
          store<2>(stage + pair_at(pair, along() / 2) + along() % 2 * 2, {a.v[0], b.v[0]});
        } else {
          UNROLL for (int k = 0; k < WIDTH; k += 2)
            store<4>(stage + pair_at(pair, (along() + k) / 2), {a.v[k], b.v[k], a.v[k + 1], b.v[k + 1]});
        }
      }
    } else {
      UNROLL for (int i = 0; i < LOADS; i++) {
        if constexpr (ALONG) {
          store<WIDTH>(stage + across(i) * DEPTH + along(), values[i]);
        } else if constexpr (WIDTH == 4) {
          float *to = stage + across(i) * LINE<COUNT> + along();
          store<2>(to, {values[i].v[0], values[i].v[1]});
          store<2>(to + 2, {values[i].v[2], values[i].v[3]});
        } else {
          store<WIDTH>(stage + across(i) * LINE<COUNT> + along(), values[i]);
        }
      }
    }
  }
};

// A thread has the depths from 4 (lane % 4) on: two in the first half of a stage, two in the second. The order in which the
// depths of a product are summed is ours to choose, as long as both operands agree.
__device__ inline int first_depth(int half) { return 4 * (threadIdx.x & 3) + 2 * half; }

// A lane of a fragment's eight rows or columns.
__device__ inline int group_of_lane() { return threadIdx.x >> 2 & 7; }

// A fragment of the left operand, with 16 rows from `row` on.
template <class Operand, int ROWS>
__device__ inline Values<4> take_left(const float *stage, int row, int half) {
  const int group = group_of_lane();
  if constexpr (Operand::ALONG_DEPTH) {
    return load<4>(stage + pair_at(row / 2 + group, first_depth(half) / 2));
  } else {
    const float *from = stage + first_depth(half) * LINE<ROWS> + row + group;
    return {from[0], from[8], from[LINE<ROWS>], from[LINE<ROWS> + 8]};
  }
}

// Both halves of a fragment of the right operand, with eight columns from `column` on.
template <class Operand, int COLUMNS>
__device__ inline Values<4> take_right(const float *stage, int column) {
  const int group = group_of_lane();
  if constexpr (Operand::ALONG_DEPTH) {
    return load<4>(stage + (column + group) * DEPTH + first_depth(0));
  } else {
    const float *from = stage + first_depth(0) * LINE<COLUMNS> + column + group;
    return {from[0], from[LINE<COLUMNS>], from[2 * LINE<COLUMNS>], from[3 * LINE<COLUMNS>]};
  }
}

// out(column)(row, sum, next) with the sums over depth of a(row, depth) * b(column, depth) of a column, which is even, and of the
// next one, for the tile of rows from `row0` and columns from `column0`, over the depths from `begin` to `end`.
//
// An operand says where a row lies (`row`) and where a depth (`depth`), each worked out as seldom as possible, and where among its
// `values` the two meet (`at`): WIDTH of them, or nothing where that is negative. They lie along the depth where ALONG_DEPTH, else
// along the rows. Rows, or depths, are a multiple of WIDTH.
//
// PRECISE splits each number in two of TF32: three products in the place of one, each with sums of its own that are added in
// float32, because a tensor core cuts off what its sum has no room for. Its rounding errors are those of float32.
template <class Size, bool PRECISE, class A, class B, class Out>
__device__ inline void product(typename Size::Shared &shared, const A &a, const B &b, int row0, int column0, int begin, int end,
                               const Out &out) {
  constexpr int ROWS = Size::ROWS, COLUMNS = Size::COLUMNS, M = Size::M, N = Size::N;
  const int warp = threadIdx.x >> 5, group = group_of_lane(), in = threadIdx.x & 3;
  const int warp_row = warp % 2 * (ROWS / 2), warp_column = warp / 2 * (COLUMNS / 2);
  Loads<A, true, ROWS> left(a, row0);
  Loads<B, false, COLUMNS> right(b, column0);
  float sums[M][N][4] = {};
  left.fetch(a, begin, end);
  right.fetch(b, begin, end);
  left.template put<PRECISE>(shared.left[0]);
  right.template put<PRECISE>(shared.right[0]);
  if (begin + DEPTH < end) {
    left.fetch(a, begin + DEPTH, end);
    right.fetch(b, begin + DEPTH, end);
  }
  __syncthreads();
  int stage = 0;
  for (int from = begin; from < end; from += DEPTH) {
    // What is loaded during a stage is put away in the next: memory has a whole stage to answer in.
    if (from + DEPTH < end) {
      left.template put<PRECISE>(shared.left[stage ^ 1]);
      right.template put<PRECISE>(shared.right[stage ^ 1]);
    }
    if (from + 2 * DEPTH < end) {
      left.fetch(a, from + 2 * DEPTH, end);
      right.fetch(b, from + 2 * DEPTH, end);
    }
    Values<4> of_right[N];
    UNROLL for (int i = 0; i < N; i++) of_right[i] = take_right<B, COLUMNS>(shared.right[stage], warp_column + i * 8);
    UNROLL for (int half = 0; half < 2; half++) {
      unsigned high_a[M][4], high_b[N][2];
      Values<4> of_left[M];
      UNROLL for (int i = 0; i < M; i++) {
        of_left[i] = take_left<A, ROWS>(shared.left[stage], warp_row + i * 16, half);
        UNROLL for (int j = 0; j < 4; j++) high_a[i][j] = PRECISE ? tf32(of_left[i].v[j]) : as_bits(of_left[i].v[j]);
      }
      UNROLL for (int i = 0; i < N; i++)
        UNROLL for (int j = 0; j < 2; j++) {
          const float value = of_right[i].v[2 * half + j];
          high_b[i][j] = PRECISE ? tf32(value) : as_bits(value);
        }
      if constexpr (PRECISE) {
        unsigned low_a[M][4], low_b[N][2];
        UNROLL for (int i = 0; i < M; i++)
          UNROLL for (int j = 0; j < 4; j++) low_a[i][j] = tf32(of_left[i].v[j] - as_float(high_a[i][j]));
        UNROLL for (int i = 0; i < N; i++)
          UNROLL for (int j = 0; j < 2; j++) low_b[i][j] = tf32(of_right[i].v[2 * half + j] - as_float(high_b[i][j]));
        // A row of fragments at a time, because there are not registers for more.
        UNROLL for (int i = 0; i < M; i++) {
          const unsigned (&high)[1][4] = reinterpret_cast<const unsigned (&)[1][4]>(high_a[i]);
          const unsigned (&low)[1][4] = reinterpret_cast<const unsigned (&)[1][4]>(low_a[i]);
          float own[1][N][4] = {};
          mma_tf32_tiles(own, low, high_b);
          mma_tf32_tiles(own, high, low_b);
          mma_tf32_tiles(own, high, high_b);
          UNROLL for (int j = 0; j < N; j++)
            UNROLL for (int e = 0; e < 4; e++) sums[i][j][e] += own[0][j][e];
        }
      } else {
        mma_tf32_tiles(sums, high_a, high_b);
      }
    }
    __syncthreads();
    stage ^= 1;
  }
  UNROLL for (int j = 0; j < N; j++) {
    const auto at = out(column0 + warp_column + j * 8 + 2 * in);
    UNROLL for (int i = 0; i < M; i++)
      UNROLL for (int half = 0; half < 2; half++)
        at(row0 + warp_row + i * 16 + half * 8 + group, sums[i][j][2 * half], sums[i][j][2 * half + 1]);
  }
}

// Two values beside each other from an even column on, as far as their row of `columns` goes.
__device__ inline void put_two(float *row, int column, int columns, float value, float next) {
  if (columns % 2 == 0) {
    if (column < columns) store<2>(row + column, {value, next});
    return;
  }
  if (column < columns) row[column] = value;
  if (column + 1 < columns) row[column + 1] = next;
}

// The numbers of two columns from an even one on; zero where there are none.
__device__ inline Values<2> two_of(const float *numbers, int column, int columns) {
  return {numbers && column < columns ? numbers[column] : 0.0f, numbers && column + 1 < columns ? numbers[column + 1] : 0.0f};
}

}  // namespace tile
