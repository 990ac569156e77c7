// potential: what k-means++ keeps of all rows: hashes of their contents, D to the nearest centre. plusplus.cu draws by it.
//
// A thread has a row. D is canonical.
//
// role  argument    shape        dtype
// IN    X           (n, d)       Value    row-major
// IN    factors     (d)          uint64   odd multipliers of the hash
// OUT   hashes      (n)          uint64
// OUT   half        (n)          float32  |x'|^2 / 2
// IN    centre      (d)          float64
// IN    initial                  int32    1: D is set, not lowered
// INOUT D           (n)          float64
// INOUT largest     (1)          uint64   bits of the greatest D; 0 before
// IN    stop        (1) or null  int32    set: do nothing, see plusplus.cu
//
// Cost: X once a pass, 3 d operations in float64 a row (`lower`).
// Hazards: none but integer atomics.

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
lower(const Value* X, long long n, int d, const double* centre, int initial, double* D, unsigned long long* largest,
      const int* stop)
{
    if (stop && *stop) return;
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
