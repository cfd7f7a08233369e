// Products of matrices on tensor cores, a tile of the result for each block of threads.
#pragma once
#include "values.cuh"

namespace tile {

constexpr int DEPTH = 16, THREADS = 128;
// Stages that are in shared memory at once: one is multiplied while the others are on their way.
constexpr int STAGES = 3;

// How the factors of products are rounded: to the numbers of TF32 or of bf16, or not at all, for which each is split in two of TF32.
enum class Factors { TF32, FLOAT32, BF16 };

// The sizes of a tile: rows and columns, and the four warps' side by side along the rows. Each has fragments of 16 rows and of 8
// columns.
template <int R, int C, int ALONG_ROWS>
struct Size {
  static constexpr int ROWS = R, COLUMNS = C, WARPS = ALONG_ROWS;
  static constexpr int WARP_ROWS = R / ALONG_ROWS, WARP_COLUMNS = C * ALONG_ROWS / 4, M = WARP_ROWS / 16, N = WARP_COLUMNS / 8;
};
using Large = Size<128, 128, 2>;
using Medium = Size<128, 64, 2>;
using Small = Size<64, 64, 2>;

// The tiles of a product, those of the same rows beside each other.
template <class Size>
__device__ inline int across(int columns) { return (columns + Size::COLUMNS - 1) / Size::COLUMNS; }
template <class Size>
__device__ inline int count(int rows, int columns) { return (rows + Size::ROWS - 1) / Size::ROWS * across<Size>(columns); }

// The first row and column of a tile.
struct Corner {
  int row, column;
};
template <class Size>
__device__ inline Corner corner(int columns, int number) {
  const int beside = across<Size>(columns);
  return {number / beside * Size::ROWS, number % beside * Size::COLUMNS};
}

// Where an operand has values, if it has any there.
struct Place {
  int at;
  bool is_there;
};

// A stage of an operand in shared memory, with COUNT rows. What lies along the depth in memory lies so here, in rows of a stage's
// depth: eight threads that load four numbers each at once then meet every bank once. What lies along the rows has a line for
// each depth, which is eight longer for the same reason.
template <int COUNT>
constexpr int LINE = COUNT + 8;
template <int COUNT>
constexpr int FLOATS = DEPTH * LINE<COUNT>;

// What a thread moves of an operand, with COUNT rows in a tile, into each stage. Its rows, or its row, stay the same from stage
// to stage.
template <class Operand, int COUNT>
struct Loads {
  static constexpr bool ALONG = Operand::ALONG_DEPTH;
  static constexpr int WIDTH = Operand::WIDTH;
  // Numbers of 32 bits: two where they are pairs of bf16.
  static constexpr int SHARE = Operand::IS_PAIRS ? 2 : 1;
  // Loads beside each other in memory, and those of one thread.
  static constexpr int BESIDE = (ALONG ? DEPTH : COUNT) / WIDTH, LOADS = COUNT * DEPTH / WIDTH / THREADS;

  typename Operand::Row rows[ALONG ? LOADS : 1];

  // Where the `i`th load goes, along the contiguous side and across it.
  __device__ static int along() { return threadIdx.x % BESIDE * WIDTH; }
  __device__ static int across(int i) { return threadIdx.x / BESIDE + i * (THREADS / BESIDE); }

  __device__ Loads(const Operand &operand, int row0) {
    UNROLL for (int i = 0; i < (ALONG ? LOADS : 1); i++) rows[i] = operand.row(row0 + (ALONG ? across(i) : along()));
  }

  // Starts copies of the depths from `from` on into a stage; zeros from `end` on.
  __device__ void start(float *stage, const Operand &operand, int from, int end) const {
    if constexpr (ALONG) {
      const bool there = from + along() < end;
      const typename Operand::Depth depth = operand.depth(from + along());
      UNROLL for (int i = 0; i < LOADS; i++)
        start_at(stage + (across(i) * DEPTH + along()) / SHARE, operand, operand.at(rows[i], depth), there);
    } else {
      UNROLL for (int i = 0; i < LOADS; i++) {
        const int depth = from + across(i);
        start_at(stage + across(i) * LINE<COUNT> + along(), operand, operand.at(rows[0], operand.depth(depth)), depth < end);
      }
    }
  }

  __device__ static void start_at(float *to, const Operand &operand, Place from, bool there) {
    copy<WIDTH / SHARE, Operand::IS_CACHED>(to, operand.values + (from.at >> (SHARE - 1)), there && from.is_there);
  }
};

// A lane of a fragment's eight rows or columns.
__device__ inline int group_of_lane() { return threadIdx.x >> 2 & 7; }

// The four depths of a stage that a thread multiplies, of a row: the first two in one product of fragments, the others in the
// next. Which depths they are is ours to choose, as long as both operands agree: four beside each other, or, where both operands
// lie along the rows, every fourth, which are in other banks.
template <class Operand, bool EVERY_FOURTH, int COUNT>
__device__ inline Values<4> take(const float *stage, int row) {
  const int in = threadIdx.x & 3;
  if constexpr (Operand::ALONG_DEPTH) {
    return load<4>(stage + row * DEPTH + 4 * in);
  } else {
    const float *from = stage + (EVERY_FOURTH ? in : 4 * in) * LINE<COUNT> + row;
    constexpr int step = (EVERY_FOURTH ? 4 : 1) * LINE<COUNT>;
    return {from[0], from[step], from[2 * step], from[3 * step]};
  }
}

// The same four as two pairs of bf16.
template <class Operand, bool EVERY_FOURTH, int COUNT>
__device__ inline void take_pairs(unsigned (&pairs)[2], const float *stage, int row) {
  if constexpr (Operand::IS_PAIRS) {
    const Values<2> both = load<2>(stage + row * (DEPTH / 2) + 2 * (threadIdx.x & 3));
    pairs[0] = as_bits(both.v[0]), pairs[1] = as_bits(both.v[1]);
  } else {
    const Values<4> values = take<Operand, EVERY_FOURTH, COUNT>(stage, row);
    pairs[0] = bf16_pair(values.v[0], values.v[1]), pairs[1] = bf16_pair(values.v[2], values.v[3]);
  }
}

// The bits that a tensor core for TF32 is given.
template <class Operand, bool PRECISE>
__device__ inline unsigned rounded(float value) {
  return PRECISE ? tf32(value) : Operand::IS_ROUNDED ? as_bits(value) : near_tf32(value);
}

// Hands on a thread's sums of two rows that go to `places`: of N pairs of columns, eight apart. What is to be added is loaded for
// several of them together before any is written.
template <int N, class More, class Put>
__device__ inline void hand_on(const int (&places)[2], int column, const float (&sums)[N][4], const More &more, const Put &put) {
  constexpr int TOGETHER = N < 4 ? N : 4;
  UNROLL for (int first = 0; first < N; first += TOGETHER) {
    Values<2> both[TOGETHER][2];
    UNROLL for (int j = 0; j < TOGETHER; j++)
      UNROLL for (int half = 0; half < 2; half++) both[j][half] = more(places[half], column + (first + j) * 8);
    UNROLL for (int j = 0; j < TOGETHER; j++)
      UNROLL for (int half = 0; half < 2; half++) {
        UNROLL for (int k = 0; k < 2; k++) both[j][half].v[k] += sums[first + j][2 * half + k];
        put(places[half], column + (first + j) * 8, both[j][half]);
      }
  }
}

// put(at(row), column, sums) with the sums over depth of a(row, depth) * b(column, depth) of a column, which is even, and of the
// next one, and with more(at(row), column) added to both, for the tile from `corner` on, over the depths from `begin` to `end`.
// `shared` has room for STAGES of both operands.
//
// An operand says where a row lies (`row`) and where a depth (`depth`), each worked out as seldom as possible, and where among its
// `values` the two meet (`at`), WIDTH of them. It is asked for rows and depths beyond its last too. They lie along the depth where ALONG_DEPTH, else
// along the rows, and are read more than once by neighbours where IS_CACHED. Rows, or depths, are a multiple of WIDTH. Where
// IS_PAIRS they are numbers of bf16 already, two in 32 bits of `values`, and lie along the depth.
//
// FLOAT32 splits each number in two of TF32: three products in the place of one, each with sums of its own that are added in
// float32, because a tensor core cuts off what its sum has no room for. Its rounding errors are those of float32.
template <class Size, Factors FACTORS, class A, class B, class At, class More, class Put>
__device__ inline void product(float *shared, const A &a, const B &b, Corner corner, int begin, int end, const At &at,
                               const More &more, const Put &put) {
  constexpr int ROWS = Size::ROWS, COLUMNS = Size::COLUMNS, M = Size::M, N = Size::N;
  constexpr bool PRECISE = FACTORS == Factors::FLOAT32;
  static_assert(!A::IS_PAIRS && (!B::IS_PAIRS || (FACTORS == Factors::BF16 && B::ALONG_DEPTH)), "what the loads are made for");
  constexpr bool EVERY_FOURTH = !A::ALONG_DEPTH && !B::ALONG_DEPTH;
  const int warp = threadIdx.x >> 5, group = group_of_lane(), in = threadIdx.x & 3;
  const int warp_row = warp % Size::WARPS * Size::WARP_ROWS, warp_column = warp / Size::WARPS * Size::WARP_COLUMNS;
  const Loads<A, ROWS> left(a, corner.row);
  const Loads<B, COLUMNS> right(b, corner.column);
  float *of_left = shared, *of_right = shared + STAGES * FLOATS<ROWS>;
  float sums[M][N][4] = {};
  UNROLL for (int i = 0; i < STAGES - 1; i++) {
    if (begin + i * DEPTH < end) {
      left.start(of_left + i * FLOATS<ROWS>, a, begin + i * DEPTH, end);
      right.start(of_right + i * FLOATS<COLUMNS>, b, begin + i * DEPTH, end);
    }
    copy_commit();
  }
  int stage = 0, free = STAGES - 1;
  for (int from = begin; from < end; from += DEPTH) {
    copy_wait<STAGES - 2>();
    // The stage has arrived for all threads, and all have done with the one before, which is filled again.
    __syncthreads();
    const int ahead = from + (STAGES - 1) * DEPTH;
    if (ahead < end) {
      left.start(of_left + free * FLOATS<ROWS>, a, ahead, end);
      right.start(of_right + free * FLOATS<COLUMNS>, b, ahead, end);
    }
    copy_commit();
    if constexpr (FACTORS == Factors::BF16) {
      unsigned own_left[M][4], own_right[N][2];
      UNROLL for (int i = 0; i < N; i++)
        take_pairs<B, EVERY_FOURTH, COLUMNS>(own_right[i], of_right + stage * FLOATS<COLUMNS>, warp_column + i * 8 + group);
      UNROLL for (int i = 0; i < M; i++)
        UNROLL for (int k = 0; k < 2; k++) {
          unsigned pairs[2];
          take_pairs<A, EVERY_FOURTH, ROWS>(pairs, of_left + stage * FLOATS<ROWS>, warp_row + i * 16 + k * 8 + group);
          own_left[i][k] = pairs[0], own_left[i][k + 2] = pairs[1];
        }
      mma_bf16_tiles(sums, own_left, own_right);
    } else {
      Values<4> own_left[M][2], own_right[N];
      UNROLL for (int i = 0; i < N; i++)
        own_right[i] = take<B, EVERY_FOURTH, COLUMNS>(of_right + stage * FLOATS<COLUMNS>, warp_column + i * 8 + group);
      UNROLL for (int i = 0; i < M; i++)
        UNROLL for (int k = 0; k < 2; k++)
          own_left[i][k] = take<A, EVERY_FOURTH, ROWS>(of_left + stage * FLOATS<ROWS>, warp_row + i * 16 + k * 8 + group);
      UNROLL for (int half = 0; half < 2; half++) {
        unsigned high_a[M][4], high_b[N][2];
        UNROLL for (int i = 0; i < M; i++)
          UNROLL for (int j = 0; j < 4; j++) high_a[i][j] = rounded<A, PRECISE>(own_left[i][j % 2].v[2 * half + j / 2]);
        UNROLL for (int i = 0; i < N; i++)
          UNROLL for (int j = 0; j < 2; j++) high_b[i][j] = rounded<B, PRECISE>(own_right[i].v[2 * half + j]);
        if constexpr (PRECISE) {
          unsigned low_a[M][4], low_b[N][2];
          UNROLL for (int i = 0; i < M; i++)
            UNROLL for (int j = 0; j < 4; j++) low_a[i][j] = tf32(own_left[i][j % 2].v[2 * half + j / 2] - as_float(high_a[i][j]));
          UNROLL for (int i = 0; i < N; i++)
            UNROLL for (int j = 0; j < 2; j++) low_b[i][j] = tf32(own_right[i].v[2 * half + j] - as_float(high_b[i][j]));
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
    }
    free = stage;
    stage = stage + 1 == STAGES ? 0 : stage + 1;
  }
  int places[M][2];
  UNROLL for (int i = 0; i < M; i++)
    UNROLL for (int half = 0; half < 2; half++) places[i][half] = at(corner.row + warp_row + i * 16 + half * 8 + group);
  UNROLL for (int i = 0; i < M; i++) hand_on(places[i], corner.column + warp_column + 2 * in, sums[i], more, put);
}

// Tiles of a size, by these products.
template <class Of, Factors FACTORS>
struct Tiles : Of {
  static constexpr int THREADS = tile::THREADS;
  static constexpr bool TAKES_PAIRS = FACTORS == Factors::BF16;
  template <class... Given>
  __device__ static void product(const Given &...given) { tile::product<Of, FACTORS>(given...); }
};

// Two values beside each other from an even column on, as far as their row of `columns` goes.
__device__ inline void put_two(float *row, int column, int columns, const Values<2> &both) {
  if (columns % 2 == 0) {
    if (column < columns) store<2>(row + column, both);
    return;
  }
  UNROLL for (int k = 0; k < 2; k++)
    if (column + k < columns) row[column + k] = both.v[k];
}

// The numbers of two columns from an even one on; zero where there are none.
__device__ inline Values<2> two_of(const float *numbers, int column, int columns) {
  if (numbers && columns % 2 == 0 && column < columns) return load<2>(numbers + column);
  return {numbers && column < columns ? numbers[column] : 0.0f, numbers && column + 1 < columns ? numbers[column + 1] : 0.0f};
}

}  // namespace tile
