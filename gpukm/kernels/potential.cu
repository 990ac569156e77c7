// potential: what k-means++ asks of all rows, one pass each: hashes, D to the nearest centre, what candidates gain.
//
// A thread has a row. D is canonical; gains are float32 filters whose bounds the host turns into a choice, which it
// settles exactly where they leave it open (gpukm/kernels/potential.py).
//
// role  argument    shape       dtype
// IN    X           (n, d)      Value    row-major
// IN    factors     (d)         uint64   odd multipliers of the hash
// OUT   hashes      (n)         uint64
// OUT   half        (n)         float32  |x'|^2 / 2
// IN    centre      (d)         float64
// IN    initial                 int32    1: D is set, not lowered
// INOUT D           (n)         float64  null in `bucket_sums`: ones
// IN    weights     (n) or null  float64
// IN    unit                    float64  what one of `parts` counts, inverted
// INOUT parts       (1024)      int64    potential by the leading bits of the hash, each term rounded to the unit
// OUT   largest     (1)         uint64   bits of the greatest D
// IN    operand     (t, d + 1)  float32  the candidates, as in assign.cu
// IN    scalars     (3)         float64  scale^2 / 2, kappa, TINY
// INOUT totals      (2, t)      float64  gains (upper bounds), and the weight of the rows that may gain
// INOUT highest     (2)         uint32   bits of the greatest ceiling and half, both not negative
//
// Cost: X once a pass, 3 d operations in float64 (`lower`) or t d fused multiply-adds (`gains`) a row.
// Hazards: `totals` are float64 atomics in any order: the host's error bound covers it. The rest is integer.

#include "exact.cuh"

// Bits of a value as the reference hashes them: -0 as 0.
__device__ __forceinline__ unsigned long long bits_of(double x)
{
    const unsigned long long bits = (unsigned long long)__double_as_longlong(x);
    return bits == 0x8000000000000000ull ? 0 : bits;
}
__device__ __forceinline__ unsigned long long bits_of(float x)
{
    const unsigned bits = __float_as_uint(x);
    return bits == 0x80000000u ? 0 : bits;
}

extern "C" __global__ void __launch_bounds__(256)
hash_rows(const Value* X, long long n, int d, const Real* shift, double scale, const unsigned long long* factors,
          unsigned long long* hashes, float* half)
{
    for (long long row = (long long)blockIdx.x * 256 + thread(); row < n; row += (long long)gridDim.x * 256) {
        unsigned long long h = 0;
        float squares = 0.0f;
        for (int j = 0; j < d; ++j) {
            const Value value = X[row * d + j];
            unsigned long long b = bits_of((Real)value);
            b *= 0x9E3779B97F4A7C15ull;
            b ^= b >> 32;
            h += b * factors[j];
            const float x = framed(value, shift[j], scale);
            squares = __fmaf_rn(x, x, squares);
        }
        h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ull;
        h = (h ^ (h >> 27)) * 0x94D049BB133111EBull;
        hashes[row] = h ^ (h >> 31);
        half[row] = squares / 2;
    }
}

extern "C" __global__ void __launch_bounds__(256)
lower(const Value* X, long long n, int d, const double* centre, int initial, double* D, unsigned long long* largest)
{
    unsigned long long most = 0;
    for (long long row = (long long)blockIdx.x * 256 + thread(); row < n; row += (long long)gridDim.x * 256) {
        double own = distance(X + row * d, centre, d);
        if (!initial && D[row] < own) own = D[row];
        D[row] = own;
        const unsigned long long bits = (unsigned long long)__double_as_longlong(own);  // order as the values do
        most = bits > most ? bits : most;
    }
    if (most) atomicMax(largest, most);
}

extern "C" __global__ void __launch_bounds__(256)
bucket_sums(const double* D, long long n, const unsigned long long* hashes, const double* weights,
            double unit, unsigned long long* parts)
{
    __shared__ unsigned long long near[1024];
    for (int i = thread(); i < 1024; i += 256) near[i] = 0;
    __syncthreads();
    for (long long row = (long long)blockIdx.x * 256 + thread(); row < n; row += (long long)gridDim.x * 256) {
        const double own = D ? D[row] : 1.0, term = weights ? own * weights[row] : own;
        atomicAdd(&near[hashes[row] >> 54], (unsigned long long)(long long)rint(term * unit));
    }
    __syncthreads();
    for (int i = thread(); i < 1024; i += 256)
        if (near[i]) atomicAdd(parts + i, near[i]);
}

extern "C" __global__ void __launch_bounds__(256)
gains(const Value* X, long long n, int d, int t, const Real* shift, double scale, const float* operand,
      const double* scalars, const float* half, const double* D, const double* weights, double* totals,
      unsigned* highest)
{
    float most = 0.0f, longest = 0.0f;
    for (int c0 = 0; c0 < t; c0 += 8) {
        const int count = t - c0 < 8 ? t - c0 : 8;
        double gained[8] = {}, near[8] = {};
        for (long long row = (long long)blockIdx.x * 256 + thread(); row < n; row += (long long)gridDim.x * 256) {
            float s[8];
            for (int u = 0; u < 8; ++u) s[u] = u < count ? operand[(c0 + u) * (d + 1) + d] : 0.0f;
            for (int j = 0; j < d; ++j) {
                const float x = framed(X[row * d + j], shift[j], scale);
                #pragma unroll
                for (int u = 0; u < 8; ++u)
                    if (u < count) s[u] = __fmaf_rn(x, operand[(c0 + u) * (d + 1) + j], s[u]);
            }
            const double value = D[row] * scalars[0] * (1 + scalars[1]) - half[row] * (1 - 6 * scalars[1]) + scalars[2];
            const float ceiling = (float)value;
            most = fmaxf(most, ceiling);
            longest = fmaxf(longest, half[row]);
            const double w = weights ? weights[row] : 1.0;
            #pragma unroll
            for (int u = 0; u < 8; ++u) {
                const float gain = ceiling - s[u];
                if (u < count && gain > 0.0f) {
                    gained[u] += gain * w;
                    near[u] += w;
                }
            }
        }
        for (int u = 0; u < count; ++u) {
            const double gain = warp_sum(gained[u]), weight = warp_sum(near[u]);
            if (thread() % 32 == 0 && weight > 0.0) {
                atomicAdd(totals + c0 + u, gain);
                atomicAdd(totals + t + c0 + u, weight);
            }
        }
    }
    atomicMax(highest, __float_as_uint(most));
    atomicMax(highest + 1, __float_as_uint(longest));
}
