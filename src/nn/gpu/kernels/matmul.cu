// Products of matrices: linear layers and what losses need.
#include "tile.cuh"

namespace {

// A matrix of `rows` rows and `depths` columns, that lies by rows or by columns.
template <bool BY_ROWS>
struct Matrix {
  static constexpr bool ALONG_DEPTH = BY_ROWS;
  using Row = const float *;
  using Depth = long long;
  const float *values;
  int rows, depths;
  __device__ Row row(int row) const {
    return row < rows ? values + (BY_ROWS ? (long long)row * depths : row) : nullptr;
  }
  __device__ Depth depth(int depth) const { return BY_ROWS ? depth : (long long)depth * rows; }
  __device__ float at(Row row, Depth depth) const { return row ? row[depth] : 0.0f; }
};

template <bool A_BY_ROWS, bool B_BY_ROWS>
__device__ inline void multiply(int m, int n, int k, const float *a, const float *b, const float *bias, float *y) {
  tile::product<true>(
      Matrix<A_BY_ROWS>{a, m, k}, Matrix<B_BY_ROWS>{b, n, k}, blockIdx.x * tile::ROWS, blockIdx.y * tile::COLUMNS, 0, k,
      [&](int row, int column, float sum) {
        if (row < m && column < n) y[(long long)row * n + column] = bias ? sum + bias[column] : sum;
      });
}

}  // namespace

// y[m, n] = a[m, k] b[n, k]^T + bias[n], in the precision of float32; there may be no bias. In the other three, `t` says
// which operand lies transposed in memory: a as [k, m], b as [k, n].
KERNEL(matmul_nt)(int m, int n, int k, const float *a, const float *b, const float *bias, float *y) {
  multiply<true, true>(m, n, k, a, b, bias, y);
}
REGISTER(matmul_nt)

KERNEL(matmul_nn)(int m, int n, int k, const float *a, const float *b, const float *bias, float *y) {
  multiply<true, false>(m, n, k, a, b, bias, y);
}
REGISTER(matmul_nn)

KERNEL(matmul_tn)(int m, int n, int k, const float *a, const float *b, const float *bias, float *y) {
  multiply<false, false>(m, n, k, a, b, bias, y);
}
REGISTER(matmul_tn)
