// Divisions by numbers that are known when a kernel begins.
#pragma once
#include "portable.cuh"

// A number to divide by: a multiplication in the place of each division (Granlund and Montgomery 1994), for numerators from 0 to
// 2^31 - 1. 0 counts as 1.
struct Divisor {
  unsigned by, factor, shift;

  __device__ explicit Divisor(int number) : by(number > 0 ? number : 1), shift(0) {
    while ((1u << shift) < by) shift++;
    factor = (unsigned)((((unsigned long long)1 << 32) * ((1u << shift) - by)) / by + 1);
  }
  __device__ int of(int numerator) const { return (multiply_high(numerator, factor) + (unsigned)numerator) >> shift; }
  // The quotient, with what is left over.
  __device__ int of(int numerator, int &rest) const {
    const int quotient = of(numerator);
    rest = numerator - quotient * (int)by;
    return quotient;
  }
};
