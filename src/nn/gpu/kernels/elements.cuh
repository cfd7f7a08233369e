// Which value a thread is there for, where each has one of its own. No tensor has 2^31 values.
#pragma once
#include "portable.cuh"

__device__ inline int element() { return blockIdx.x * blockDim.x + threadIdx.x; }

// How many threads there are: from one value of a thread to its next, where there are more values than threads.
__device__ inline unsigned elements() { return gridDim.x * blockDim.x; }
