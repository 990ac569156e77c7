// settle: the label by D of the rows that a filter left open; a warp works on one row.
//
// role  argument   shape       dtype
// IN    X          (n, d)      Value    row-major
// IN    first                  int64    the row that 0 in `open` stands for
// IN    shift, scale, operand           as in assign.cu
// IN    centroids  (k, d)      float64
// IN    open       (m)         int32    rows
// IN    margins    (m)         float32  their thresholds
// INOUT labels     (n)         int32
// INOUT moved      (m, 2)      int32    rows whose label changed are appended
// IN    open_length (1)        int32    rows in `open`
// INOUT moved_length (1)       int32    rows in `moved`
// IN    stop       (1) or null int32    set: do nothing, see update.cu
//
// Cost: for an open row k d multiply-adds in float32, and 3 d operations in float64 for each centroid within its margin.
// Hazards: none.

#include "exact.cuh"

extern "C" __global__ void __launch_bounds__(128)
settle_rows(const Value* X, long long first, int d, int k, const Real* shift, double scale, const float* operand,
            const double* centroids, const int* open, const float* margins, const int* open_length,
            int* labels, int* moved, int* moved_length, const int* stop)
{
    if (stop && *stop) return;
    const int warp = (blockIdx.x * blockDim.x + thread()) / 32, warps = gridDim.x * blockDim.x / 32;
    for (int i = warp; i < *open_length; i += warps) {
        const int row = open[i];
        const int label =
            settle(X + (first + row) * d, shift, scale, operand, d + 1, centroids, k, d, margins[i]);
        if (thread() % 32 != 0) continue;
        const int old = labels[first + row];
        if (old != label) {
            labels[first + row] = label;
            append_moved(moved, moved_length, row, old);
        }
    }
}
