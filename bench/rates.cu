// What the card can do, one unit at a time: each thread repeats independent operations; `out` keeps them from being
// left out, and what they are is of no interest. How many there are is counted in gpu_rates.py.

#ifndef ROUNDS
#define ROUNDS 256
#endif

extern "C" __global__ void __launch_bounds__(256) ffma(const float* x, float* out)
{
    const float a = x[0], b = x[1];
    float sum[32];
    for (int i = 0; i < 32; ++i) sum[i] = x[2] + i + threadIdx.x;
    for (int round = 0; round < ROUNDS; ++round)
#pragma unroll
        for (int i = 0; i < 32; ++i) sum[i] = __fmaf_rn(sum[i], a, b);
    float total = 0;
    for (int i = 0; i < 32; ++i) total += sum[i];
    if (total == x[3]) out[0] = total;
}

// A minimum with the place where it was found: compare, select, select.
extern "C" __global__ void __launch_bounds__(256) select(const float* x, float* out)
{
    float least[16], score = x[0] + threadIdx.x;
    int place[16];
    for (int i = 0; i < 16; ++i) least[i] = x[1] + i, place[i] = 0;
    for (int round = 0; round < 2 * ROUNDS; ++round) {
        const float next = __int_as_float(__float_as_int(score) ^ round);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            const bool better = next < least[i];
            least[i] = better ? next : least[i];
            place[i] = better ? round : place[i];
        }
    }
    float total = 0;
    for (int i = 0; i < 16; ++i) total += least[i] + place[i];
    if (total == x[3]) out[0] = total;
}

// A minimum alone: one operation.
extern "C" __global__ void __launch_bounds__(256) minimum(const float* x, float* out)
{
    float least[32], score = x[0] + threadIdx.x;
    for (int i = 0; i < 32; ++i) least[i] = x[1] + i;
    for (int round = 0; round < ROUNDS; ++round) {
        const float next = __int_as_float(__float_as_int(score) ^ round);
#pragma unroll
        for (int i = 0; i < 32; ++i) least[i] = fminf(least[i], next);
    }
    float total = 0;
    for (int i = 0; i < 32; ++i) total += least[i];
    if (total == x[3]) out[0] = total;
}

extern "C" __global__ void __launch_bounds__(256) float64_fma(const float* x, float* out)
{
    const double a = x[0], b = x[1];
    double sum[16];
    for (int i = 0; i < 16; ++i) sum[i] = x[2] + i + threadIdx.x;
    for (int round = 0; round < ROUNDS / 8; ++round)
#pragma unroll
        for (int i = 0; i < 16; ++i) sum[i] = __fma_rn(sum[i], a, b);
    double total = 0;
    for (int i = 0; i < 16; ++i) total += sum[i];
    if (total == x[3]) out[0] = static_cast<float>(total);
}

// Integer sums in shared memory as kernels keep them: 64-bit atomics, each thread at a place of its own or all at one.
extern "C" __global__ void __launch_bounds__(256) shared_atomics(const float* x, float* out)
{
    __shared__ unsigned long long sums[256];
    sums[threadIdx.x] = 0;
    __syncthreads();
    for (int round = 0; round < ROUNDS / 8; ++round) atomicAdd(&sums[(threadIdx.x * 7 + round) % 256], 3ull);
    __syncthreads();
    if (sums[threadIdx.x] == static_cast<unsigned long long>(x[3])) out[0] = 1;
}
