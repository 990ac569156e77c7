// accumulate: bring exact sums up to date for the rows whose label changed.
//
// A block takes rows of the list in turn, its threads the columns of a row. The first step moves every row; later ones
// few, so that the update costs little against `assign` and needs no sort by label.
//
// role  argument   shape                  type
// IN    X          (n, d)                 Value    row-major
// IN    first                             int64    the row that 0 in `moved` stands for
// IN    weights    (n) or null             float64
// IN    units      (d + 1)                float64  1 / unit of limb 0
// IN    radix                             float64  2^bits of a limb
// IN    labels     (n)                    int32    the new labels
// IN    moved      (m, 2)                 int32    row - first, old label or -1
// IN    moved_length (1)                  int32    rows in `moved`
// INOUT sums       (MAX_LIMBS, k, d + 1)  int64
// INOUT used       (1)                    int32    limbs in use
// IN    stop       (1) or null            int32    set: do nothing, see update.cu
//
// Cost: a moved row is read once; two integer atomics in the second-level cache for each value and limb.
// Hazards: none but integer atomics, which add in any order.

#include "exact.cuh"

extern "C" __global__ void __launch_bounds__(256)
move_rows(const Value* X, long long first, int d, int k, const double* weights, const double* units,
          double radix, unsigned long long* sums, int* used, const int* labels, const int* moved, const int* moved_length,
          const int* stop)
{
    if (stop && *stop) return;
    Sums out = {sums, nullptr, (long long)k * (d + 1), radix, 1};
    const int lanes = d < 256 ? d + 1 : 256, at_once = 256 / lanes;  // rows side by side where they are short
    const int lane = thread() % lanes;
    const int own = thread() / lanes;  // rows beyond the last whole one of the block are nobody's
    for (int i = blockIdx.x * at_once + own; own < at_once && i < *moved_length; i += gridDim.x * at_once) {
        const long long row = first + moved[2 * i];
        const int old = moved[2 * i + 1];
        const long long to = (long long)labels[row] * (d + 1), from = (long long)old * (d + 1);
        const double w = weights ? weights[row] : 1.0;
        for (int j = lane; j <= d; j += lanes)
            move_product(out, j < d ? widen(X[row * d + j]) : 1.0, w, units[j], to + j, old < 0 ? -1 : from + j);
    }
    finish_sums(out, used);
}
