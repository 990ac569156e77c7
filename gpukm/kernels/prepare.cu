// prepare: from centroids to what scores need of them. A block has one centroid, a thread one feature or several.
//
// role  argument   shape        dtype
// IN    centroids  (k, d)       Real
// IN    shift      (d)          Real
// IN    scale                   float64  of float32 scores, a power of two
// IN    kappa                   float64  their margin, see gpukm/exact.py
// OUT   operand    (k, d + 1)   float32  -c' and the start of the sum
// OUT   exact      (k, d)       float64  the centroids
// INOUT limits     (2, 4)       float32  of float32 scores and those of tensor cores, see `threshold` in exact.cuh; the
//                                        last of each is 0 before; raised where a centroid is so far off that scores can
//                                        prove nothing
// OUT   narrow     (K, D)       Operand  null, or -c' for tensor cores (operands.cuh), padded with zeros to D features (K
//                                        centroids: by the host)
// OUT   bases      (K)          float32  null, or the start of the sum of their scores
// IN    narrow_scale, narrow_kappa float64 of their scores
// IN    stop       (1) or null  int32    set: do nothing, see update.cu
//
// Cost: k d 18 bytes (20 for TF32). Hazards: the barriers of `block_sum`; limits by atomics, in any order.

#include "exact.cuh"
#include "operands.cuh"

// Raise the limits for a centroid of squared length `squares` and return the start of its sums.
__device__ __forceinline__ float begin(double squares, double kappa, double most, float* limits)
{
    const double wider = 2 * kappa * (1 + 40 * kappa);
    atomicMax((int*)limits + 3, __float_as_int((float)(wider * squares * (1 + 1e-6))));
    if (!(squares < most) || kappa >= 0.01) limits[1] = 1.0f / 0.0f;
    return (float)(squares * (0.5 - kappa));
}

extern "C" __global__ void __launch_bounds__(128)
prepare(const Real* centroids, int d, const Real* shift, double scale, double kappa, float* operand, double* exact,
        float* limits, Operand* narrow, float* bases, double narrow_scale, double narrow_kappa, const int* stop)
{
    if (stop && *stop) return;
    const long long c = blockIdx.x, padded = (d + SLAB - 1) / SLAB * SLAB;
    double squares = 0.0, narrow_squares = 0.0;
    for (int j = thread(); j < d; j += (int)blockDim.x) {
        const double value = widen(centroids[c * d + j]), difference = value - widen(shift[j]);
        const double framed = difference * scale, narrow_framed = difference * narrow_scale;
        exact[c * d + j] = value;
        operand[c * (d + 1) + j] = -(float)framed;
        squares += framed * framed;
        narrow_squares += narrow_framed * narrow_framed;
        if (narrow) narrow[c * padded + j] = operand_bits(-(float)narrow_framed);
    }
    if (narrow)
        for (int j = d + thread(); j < padded; j += (int)blockDim.x) narrow[c * padded + j] = 0;
    squares = block_sum(squares);
    narrow_squares = block_sum(narrow_squares);
    if (thread() != 0) return;
    operand[c * (d + 1) + d] = begin(squares, kappa, 0x1p120, limits);
    if (narrow) bases[c] = begin(narrow_squares, narrow_kappa, MOST, limits + 4);
}
