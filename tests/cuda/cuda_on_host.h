// As much of CUDA C as it takes to run a kernel on the host, thread after thread: no shared memory, no barriers.
#pragma once
#include <cmath>

struct Index3 { unsigned x, y, z; };
static Index3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__ static inline
#define __restrict__ __restrict
using std::floor;

template <class Kernel> static void run_all(Index3 grid, Index3 block, Kernel kernel)
{
    gridDim = grid;
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) kernel();
}
