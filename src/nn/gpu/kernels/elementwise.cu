// Operations on single values. Numbers that may change from step to step come by a pointer, so that a recorded step can be
// replayed with others.
#include "elements.cuh"
#include "values.cuh"

namespace {

// In the order of `Unary` in unary.rs.
enum { SCALE, DIVIDE, SHIFT, SQUARE, ABS, EXP, LOG, SQRT, SIGMOID, CLAMP, ABOVE };
// In the order of `Binary` in binary.rs.
enum { ADD, SUBTRACT, MULTIPLY, DIVIDE_BY };

}  // namespace

// y = f(x); `by` holds two numbers.
KERNEL(unary)(long long n, int kind, const float *by, const float *x, float *y) {
  const float a = by[0], b = by[1];
  for (unsigned i = element(); i < n; i += elements()) {
    const float v = x[i];
    float out = 0.0f;
    switch (kind) {
      case SCALE: out = v * a; break;
      case DIVIDE: out = v / a; break;
      case SHIFT: out = v + a; break;
      case SQUARE: out = v * v; break;
      case ABS: out = fabsf(v); break;
      case EXP: out = expf(v); break;
      case LOG: out = logf(v); break;
      case SQRT: out = sqrtf(v); break;
      case SIGMOID: out = 1.0f / (1.0f + expf(-v)); break;
      case CLAMP: out = v < a ? a : v > b ? b : v; break;
      case ABOVE: out = v > a ? 1.0f : 0.0f; break;
    }
    y[i] = out;
  }
}
REGISTER(unary)

// dx = f'(x) dy, from x and y = f(x).
KERNEL(unary_back)(long long n, int kind, const float *by, const float *x, const float *y, const float *dy, float *dx) {
  const float a = by[0], b = by[1];
  for (unsigned i = element(); i < n; i += elements()) {
    const float v = x[i], d = dy[i];
    float out = 0.0f;
    switch (kind) {
      case SCALE: out = d * a; break;
      case DIVIDE: out = d / a; break;
      case SHIFT: out = d; break;
      case SQUARE: out = d * (2.0f * v); break;
      case ABS: out = v > 0.0f ? d : v < 0.0f ? -d : 0.0f; break;
      case EXP: out = d * y[i]; break;
      case LOG: out = d / v; break;
      case SQRT: out = d * (0.5f / y[i]); break;
      case SIGMOID: out = d * y[i] * (1.0f - y[i]); break;
      case CLAMP: out = v >= a && v <= b ? d : 0.0f; break;
    }
    dx[i] = out;
  }
}
REGISTER(unary_back)

// y = a op b for n values in rows of `columns`; b is at row * b_row + column * b_column.
KERNEL(binary)(long long n, int kind, int columns, int b_row, int b_column, const float *a, const float *b, float *y) {
  for (unsigned i = element(); i < n; i += elements()) {
    const float u = a[i], v = b[i / columns * b_row + i % columns * b_column];
    y[i] = kind == ADD ? u + v : kind == SUBTRACT ? u - v : kind == MULTIPLY ? u * v : u / v;
  }
}
REGISTER(binary)

// The gradients of both sides, that of b one for each value of a: where b is one row, one column or one number, they are added
// up afterwards. Either may be absent.
KERNEL(binary_back)(long long n, int kind, int columns, int b_row, int b_column, const float *a, const float *b, const float *dy,
                    float *da, float *db) {
  for (unsigned i = element(); i < n; i += elements()) {
    const float d = dy[i], v = kind >= MULTIPLY ? b[i / columns * b_row + i % columns * b_column] : 0.0f;
    if (da) da[i] = kind == MULTIPLY ? d * v : kind == DIVIDE_BY ? d / v : d;
    if (db) {
      const float u = kind >= MULTIPLY ? a[i] : 0.0f;
      db[i] = kind == ADD ? d : kind == SUBTRACT ? -d : kind == MULTIPLY ? d * u : -d * u / (v * v);
    }
  }
}
REGISTER(binary_back)

#define SUM_0 long long n0, const float *x0, float *y0
#define SUM_1 long long n1, const float *x1, float *y1
#define SUM_2 long long n2, const float *x2, float *y2
#define SUM_3 long long n3, const float *x3, float *y3
#define SUM_4 long long n4, const float *x4, float *y4
#define SUM_5 long long n5, const float *x5, float *y5
#define SUM_6 long long n6, const float *x6, float *y6
#define SUM_7 long long n7, const float *x7, float *y7
#define SUMS SUM_0, SUM_1, SUM_2, SUM_3, SUM_4, SUM_5, SUM_6, SUM_7
#define CASE_SUM(k) case k: n = n##k, x = x##k, y = y##k; break;

// y += x, up to eight times: blockIdx.y says which. A thread has four values.
KERNEL(accumulate)(SUMS) {
  long long n;
  const float *x;
  float *y;
  switch (blockIdx.y) {
    CASE_SUM(0) CASE_SUM(1) CASE_SUM(2) CASE_SUM(3) CASE_SUM(4) CASE_SUM(5) CASE_SUM(6)
    default: n = n7, x = x7, y = y7;
  }
  const long long i = element() * 4LL;
  if (i + 4 <= n) {
    const Values<4> more = load<4>(x + i);
    Values<4> sum = load<4>(y + i);
    UNROLL for (int k = 0; k < 4; k++) sum.v[k] += more.v[k];
    store<4>(y + i, sum);
  } else {
    for (long long k = i; k < n; k++) y[k] += x[k];
  }
}
REGISTER(accumulate)

// y = by[0] x.
KERNEL(scale)(long long n, const float *by, const float *x, float *y) {
  const float factor = by[0];
  for (unsigned i = element(); i < n; i += elements()) y[i] = factor * x[i];
}
REGISTER(scale)

// y = by[0] everywhere.
KERNEL(fill)(long long n, const float *by, float *y) {
  for (unsigned i = element(); i < n; i += elements()) y[i] = by[0];
}
REGISTER(fill)

// y = x times the number of its plane, of `spatial` values each.
KERNEL(scale_planes)(long long n, int spatial, const float *by, const float *x, float *y) {
  for (unsigned i = element(); i < n; i += elements()) y[i] = x[i] * by[i / spatial];
}
REGISTER(scale_planes)

// Rectification up to a ceiling.
KERNEL(rectify)(long long n, float ceiling, const float *x, float *y) {
  for (unsigned i = element(); i < n; i += elements()) {
    const float v = x[i];
    y[i] = v < 0.0f ? 0.0f : v > ceiling ? ceiling : v;
  }
}
REGISTER(rectify)

// Its gradient, by its output: 0 at both ends.
KERNEL(rectify_back)(long long n, float ceiling, const float *y, const float *dy, float *dx) {
  for (unsigned i = element(); i < n; i += elements()) dx[i] = y[i] > 0.0f && y[i] < ceiling ? dy[i] : 0.0f;
}
REGISTER(rectify_back)

// into = keep into + (1 - keep) from.
KERNEL(average)(long long n, const float *keep, const float *from, float *into) {
  const float share = keep[0];
  for (unsigned i = element(); i < n; i += elements()) into[i] = share * into[i] + (1.0f - share) * from[i];
}
REGISTER(average)
