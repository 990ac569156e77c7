// arrange: the cell of space in which each row lies; rows in order of their cells are near those that follow them.
//
// A cell's number is made of the leading bits of all features in turn (Morton 1966).
//
// role  argument  shape    dtype
// IN    X         (n, d)   Value    row-major, d <= 4
// IN    low       (d)      float64  no value is below it
// IN    scale     (d)      float64  2^bits / (greatest - low)
// OUT   cells     (n)      int32    in [0, 2^(bits d))
//
// Cost: X once, 4 bytes written a row. Hazards: none.

#include "exact.cuh"

extern "C" __global__ void __launch_bounds__(256)
cells(const Value* X, long long n, int d, int bits, const double* low, const double* scale, int* cells)
{
    for (long long row = (long long)blockIdx.x * 256 + thread(); row < n; row += (long long)gridDim.x * 256) {
        int cell = 0;
        for (int j = 0; j < d; ++j) {
            const int most = (1 << bits) - 1, at = (int)((widen(X[row * d + j]) - low[j]) * scale[j]);
            const int value = at < most ? at : most;
            for (int b = 0; b < bits; ++b) cell |= (value >> b & 1) << (b * d + j);
        }
        cells[row] = cell;
    }
}
