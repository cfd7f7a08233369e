// Products of matrices: linear layers and what losses need.
#include "tile.cuh"

namespace {

// A matrix of `rows` rows and `depths` columns, that lies by rows or by columns.
template <bool BY_ROWS, int W>
struct Matrix {
  static constexpr bool ALONG_DEPTH = BY_ROWS, IS_ROUNDED = false, IS_CACHED = false, IS_PAIRS = false;
  static constexpr int WIDTH = W;
  using Row = int;
  using Depth = int;
  const float *values;
  int rows, depths;
  __device__ Row row(int row) const { return row >= rows ? -1 : BY_ROWS ? row * depths : row; }
  __device__ Depth depth(int depth) const { return BY_ROWS ? depth : depth * rows; }
  __device__ tile::Place at(Row row, Depth depth) const { return {row + depth, row >= 0}; }
};

template <tile::Factors FACTORS, bool A_BY_ROWS, bool B_BY_ROWS, int W>
__device__ inline void multiply(float *shared, int m, int n, int k, int part, const float *a, const float *b,
                                const float *bias, float *y) {
  const int begin = blockIdx.z * part, end = begin + part < k ? begin + part : k;
  float *own = y + blockIdx.z * m * n;
  tile::product<tile::Small, FACTORS>(
      shared, Matrix<A_BY_ROWS, W>{a, m, k}, Matrix<B_BY_ROWS, W>{b, n, k}, tile::corner<tile::Small>(n, blockIdx.x), begin, end,
      [&](int row) { return row < m ? row * n : -1; },
      [&](int, int column) { return tile::two_of(bias, column, n); },
      [&](int at, int column, const Values<2> &both) {
        if (at >= 0) tile::put_two(own + at, column, n, both);
      });
}

// Values are loaded four at once, two or one, as the lengths of both matrices' rows in memory allow.
template <tile::Factors FACTORS, bool A_BY_ROWS, bool B_BY_ROWS>
__device__ inline void multiply_of(float *shared, int m, int n, int k, int part, const float *a, const float *b,
                                   const float *bias, float *y) {
  const int both = (A_BY_ROWS ? k : m) | (B_BY_ROWS ? k : n);
  if (both % 4 == 0) multiply<FACTORS, A_BY_ROWS, B_BY_ROWS, 4>(shared, m, n, k, part, a, b, bias, y);
  else if (both % 2 == 0) multiply<FACTORS, A_BY_ROWS, B_BY_ROWS, 2>(shared, m, n, k, part, a, b, bias, y);
  else multiply<FACTORS, A_BY_ROWS, B_BY_ROWS, 1>(shared, m, n, k, part, a, b, bias, y);
}

}  // namespace

// y[m, n] = a[m, k] b[n, k]^T + bias[n], in the precision of float32; there may be no bias. blockIdx.z is the part of the terms,
// of `part` each: where there are several, y is [parts, m, n]. In the other three, `t` says which operand lies transposed in
// memory: a as [k, m], b as [k, n].
KERNEL_BOUNDED(matmul_nt, tile::THREADS, 3)(int m, int n, int k, int part, const float *a, const float *b, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  multiply_of<tile::Factors::FLOAT32, true, true>(shared, m, n, k, part, a, b, bias, y);
}
REGISTER(matmul_nt)

KERNEL_BOUNDED(matmul_nn, tile::THREADS, 3)(int m, int n, int k, int part, const float *a, const float *b, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  multiply_of<tile::Factors::FLOAT32, true, false>(shared, m, n, k, part, a, b, bias, y);
}
REGISTER(matmul_nn)

KERNEL_BOUNDED(matmul_tn, tile::THREADS, 3)(int m, int n, int k, int part, const float *a, const float *b, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  multiply_of<tile::Factors::FLOAT32, false, false>(shared, m, n, k, part, a, b, bias, y);
}
REGISTER(matmul_tn)

// The same of factors that are rounded to bf16.
KERNEL_BOUNDED(matmul_nt_bf16, tile::THREADS, 4)(int m, int n, int k, int part, const float *a, const float *b, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  multiply_of<tile::Factors::BF16, true, true>(shared, m, n, k, part, a, b, bias, y);
}
REGISTER(matmul_nt_bf16)

KERNEL_BOUNDED(matmul_nn_bf16, tile::THREADS, 4)(int m, int n, int k, int part, const float *a, const float *b, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  multiply_of<tile::Factors::BF16, true, false>(shared, m, n, k, part, a, b, bias, y);
}
REGISTER(matmul_nn_bf16)

KERNEL_BOUNDED(matmul_tn_bf16, tile::THREADS, 4)(int m, int n, int k, int part, const float *a, const float *b, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  multiply_of<tile::Factors::BF16, false, false>(shared, m, n, k, part, a, b, bias, y);
}
REGISTER(matmul_tn_bf16)
