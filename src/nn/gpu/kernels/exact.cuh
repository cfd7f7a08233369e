// Arithmetic that is rounded after each operation, as a processor does it: nvcc joins a product and a sum after it to one operation
// that is rounded once, but none of these. So they give the bits that the host gives.
#pragma once
#include "portable.cuh"

namespace exact {

#ifdef __CUDACC__
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float sum(float a, float b) { return __fadd_rn(a, b); }
__device__ inline float quotient(float a, float b) { return __fdiv_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double sum(double a, double b) { return __dadd_rn(a, b); }
__device__ inline double quotient(double a, double b) { return __ddiv_rn(a, b); }
#else
inline float product(float a, float b) { return a * b; }
inline float sum(float a, float b) { return a + b; }
inline float quotient(float a, float b) { return a / b; }
inline double product(double a, double b) { return a * b; }
inline double sum(double a, double b) { return a + b; }
inline double quotient(double a, double b) { return a / b; }
#endif

__device__ inline float difference(float a, float b) { return sum(a, -b); }
__device__ inline double difference(double a, double b) { return sum(a, -b); }

}  // namespace exact
