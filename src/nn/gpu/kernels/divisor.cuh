// Divisions by numbers that are known when a kernel begins.
#pragma once
#include "portable.cuh"

// A number to divide by: a multiplication in the place of each division (Granlund and Montgomery 1994), for numerators from 0 to
// 2^31 - 1. 0 counts as 1.
struct Divisor {
  unsigned by, factor, shift;

  // As the host worked it out, for whatever all blocks of threads divide by.
  __device__ Divisor(int number, int factor, int shift) : by(number), factor(factor), shift(shift) {}
  __device__ explicit Divisor(int number) : by(number > 0 ? number : 1), shift(by == 1 ? 0 : 32 - leading_zeros(by - 1)) {
    // The whole part of a quotient below 2^32, which a division of doubles may miss by one.
    const unsigned rest = (1u << shift) - by;
    unsigned quotient = (unsigned)((double)rest / by * 4294967296.0);
    const long long off = ((long long)rest << 32) - (long long)quotient * by;
    if (off < 0) quotient--;
    else if (off >= by) quotient++;
    factor = quotient + 1;
  }
  __device__ int of(int numerator) const { return (multiply_high(numerator, factor) + (unsigned)numerator) >> shift; }
  // The quotient, with what is left over.
  __device__ int of(int numerator, int &rest) const {
    const int quotient = of(numerator);
    rest = numerator - quotient * (int)by;
    return quotient;
  }
};
