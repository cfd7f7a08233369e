// Steps of optimizers. `by` holds the numbers of the step.
#include "elements.cuh"

// Adam. by: rate, the betas, 1 / (1 - beta^t) of both, eps, L2 decay of the gradient, decoupled decay times the rate.
KERNEL(adam)(long long n, const float *by, const float *gradient, float *value, float *first, float *second) {
  const long long i = element();
  if (i >= n) return;
  const float p = value[i], g = gradient[i] + by[6] * p;
  const float m = first[i] * by[1] + g * (1.0f - by[1]), v = second[i] * by[2] + g * g * (1.0f - by[2]);
  first[i] = m;
  second[i] = v;
  value[i] = p - (by[0] * (m * by[3]) / (sqrtf(v * by[4]) + by[5]) + by[7] * p);
}
REGISTER(adam)

// Stochastic gradient descent. by: rate, momentum, 1 for Nesterov's form, L2 decay, decoupled decay times the rate. There is no
// velocity without momentum.
KERNEL(sgd)(long long n, const float *by, const float *gradient, float *value, float *velocity) {
  const long long i = element();
  if (i >= n) return;
  const float p = value[i];
  float g = gradient[i] + by[3] * p;
  if (velocity) {
    const float v = g + by[1] * velocity[i];
    velocity[i] = v;
    g = by[2] != 0.0f ? g + by[1] * v : v;
  }
  value[i] = p - (g * by[0] + by[4] * p);
}
REGISTER(sgd)

// RMSprop with eps under the root. by: rate, alpha, eps, momentum, 1 where there is momentum, L2 decay, decoupled decay times the
// rate.
KERNEL(rmsprop)(long long n, const float *by, const float *gradient, float *value, float *momentum, float *square) {
  const long long i = element();
  if (i >= n) return;
  const float p = value[i];
  float g = gradient[i] + by[5] * p;
  const float s = square[i] + (1.0f - by[1]) * (g * g - square[i]);
  square[i] = s;
  g /= sqrtf(s + by[2]);
  if (by[4] != 0.0f) {
    g += momentum[i] * by[3];
    momentum[i] = g;
  }
  value[i] = p - (g * by[0] + by[6] * p);
}
REGISTER(rmsprop)
