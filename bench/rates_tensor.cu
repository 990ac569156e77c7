// The rates of the tensor cores (sm_80): eight independent sums a warp.

#ifndef ROUNDS
#define ROUNDS 256
#endif

extern "C" __global__ void __launch_bounds__(256) tensor_f16(const float* x, float* out)
{
    const unsigned bits = half2_bits(x[0], x[1] + threadIdx.x % 32);
    const unsigned a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
    float d[8][4] = {};
    for (int round = 0; round < ROUNDS / 8; ++round)
#pragma unroll
        for (int i = 0; i < 8; ++i) mma_f16(d[i], a, b);
    float total = 0;
    for (int i = 0; i < 8; ++i) total += d[i][0] + d[i][3];
    if (total == x[3]) out[0] = total;
}

extern "C" __global__ void __launch_bounds__(256) tensor_tf32(const float* x, float* out)
{
    const unsigned bits = tf32_bits(x[1] + threadIdx.x % 32);
    const unsigned a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
    float d[8][4] = {};
    for (int round = 0; round < ROUNDS / 8; ++round)
#pragma unroll
        for (int i = 0; i < 8; ++i) mma_tf32(d[i], a, b);
    float total = 0;
    for (int i = 0; i < 8; ++i) total += d[i][0] + d[i][3];
    if (total == x[3]) out[0] = total;
}
