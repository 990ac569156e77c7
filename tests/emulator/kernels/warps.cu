// What the lanes of a warp, and the threads of a block, tell each other.

extern "C" __global__ void __launch_bounds__(128) shuffles(const int* x, const double* y, int width, int* out, double* moved)
{
    const int i = threadIdx.x, n = blockDim.x;
    const int lane = i % 32;
    out[i] = __shfl_sync(~0u, x[i], lane + 3, width);
    out[n + i] = __shfl_xor_sync(~0u, x[i], 5, width);
    out[2 * n + i] = __shfl_down_sync(~0u, x[i], 2, width);
    out[3 * n + i] = __shfl_up_sync(~0u, x[i], 2, width);
    out[4 * n + i] = static_cast<int>(__ballot_sync(~0u, x[i] % 3 == 0));
    out[5 * n + i] = __any_sync(~0u, x[i] == x[0]);
    out[6 * n + i] = __all_sync(~0u, x[i] >= 0);
    out[7 * n + i] = static_cast<int>(__match_any_sync(~0u, x[i] % 4));
    moved[i] = __shfl_xor_sync(~0u, y[i], 1);
}

// Parts of a warp go different ways, exchange among themselves a different number of times, and meet again.
extern "C" __global__ void parted(const int* x, int* out)
{
    const int i = threadIdx.x, lane = i % 32;
    int value = x[i];
    if (lane < 8)
        for (int step = 4; step; step /= 2) value += __shfl_xor_sync(0x000000ffu, value, step);
    else if (lane % 2)
        value += __shfl_xor_sync(0xaaaaaa00u, value, 2);
    __syncwarp();
    out[i] = __shfl_sync(~0u, value, 31 - lane);
}

extern "C" __global__ void reductions(const int* x, int* out)
{
    const int i = threadIdx.x, n = blockDim.x;
    const unsigned u = static_cast<unsigned>(x[i]);
    out[i] = __reduce_add_sync(~0u, x[i]);
    out[n + i] = __reduce_min_sync(~0u, x[i]);
    out[2 * n + i] = static_cast<int>(__reduce_max_sync(~0u, u));
    out[3 * n + i] = static_cast<int>(__reduce_or_sync(~0u, u));
    out[4 * n + i] = static_cast<int>(__reduce_and_sync(~0u, u));
}

extern "C" __global__ void votes(const int* x, int* out)
{
    const int i = threadIdx.x, n = blockDim.x;
    out[i] = __syncthreads_count(x[i] > 0);
    out[n + i] = __syncthreads_or(x[i] > 1000);
    out[2 * n + i] = __syncthreads_and(x[i] > -1000);
}
