// Which value a thread is there for, where each has one of its own.
#pragma once
#include "portable.cuh"

__device__ inline long long element() { return blockIdx.x * (long long)blockDim.x + threadIdx.x; }

// How many threads there are: from one value of a thread to its next, where there are more values than threads.
__device__ inline long long elements() { return gridDim.x * (long long)blockDim.x; }
