// update: from exact sums to the next centroids, without the host.
//
// `update` divides the sums as gpukm/exact.py does (double-double, rounded once); where a quotient is too close to call,
// or a cluster is empty, it asks for the host. `finish` decides whether the run ends. All kernels of an iteration return
// at once when *stop is set, so that several iterations can be launched ahead.
//
// role  argument   shape                  dtype
// IN    centroids  (k, d)                 Real     those the iteration starts from
// IN    limbs      (MAX_LIMBS, k, d + 1)  int64
// IN    units      (d + 1)                float64  1 / unit of limb 0
// IN    mean       (d)                    float64  of all rows
// OUT   next       (k, d)                 Real     the centroids after
// OUT   partial    (k, 2)                 float64  sum of squared moves; W (|c - m|^2 - |m - mean|^2)
// INOUT flags      (1)                    int32    bits HOST and MOVED, added to
// INOUT record     (2)                    float64  inertia, shift
// INOUT stop       (2)                    int32    why the run is over: 0 it is not, 1 nothing moved, 2 the shift is
//                                                  within tol, 3 the host has to look; and how many iterations ran
//
// Cost: k d (limbs 8 + 30) bytes; a launch each. The sums of `partial` are in fixed order: the same on every run.
// Hazards: one barrier before each reduction.

#include "exact.cuh"

#define HOST 1
#define MOVED 2

struct Pair { double hi, lo; };

// The exact sum of a cell to a relative 2^-98, as `_double_double` of gpukm/exact.py.
__device__ __forceinline__ Pair cell_sum(const long long* limbs, long long cells, long long cell, int used, int bits,
                                         double unit)
{
    Pair sum = {0.0, 0.0};
    long long carry = 0;
    unit = ldexp(unit, -bits * (used - 1));
    for (int l = used - 1; l >= 0; --l) {
        long long value = limbs[l * cells + cell] + carry;
        if (l > 0) {
            carry = (value + (1ll << (bits - 1))) >> bits;
            value -= carry * (1ll << bits);
        }
        #pragma unroll
        for (int half = 0; half < 2; ++half) {
            const double part = half ? (double)(value >> 31) * (unit * 2147483648.0) : (double)(value & 0x7fffffff) * unit;
            const double s = part + sum.hi, t = s - part;
            sum.lo += (part - (s - t)) + (sum.hi - t);
            sum.hi = s + sum.lo;
            sum.lo = sum.lo - (sum.hi - s);
        }
        unit = ldexp(unit, bits);
    }
    return sum;
}

// a / b rounded once; `close` is set where that is not certain. See `quotient` of gpukm/exact.py.
__device__ __forceinline__ double divide(Pair a, Pair b, bool& close)
{
    const double q = a.hi / b.hi;
    const double p = q * b.hi, e = __fma_rn(q, b.hi, -p);
    const double delta = (((a.hi - p) - e) + a.lo - q * b.lo) / b.hi;
    const double mean = q + delta, rest = fabs((q - mean) + delta);
    const long long bits = __double_as_longlong(fabs(mean));
    const double ulp = __longlong_as_double(bits + 1) - fabs(mean);
    const double boundary = bits & 0xfffffffffffffll ? ulp / 2 : ulp / 4, doubt = ldexp(ulp, -40);
    close |= mean != 0.0 && (fabs(rest - ulp / 2) <= doubt || fabs(rest - boundary) <= doubt);
    return mean;
}

#if VALUE == 8
__device__ __forceinline__ Real to_real(double x) { return x; }
#else
__device__ __forceinline__ Real to_real(double x) { return narrow(x); }
#endif

extern "C" __global__ void __launch_bounds__(128)
update(const Real* centroids, int d, const long long* limbs, const int* used, int bits, const double* units,
       const double* mean, Real* next, double* partial, int* flags, const int* stop)
{
    if (*stop) return;
    const long long c = blockIdx.x, cells = (long long)gridDim.x * (d + 1);
    const Pair weight = cell_sum(limbs, cells, c * (d + 1) + d, *used, bits, 1 / units[d]);
    const bool empty = weight.hi == 0.0;
    bool close = empty, moved = false;
    double shift = 0.0, inner = 0.0;
    for (int j = thread(); j < d && !empty; j += 128) {
        const double m = divide(cell_sum(limbs, cells, c * (d + 1) + j, *used, bits, 1 / units[j]), weight, close);
        const Real old = centroids[c * d + j], found = to_real(m);
        next[c * d + j] = found;
        const double move = widen(found) - widen(old), own = widen(old) - m, far = m - mean[j];
        moved |= found != old;
        shift += move * move;
        inner += own * own - far * far;
    }
    shift = block_sum(shift);
    inner = block_sum(inner);
    const int seen = (__any_sync(~0u, close) ? HOST : 0) | (__any_sync(~0u, moved) ? MOVED : 0);
    if (thread() % 32 == 0 && seen) atomicOr(flags, seen);
    if (thread() != 0) return;
    partial[2 * c] = shift;
    partial[2 * c + 1] = inner * weight.hi;
}

extern "C" __global__ void __launch_bounds__(128)
finish(const double* partial, int k, int d, double totss, double tol, const int* flags, double* record, int* stop)
{
    if (*stop) return;
    double shift = 0.0, inner = 0.0;
    for (int c = thread(); c < k; c += 128) {
        shift += partial[2 * c];
        inner += partial[2 * c + 1];
    }
    shift = block_sum(shift);
    inner = block_sum(inner);
    if (thread() != 0) return;
    ++stop[1];
    record[0] = totss + inner > 0.0 ? totss + inner : 0.0;
    record[1] = shift;
    const double doubt = ldexp(shift, -52) * ((double)k * d + 8);  // of sums in another order than fsum's
    if (*flags & HOST)
        *stop = 3;
    else if (!(*flags & MOVED))
        *stop = 1;
    else if (fabs(shift - tol) <= doubt)
        *stop = 3;
    else if (shift < tol)
        *stop = 2;
}
