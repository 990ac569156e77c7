// distances: Euclidean distances sqrt(D) of all rows to all centroids.
//
// A block of 256 threads has 16 rows and 16 centroids, a thread one pair; slabs of 16 features of both pass through
// shared memory.
//
// role  argument   shape   dtype
// IN    X          (n, d)  Value    row-major
// IN    centroids  (k, d)  float64
// OUT   out        (n, k)  Real     row-major
//
// Cost: 3 n k d operations in float64, which bind.
// Hazards: two barriers a slab.

#include "exact.cuh"

#if VALUE == 8
__device__ __forceinline__ Real rounded(double x) { return x; }
#else
__device__ __forceinline__ Real rounded(double x) { return narrow(x); }
#endif

extern "C" __global__ void __launch_bounds__(256)
distances(const Value* X, long long n, int d, int k, const double* centroids, Real* out)
{
    __shared__ double xs[16][17], cs[16][17];
    const int tx = thread() % 16, ty = thread() / 16;
    for (long long row0 = (long long)blockIdx.x * 16; row0 < n; row0 += (long long)gridDim.x * 16)
        for (int c0 = 0; c0 < k; c0 += 16) {
            double total = 0.0;
            for (int j0 = 0; j0 < d; j0 += 16) {
                __syncthreads();
                const bool inside = j0 + tx < d;
                xs[ty][tx] = inside && row0 + ty < n ? widen(X[(row0 + ty) * d + j0 + tx]) : 0.0;
                cs[ty][tx] = inside && c0 + ty < k ? centroids[(long long)(c0 + ty) * d + j0 + tx] : 0.0;
                __syncthreads();
                for (int j = 0; j < 16; ++j) {  // features beyond d add +0 to a sum that is not negative
                    const double difference = xs[ty][j] - cs[tx][j];
                    total += difference * difference;
                }
            }
            if (row0 + ty < n && c0 + tx < k) out[(row0 + ty) * k + c0 + tx] = rounded(sqrt(total));
        }
}
