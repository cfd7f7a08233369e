// Steps of optimizers, of up to eight parameters: blockIdx.y says which. `by` holds the numbers of the step; `first` and `second`
// are a parameter's moments.
#include "elements.cuh"

#define SLOT_0 long long n0, const float *by0, const float *gradient0, float *value0, float *first0, float *second0
#define SLOT_1 long long n1, const float *by1, const float *gradient1, float *value1, float *first1, float *second1
#define SLOT_2 long long n2, const float *by2, const float *gradient2, float *value2, float *first2, float *second2
#define SLOT_3 long long n3, const float *by3, const float *gradient3, float *value3, float *first3, float *second3
#define SLOT_4 long long n4, const float *by4, const float *gradient4, float *value4, float *first4, float *second4
#define SLOT_5 long long n5, const float *by5, const float *gradient5, float *value5, float *first5, float *second5
#define SLOT_6 long long n6, const float *by6, const float *gradient6, float *value6, float *first6, float *second6
#define SLOT_7 long long n7, const float *by7, const float *gradient7, float *value7, float *first7, float *second7
#define SLOTS SLOT_0, SLOT_1, SLOT_2, SLOT_3, SLOT_4, SLOT_5, SLOT_6, SLOT_7
#define GIVEN_SLOT(k) Slot{n##k, by##k, gradient##k, value##k, first##k, second##k}
#define GIVEN_SLOTS \
  GIVEN_SLOT(0), GIVEN_SLOT(1), GIVEN_SLOT(2), GIVEN_SLOT(3), GIVEN_SLOT(4), GIVEN_SLOT(5), GIVEN_SLOT(6), GIVEN_SLOT(7)

namespace {

struct Slot {
  long long n;
  const float *by, *gradient;
  float *value, *first, *second;
};

// The parameter of this block.
__device__ inline Slot own(const Slot &a, const Slot &b, const Slot &c, const Slot &d, const Slot &e, const Slot &f, const Slot &g,
                           const Slot &h) {
  switch (blockIdx.y) {
    case 0: return a;
    case 1: return b;
    case 2: return c;
    case 3: return d;
    case 4: return e;
    case 5: return f;
    case 6: return g;
    default: return h;
  }
}

}  // namespace

// Adam. by: rate, the betas, 1 / (1 - beta^t) of both, eps, L2 decay of the gradient, decoupled decay times the rate.
KERNEL(adam)(SLOTS) {
  const Slot slot = own(GIVEN_SLOTS);
  const float *by = slot.by;
  const int i = element();
  if (i >= slot.n) return;
  const float p = slot.value[i], g = slot.gradient[i] + by[6] * p;
  const float m = slot.first[i] * by[1] + g * (1.0f - by[1]), v = slot.second[i] * by[2] + g * g * (1.0f - by[2]);
  slot.first[i] = m;
  slot.second[i] = v;
  slot.value[i] = p - (by[0] * (m * by[3]) / (sqrtf(v * by[4]) + by[5]) + by[7] * p);
}
REGISTER(adam)

// Stochastic gradient descent. by: rate, momentum, 1 for Nesterov's form, L2 decay, decoupled decay times the rate. There is no
// velocity, the first moment, without momentum.
KERNEL(sgd)(SLOTS) {
  const Slot slot = own(GIVEN_SLOTS);
  const float *by = slot.by;
  const int i = element();
  if (i >= slot.n) return;
  const float p = slot.value[i];
  float g = slot.gradient[i] + by[3] * p;
  if (slot.first) {
    const float v = g + by[1] * slot.first[i];
    slot.first[i] = v;
    g = by[2] != 0.0f ? g + by[1] * v : v;
  }
  slot.value[i] = p - (g * by[0] + by[4] * p);
}
REGISTER(sgd)

// RMSprop with eps under the root; its moments are the momentum and the mean square. by: rate, alpha, eps, momentum, 1 where
// there is momentum, L2 decay, decoupled decay times the rate.
KERNEL(rmsprop)(SLOTS) {
  const Slot slot = own(GIVEN_SLOTS);
  const float *by = slot.by;
  const int i = element();
  if (i >= slot.n) return;
  const float p = slot.value[i];
  float g = slot.gradient[i] + by[5] * p;
  const float s = slot.second[i] + (1.0f - by[1]) * (g * g - slot.second[i]);
  slot.second[i] = s;
  g /= sqrtf(s + by[2]);
  if (by[4] != 0.0f) {
    g += slot.first[i] * by[3];
    slot.first[i] = g;
  }
  slot.value[i] = p - (g * by[0] + by[6] * p);
}
REGISTER(rmsprop)
