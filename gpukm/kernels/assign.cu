// assign: nearest centroid of each row by float32 scores on the CUDA cores, for any number of features and centroids.
//
//            BN centroids              256 threads, each TM rows by TN centroids of the tile of scores in registers;
//          +-------------+             slabs of BK features of rows and centroids pass through shared memory,
//   BM     |  TM x TN    |             transposed. The least score of a row, its centroid and the runner-up stay in
//   rows   |  a thread   |             registers through all tiles of centroids; no score is stored.
//          +-------------+
//
// A row whose runner-up is farther than the margin is decided: its label is compared with the old one, and if it
// changed the row joins `moved`. The other rows join `open`, for `settle`.
//
// role  argument   shape       dtype
// IN    X          (n, d)      Value    row-major; this launch takes the rows `first` to `first + m`
// IN    list       (m) or null int32    or of them only these, of which there are
// IN    length     (1) or null int32    so many
// IN    shift      (d)         Real
// IN    scale                  float64  a power of two
// IN    operand    (k, d + 1)  float32  -c' and the start of the sum
// IN    limits     (4)         float32  see `threshold` in exact.cuh
// INOUT labels     (n)         int32
// OUT   open       (m)         int32    row - first; in no order
// OUT   margins    (m)         float32  the threshold of each open row
// INOUT open_length (1)        int32    rows in `open`, added to
// OUT   moved      (m, 2)      int32    row - first, old label; in no order
// INOUT moved_length (1)       int32    rows in `moved`, added to
// IN    stop       (1) or null int32    set: do nothing, see update.cu
//
// Cost: m k d fused multiply-adds, 5 operations a pair for the runner-up and the label; X is read k / BN times, from
// the second-level cache but for the first. Fused multiply-adds bind from d = 16 on.
// Hazards: two barriers a slab; a block reserves its part of the lists with one atomic each, so their order varies.

#include "exact.cuh"

#define TM 8   // rows of a thread
#define TN 4   // centroids of a thread: 8 by 8 took 189 registers, and half the warps
#define BK 16  // features of a slab

extern "C" __global__ void __launch_bounds__(256, 2)
assign(const Value* X, long long first, int m, const int* list, const int* length, int d, int k, const Real* shift,
       double scale, const float* operand, const float* limits, int* labels, int* open, float* margins,
       int* open_length, int* moved, int* moved_length, const int* stop)
{
    if (stop && *stop) return;
    if (list) m = *length;
    if (blockIdx.x * (16 * TM) >= (unsigned)m) return;
    constexpr int BM = 16 * TM, BN = 16 * TN;
    __shared__ float4 xs_words[BK][BM / 4 + 1], cs_words[BK][BN / 4 + 1];  // words of 16 bytes; rows padded by one
    __shared__ float squares[BM];
    const int tx = thread() % 16, ty = thread() / 16;
    const int row0 = blockIdx.x * BM;

    float best[TM], second[TM], parts[TM];
    int label[TM], place[TM];
    bool there[TM];
    #pragma unroll
    for (int i = 0; i < TM; ++i) {
        best[i] = second[i] = FAR;
        parts[i] = 0.0f;
        label[i] = 0;
    }
    for (int col0 = 0; col0 < k; col0 += BN) {
        float acc[TM][TN];
        #pragma unroll
        for (int j = 0; j < TN; ++j) {
            const int c = col0 + tx * TN + j;
            const float start = c < k ? operand[(long long)c * (d + 1) + d] : FAR;
            #pragma unroll
            for (int i = 0; i < TM; ++i) acc[i][j] = start;
        }
        for (int j0 = 0; j0 < d; j0 += BK) {
            __syncthreads();
            const int q = thread() % BK, j = j0 + q;
            const Real centre = j < d ? shift[j] : (Real)0;
            #pragma unroll
            for (int i = 0; i < TM; ++i) {  // BK is 16: thread t loads feature t % 16 of the rows t / 16 + 16 i
                const int r = thread() / BK + i * (256 / BK);
                const bool inside = row0 + r < m && j < d;
                const long long row = first + (list && inside ? list[row0 + r] : row0 + r);
                const float x = inside ? framed(X[row * d + j], centre, scale) : 0.0f;
                ((float*)xs_words[q])[r] = x;
                if (col0 == 0) parts[i] = __fmaf_rn(x, x, parts[i]);
            }
            #pragma unroll
            for (int i = 0; i < TN; ++i) {
                const int c = thread() / BK + i * (256 / BK);
                ((float*)cs_words[q])[c] = col0 + c < k && j < d ? operand[(long long)(col0 + c) * (d + 1) + j] : 0.0f;
            }
            __syncthreads();
            #pragma unroll
            for (int s = 0; s < BK; ++s) {
                float x[TM], c[TN];
                load_floats<TM>(x, (const float*)xs_words[s] + ty * TM);
                load_floats<TN>(c, (const float*)cs_words[s] + tx * TN);
                #pragma unroll
                for (int i = 0; i < TM; ++i)
                    #pragma unroll
                    for (int e = 0; e < TN; ++e) acc[i][e] = __fmaf_rn(x[i], c[e], acc[i][e]);
            }
        }
        #pragma unroll
        for (int i = 0; i < TM; ++i)
            #pragma unroll
            for (int j = 0; j < TN; ++j) {
                second[i] = fminf(second[i], fmaxf(best[i], acc[i][j]));
                label[i] = acc[i][j] < best[i] ? col0 + tx * TN + j : label[i];
                best[i] = fminf(best[i], acc[i][j]);
            }
    }
    #pragma unroll
    for (int i = 0; i < TM; ++i) {
        for (int step = 8; step; step /= 2) parts[i] += __shfl_xor_sync(~0u, parts[i], step);
        if (tx == 0) squares[thread() / BK + i * (256 / BK)] = parts[i];
    }
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < TM; ++i) {
        for (int step = 8; step; step /= 2) {
            const float b = __shfl_xor_sync(~0u, best[i], step), s = __shfl_xor_sync(~0u, second[i], step);
            const int l = __shfl_xor_sync(~0u, label[i], step);
            second[i] = fminf(fmaxf(best[i], b), fminf(second[i], s));
            label[i] = b < best[i] ? l : label[i];
            best[i] = fminf(best[i], b);
        }
        best[i] = threshold(best[i], squares[ty * TM + i], limits);
        there[i] = row0 + ty * TM + i < m;
        place[i] = list && there[i] ? list[row0 + ty * TM + i] : row0 + ty * TM + i;
    }
    hand_on<TM>({labels, moved, open, margins, open_length, moved_length}, first, tx == 0, there, place, best, second, label);
}
