// columns: the least and the greatest value of each column, where a value is not finite, and the exact column sums.
//
// A block's threads stand side by side in a row, or in several where rows are short, and go down the rows: reads are
// coalesced, and a thread stays in its column. Columns beyond 256 are the grid's second dimension.
//
// role  argument  shape                  dtype
// IN    X         (n, d)                 Value    row-major
// INOUT low       (d)                    int64    keys that order as the values do; the greatest int64 before
// INOUT high      (d)                    int64    the least int64 before
// INOUT bad       (1)                    uint64   first flat index of a value that is not finite; n d before
// IN    weights   (n) or null             float64
// IN    units     (d + 1)                float64  1 / unit of limb 0
// IN    radix                            float64  2^bits of a limb
// INOUT sums      (MAX_LIMBS, 1, d + 1)  int64
// INOUT used      (1)                    int32    limbs in use
//
// Cost: X is read once by each; memory binds where float64 is not slow.
// Hazards: integer atomics only; minima, maxima and integer sums come in any order.

#include "exact.cuh"

#if VALUE == 8
typedef long long Key;
__device__ __forceinline__ Key key_of(Value x)
{
    const long long bits = __double_as_longlong(x);
    return bits ^ (long long)((unsigned long long)(bits >> 63) >> 1);
}
__device__ __forceinline__ bool finite(Key key) { return key < 0x7ff0000000000000ll && key > ~0x7ff0000000000000ll; }
#elif VALUE == 4
typedef int Key;
__device__ __forceinline__ Key key_of(Value x)
{
    const int bits = __float_as_int(x);
    return bits ^ (int)((unsigned)(bits >> 31) >> 1);
}
__device__ __forceinline__ bool finite(Key key) { return key < 0x7f800000 && key > ~0x7f800000; }
#else
typedef int Key;
__device__ __forceinline__ Key key_of(Value x) { return x; }
__device__ __forceinline__ bool finite(Key) { return true; }
#endif

extern "C" __global__ void __launch_bounds__(256)
extremes(const Value* X, long long n, int d, long long* low, long long* high, unsigned long long* bad)
{
    __shared__ long long lows[256], highs[256];
    const int lanes = d < 256 ? d : 256, at_once = 256 / lanes, lane = thread() % lanes;
    const int column = blockIdx.y * 256 + lane;
    lows[thread()] = 0x7fffffffffffffffll;
    highs[thread()] = ~0x7fffffffffffffffll;
    __syncthreads();
    if (thread() < at_once * lanes && column < d) {
        long long row = (long long)blockIdx.x * at_once + thread() / lanes;
        if (row < n) {
            Key least = key_of(X[row * d + column]), greatest = least;
            for (; row < n; row += (long long)gridDim.x * at_once) {
                const Key key = key_of(X[row * d + column]);
                least = key < least ? key : least;
                greatest = key > greatest ? key : greatest;
                if (!finite(key)) atomicMin(bad, (unsigned long long)(row * d + column));
            }
            atomicMin(&lows[lane], (long long)least);
            atomicMax(&highs[lane], (long long)greatest);
        }
    }
    __syncthreads();
    if (thread() < lanes && column < d) {
        atomicMin(low + column, lows[thread()]);
        atomicMax(high + column, highs[thread()]);
    }
}

extern "C" __global__ void __launch_bounds__(256)
column_sums(const Value* X, long long n, int d, const double* weights, const double* units, double radix,
            unsigned long long* sums, int* used)
{
    __shared__ unsigned long long near[NEAR_LIMBS * 256];
    const int lanes = d < 256 ? d + 1 : 256, at_once = 256 / lanes, lane = thread() % lanes;
    const int column = blockIdx.y * 256 + lane;
    Sums rest = {sums, nullptr, d + 1, radix, 1};
    for (int i = thread(); i < NEAR_LIMBS * 256; i += 256) near[i] = 0;
    __syncthreads();
    if (thread() < at_once * lanes && column <= d) {
        long long row = (long long)blockIdx.x * at_once + thread() / lanes;
        unsigned long long own[NEAR_LIMBS] = {};
        const double unit = units[column];
        for (; row < n; row += (long long)gridDim.x * at_once) {
            const double x = column < d ? widen(X[row * d + column]) : 1.0, w = weights ? weights[row] : 1.0;
            add_own_product(rest, own, x, w, unit, column);
        }
        for (int l = 0; l < NEAR_LIMBS; ++l)
            if (own[l]) atomicAdd(&near[l * 256 + lane], own[l]);
    }
    __syncthreads();
    if (thread() < lanes && column <= d)
        for (int l = 0; l < NEAR_LIMBS; ++l)
            if (near[l * 256 + thread()]) atomicAdd(sums + l * (d + 1) + column, near[l * 256 + thread()]);
    finish_sums(rest, used);
}
