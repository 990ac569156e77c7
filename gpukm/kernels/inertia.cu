// inertia: w D of each row to the centroid of its label, added up by cluster; and D itself.
//
// A thread has a row and adds its features in order, as D demands. So that reads are coalesced all the same, a block
// brings slabs of SLAB features of its 128 rows into shared memory, transposed by the pitch of SLAB + 1.
//
// role  argument   shape           dtype
// IN    X          (n, d)          Value    row-major
// IN    centroids  (k, d)          float64
// IN    labels     (n)             int32    ignored where k is 1
// IN    weights    (n) or null      float64
// IN    units      (1)             float64  1 / unit of limb 0
// IN    radix                      float64  2^bits of a limb
// INOUT sums       (MAX_LIMBS, k)  int64    of `add_scalars`, which adds w D of values given: one cluster
// INOUT used       (1)             int32    limbs in use
// OUT   D          (n)             float64  written by `own_distances`
//
// Cost: X once, 3 d operations in float64 a row. Sums of a block lie in shared memory where k is small (NEAR=1).
// Hazards: two barriers a slab.

#include "exact.cuh"

#define SLAB 16

// D of row `row` (of 128 from `row0` on) to centroid c; the whole block takes part.
__device__ __forceinline__ double own_distance(const Value* X, long long n, int d, long long row0, const double* c)
{
    __shared__ Value slab[128][SLAB + 1];
    double total = 0.0;
    for (int j0 = 0; j0 < d; j0 += SLAB) {
        __syncthreads();
        const int wide = d - j0 < SLAB ? d - j0 : SLAB;
        for (int i = thread(); i < 128 * wide; i += 128) {
            const int r = i / wide, j = i % wide;
            if (row0 + r < n) slab[r][j] = X[(row0 + r) * d + j0 + j];
        }
        __syncthreads();
        if (row0 + thread() < n)
            for (int j = 0; j < wide; ++j) {
                const double difference = widen(slab[thread()][j]) - c[j0 + j];
                total += difference * difference;
            }
    }
    return total;
}

extern "C" __global__ void __launch_bounds__(128)
add_inertia(const Value* X, long long n, int d, int k, const double* centroids, const int* labels,
            const double* weights, const double* units, double radix, unsigned long long* sums, int* used)
{
    unsigned long long* const near = &dynamic_shared<unsigned long long>();
    if (NEAR)
        for (int i = thread(); i < NEAR_LIMBS * k; i += 128) near[i] = 0;
    __syncthreads();
    Sums out = {sums, NEAR ? near : nullptr, k, radix, 1};
    for (long long row0 = (long long)blockIdx.x * 128; row0 < n; row0 += (long long)gridDim.x * 128) {
        const long long row = row0 + thread();
        const int label = row < n && k > 1 ? labels[row] : 0;
        const double D = own_distance(X, n, d, row0, centroids + (long long)label * d);
        if (row < n) move_product(out, D, weights ? weights[row] : 1.0, *units, label, -1);
    }
    finish_sums(out, used);
}

extern "C" __global__ void __launch_bounds__(128)
own_distances(const Value* X, long long n, int d, const double* centroids, const int* labels, double* D)
{
    for (long long row0 = (long long)blockIdx.x * 128; row0 < n; row0 += (long long)gridDim.x * 128) {
        const long long row = row0 + thread();
        const double own = own_distance(X, n, d, row0, centroids + (row < n ? (long long)labels[row] * d : 0));
        if (row < n) D[row] = own;
    }
}

extern "C" __global__ void __launch_bounds__(128)
add_scalars(const double* D, long long n, const double* weights, const double* units, double radix, unsigned long long* sums,
            int* used)
{
    unsigned long long own[NEAR_LIMBS] = {};
    Sums out = {sums, nullptr, 1, radix, 1};
    for (long long row = (long long)blockIdx.x * 128 + thread(); row < n; row += (long long)gridDim.x * 128)
        add_own_product(out, own, D ? D[row] : 1.0, weights ? weights[row] : 1.0, *units, 0);
    for (int l = 0; l < NEAR_LIMBS; ++l) {
        const unsigned long long sum = warp_sum(own[l]);
        if (thread() % 32 == 0 && sum) atomicAdd(sums + l, sum);
    }
    finish_sums(out, used);
}
