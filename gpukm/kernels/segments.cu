// segments: exact sums of rows that are in none yet, cluster by cluster.
//
// A first step adds every row. By atomics (accumulate.cu) that is two for each value; here rows are put in order of their
// labels by counting, and a thread that goes down one column of SEGMENT rows in that order adds up in registers, until
// the label changes:
//
//     count_labels    how many rows each cluster has
//     begin_labels    where its first is in the order
//     place_rows      the order; equal labels come in any
//     add_segments    the sums
//
// role  argument   shape                  type
// IN    X          (n, d)                 Value    row-major; these launches take the rows `first` to `first + m`
// IN    weights    (n) or null            float64
// IN    labels     (n)                    int32    in [0, k)
// INOUT cursors    (k)                    int32    0 before count_labels: its counts, then where a cluster's next row goes
// INOUT order      (m)                    int32    row - first
// IN    units      (d + 1)                float64  1 / unit of limb 0
// IN    radix                             float64  2^bits of a limb
// INOUT sums       (MAX_LIMBS, k, d + 1)  int64
// INOUT used       (1)                    int32    limbs in use
// IN    stop       (1) or null            int32    set: do nothing, see update.cu
//
// Cost: X once, each row where the order has it; labels three times, order twice, two int32 atomics a row; of the sums'
// atomics one for each value, limb and segment, and one more for each cluster.
// Hazards: integer atomics only; each kernel reads what the one before has written.

#include "exact.cuh"

#define SEGMENT 256

extern "C" __global__ void __launch_bounds__(256)
count_labels(const int* labels, long long first, int m, int* cursors, const int* stop)
{
    if (stop && *stop) return;
    for (long long i = blockIdx.x * 256ll + thread(); i < m; i += gridDim.x * 256ll)
        atomicAdd(cursors + labels[first + i], 1);
}

// One block: each thread has some labels that follow each other.
extern "C" __global__ void __launch_bounds__(256)
begin_labels(int* cursors, int k, const int* stop)
{
    __shared__ int before[256];
    if (stop && *stop) return;
    const int each = (k + 255) / 256, begin = thread() * each, end = begin + each < k ? begin + each : k;
    int own = 0;
    for (int c = begin; c < end; ++c) own += cursors[c];
    before[thread()] = own;
    for (int step = 1; step < 256; step *= 2) {
        __syncthreads();
        const int lower = thread() >= step ? before[thread() - step] : 0;
        __syncthreads();
        before[thread()] += lower;
    }
    int at = before[thread()] - own;
    for (int c = begin; c < end; ++c) {
        const int count = cursors[c];
        cursors[c] = at;
        at += count;
    }
}

extern "C" __global__ void __launch_bounds__(256)
place_rows(const int* labels, long long first, int m, int* cursors, int* order, const int* stop)
{
    if (stop && *stop) return;
    for (long long i = blockIdx.x * 256ll + thread(); i < m; i += gridDim.x * 256ll)
        order[atomicAdd(cursors + labels[first + i], 1)] = (int)i;
}

extern "C" __global__ void __launch_bounds__(256)
add_segments(const Value* X, long long first, int m, int d, int k, const double* weights, const double* units,
             double radix, unsigned long long* sums, int* used, const int* labels, const int* order, const int* stop)
{
    if (stop && *stop) return;
    const int lanes = d < 256 ? d + 1 : 256, at_once = 256 / lanes;  // segments side by side where rows are short
    const int lane = thread() % lanes, column = blockIdx.y * 256 + lane, segment = blockIdx.x * at_once + thread() / lanes;
    const long long cells = (long long)k * (d + 1);
    Sums rest = {sums, nullptr, cells, radix, 1};
    if (thread() < at_once * lanes && column <= d) {
        const double unit = units[column];
        unsigned long long own[NEAR_LIMBS] = {};
        long long cell = -1;  // of the cluster whose rows these are, in this column
        auto hand_in = [&]() {
            for (int l = 0; l < NEAR_LIMBS; ++l) {
                if (own[l]) atomicAdd(sums + l * cells + cell, own[l]);
                own[l] = 0;
            }
        };
        const long long begin = (long long)segment * SEGMENT, end = begin + SEGMENT < m ? begin + SEGMENT : m;
        for (long long i = begin; i < end; ++i) {
            const long long row = first + order[i], to = (long long)labels[row] * (d + 1) + column;
            if (to != cell) hand_in();
            cell = to;
            const double x = column < d ? widen(X[row * d + column]) : 1.0;
            add_own_product(rest, own, x, weights ? weights[row] : 1.0, unit, cell);
        }
        hand_in();
    }
    finish_sums(rest, used);
}
