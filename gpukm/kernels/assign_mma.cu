// assign_mma: nearest centroid of each row by fp16 or TF32 scores on the tensor cores (sm_80 and later).
//
//             64 centroids            WARPS warps, 32 rows each. The rows of a block, framed and rounded to operands, stay
//          +--------------+           in shared memory; centroids pass through it in slabs of SLAB features, three on the
//  32 WARPS|  a warp:     |           way at a time (cp.async). A warp has 32 by 64 scores in registers, which start
//    rows  |  32 x 64     |           from |c'|^2 / 2, so that a score is complete when the last slab is done.
//          +--------------+
//
// Of 16 scores in a thread and row the least and the runner-up are found by minima alone: the number of a score lies in
// its four lowest bits. Rows that this decides get their label; the others, some per cent, join `open`, and float32
// scores come next (assign.cu with a list).
//
// role  argument   shape       dtype
// IN    X          (n, d)      Value    row-major; this launch takes the rows `first` to `first + m`
// IN    shift      (d)         Real
// IN    scale                  float64  a power of two: |x'| < 2^14 for fp16, 2^30 for TF32
// IN    narrow     (K, D)      Operand  -c', padded with zeros: K to 64 centroids, D to SLAB features
// IN    bases      (K)         float32  the start of the sum; FAR in the padding
// IN    limits     (4)         float32  of these scores, see `threshold` in exact.cuh
// INOUT labels     (n)         int32
// OUT   open, margins, moved; INOUT open_length, moved_length: as in assign.cu
// IN    stop       (1) or null int32    set: do nothing, see update.cu
//
// Cost: m k d multiply-adds on the tensor cores; 3 minima a score, which bind below about d = 64; X once; `narrow`
// once a block, from the second-level cache.
// Hazards: one barrier a slab separates a buffer's last readers from the copies into it.

#include "exact.cuh"
#include "operands.cuh"

#define PITCH_B (SLAB + WORD)  // a word more: rows of a slab in shared memory fall on different banks
#define COLUMNS 64

extern "C" __global__ void __launch_bounds__(32 * WARPS)
assign_mma(const Value* X, long long first, int m, int d, int k, const Real* shift, double scale,
           const Operand* narrow, const float* bases, const float* limits, int* labels, int* open,
           float* margins, int* open_length, int* moved, int* moved_length, const int* stop)
{
    if (stop && *stop) return;
    const int padded = (d + SLAB - 1) / SLAB * SLAB, pitch = padded + WORD, slabs = padded / SLAB;
    Operand* const a = &dynamic_shared<Operand>();
    Operand* const b = a + 32 * WARPS * pitch;
    const int lane = thread() % 32, warp = thread() / 32, g = lane / 4, t = lane % 4;
    const int row0 = (int)blockIdx.x * 32 * WARPS, own0 = warp * 32;
    const int steps = (k + COLUMNS - 1) / COLUMNS * slabs;

    auto fetch = [&](int step) {  // 64 centroids by SLAB features into one of three buffers, 16 bytes a copy
        if (step < steps) {
            const int column0 = step / slabs * COLUMNS, feature0 = step % slabs * SLAB;
            for (int i = thread(); i < COLUMNS * SLAB / WORD; i += 32 * WARPS) {
                const int c = i / (SLAB / WORD), part = i % (SLAB / WORD) * WORD;
                copy_async<16>(b + (step % 3 * COLUMNS + c) * PITCH_B + part,
                               narrow + (long long)(column0 + c) * padded + feature0 + part);
            }
        }
        copy_async_commit();
    };
    fetch(0);
    fetch(1);

    float squares[4];
    for (int r = 0; r < 32; ++r) {  // the warp's own rows
        const long long row = first + row0 + own0 + r;
        const bool there = row0 + own0 + r < m;
        float sum = 0.0f;
        for (int j = lane; j < padded; j += 32) {
            const float x = there && j < d ? framed(X[row * d + j], shift[j], scale) : 0.0f;
            a[(own0 + r) * pitch + j] = operand_bits(x);
            sum = __fmaf_rn(x, x, sum);
        }
        sum = warp_sum(sum);
        #pragma unroll
        for (int i = 0; i < 4; ++i) squares[i] = r == g + 8 * i ? sum : squares[i];
    }
    __syncwarp();

    float best[4], second[4], acc[2][8][4];
    int label[4];
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        best[i] = second[i] = FAR;
        label[i] = 0;
    }
    for (int step = 0; step < steps; ++step) {
        const int column0 = step / slabs * COLUMNS, slab = step % slabs;
        copy_async_wait<1>();
        __syncthreads();
        fetch(step + 2);
        if (slab == 0) {
            #pragma unroll
            for (int j = 0; j < 8; ++j) {
                const float low = bases[column0 + 8 * j + 2 * t], high = bases[column0 + 8 * j + 2 * t + 1];
                #pragma unroll
                for (int i = 0; i < 2; ++i) {
                    acc[i][j][0] = acc[i][j][2] = low;
                    acc[i][j][1] = acc[i][j][3] = high;
                }
            }
        }
        const Operand* const own = b + step % 3 * COLUMNS * PITCH_B;
        #pragma unroll
        for (int s = 0; s < SLAB; s += 2 * WORD) {
            unsigned x[2][4], c[4];
            #pragma unroll
            for (int i = 0; i < 2; ++i)
                load_matrices(x[i], a + (own0 + 16 * i + lane % 16) * pitch + slab * SLAB + s + lane / 16 * WORD);
            #pragma unroll
            for (int j = 0; j < 8; j += 2) {
                load_matrices(c, own + (8 * j + lane / 16 * 8 + lane % 8) * PITCH_B + s + lane / 8 % 2 * WORD);
                const unsigned even[2] = {c[0], c[1]}, odd[2] = {c[2], c[3]};
                #pragma unroll
                for (int i = 0; i < 2; ++i) {
                    multiply(acc[i][j], x[i], even);
                    multiply(acc[i][j + 1], x[i], odd);
                }
            }
        }
        if (slab + 1 < slabs) continue;
        #pragma unroll
        for (int i = 0; i < 4; ++i) {
            float least = FAR, next = FAR;
            #pragma unroll
            for (int j = 0; j < 8; ++j)
                #pragma unroll
                for (int v = 0; v < 2; ++v) {
                    const int bits = (__float_as_int(acc[i / 2][j][i % 2 * 2 + v]) & ~15) | (2 * j + v);
                    const float score = __int_as_float(bits);
                    next = fminf(next, fmaxf(least, score));
                    least = fminf(least, score);
                }
            second[i] = fminf(fminf(second[i], next), fmaxf(best[i], least));
            const int number = __float_as_int(least) & 15;
            label[i] = least < best[i] ? column0 + number / 2 * 8 + 2 * t + number % 2 : label[i];
            best[i] = fminf(best[i], least);
        }
    }
    int row[4];
    bool there[4];
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        for (int step = 1; step < 4; step *= 2) {
            const float other = __shfl_xor_sync(~0u, best[i], step), next = __shfl_xor_sync(~0u, second[i], step);
            const int its = __shfl_xor_sync(~0u, label[i], step);
            second[i] = fminf(fmaxf(best[i], other), fminf(second[i], next));
            label[i] = other < best[i] ? its : label[i];
            best[i] = fminf(best[i], other);
        }
        best[i] = threshold(best[i], squares[i], limits);
        row[i] = row0 + own0 + g + 8 * i;
        there[i] = row[i] < m;
    }
    hand_on<4>({labels, moved, open, margins, open_length, moved_length}, first, t == 0, there, row, best, second,
               label);
}
