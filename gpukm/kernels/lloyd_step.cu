// lloyd_step: nearest centroid and exact sums in one read of X, for few features and few centroids.
//
// A thread holds ROWS rows in registers. All centroids lie in shared memory, -c' and the start of the sum side by side,
// and are read as broadcasts. Per pair: d fused multiply-adds and one minimum; of a GROUP of centroids only the least
// score is compared, and the winning group is looked through once more at the end. Rows that the two least scores leave
// undecided are settled by their warp. Only rows whose label changed touch the sums; those of a block are kept in
// shared memory (NEAR=1) where they fit and go to the device's at the end.
//
// role  argument   shape                  type
// IN    X          (n, d)                 Value    row-major
// IN    shift      (d)                    Real
// IN    scale                             float64  a power of two
// IN    operand    (k, d + 1)             float32  -c' and the start of the sum
// IN    centroids  (k, d)                 float64
// IN    limits     (4)                    float32  kappa', TINY, 20 kappa', 2 kappa' max |c'|^2: see `threshold`
// IN    weights    (n) or null             float64
// IN    units      (FEATURES + 1)                float64  1 / unit of limb 0
// IN    radix                             float64  2^bits of a limb
// INOUT labels     (n)                    int32    -1 throughout when `sums` do not hold these rows yet
// INOUT sums       (MAX_LIMBS, k, d + 1)  int64    null: labels only
// INOUT used       (1)                    int32    limbs in use
// INOUT counts     (2)                    int64    changed, undecided: added to
// IN    stop       (1) or null            int32    set: do nothing, see update.cu
//
// Cost: n (d sizeof(Value) + 4) bytes read, 4 bytes written a changed row; n k d fused multiply-adds, n k minima.
// Which of them binds: memory below about k = 64, the minima above.
// Hazards: none between blocks but integer atomics; shared sums are complete after the last __syncthreads.

#include "exact.cuh"

#define STRIDE ((FEATURES + 4) / 4 * 4)  // floats of a centroid in shared memory: whole 16-byte words

extern "C" __global__ void __launch_bounds__(THREADS, 4)
lloyd_step(const Value* X, long long n, int k, const Real* shift, double scale, const float* operand,
           const double* centroids, const float* limits, const double* weights, const double* units,
           double radix, unsigned long long* sums, int* used, int* labels, unsigned long long* counts,
           const int* stop)
{
    if (stop && *stop) return;
    float* const packed = &dynamic_shared<float>();
    const int groups = (k + GROUP - 1) / GROUP, padded = groups * GROUP;
    const long long cells = (long long)k * (FEATURES + 1);
    unsigned long long* const near = (unsigned long long*)(packed + padded * STRIDE);
    for (int i = thread(); i < padded * STRIDE; i += THREADS) {
        const int c = i / STRIDE, j = i % STRIDE;
        packed[i] = c < k && j <= FEATURES ? operand[c * (FEATURES + 1) + j] : j == FEATURES ? FAR : 0.0f;
    }
    if (NEAR)
        for (int i = thread(); i < NEAR_LIMBS * cells; i += THREADS) near[i] = 0;
    __syncthreads();

    Sums out = {sums, NEAR ? near : nullptr, cells, radix, 1};
    const int lane = thread() % 32;
    const long long tile = (long long)THREADS * ROWS;
    unsigned changed = 0, undecided = 0;
    for (long long start = blockIdx.x * tile; start < n; start += gridDim.x * tile) {
        float x[ROWS][FEATURES], squares[ROWS], best[ROWS], second[ROWS];
        int label[ROWS];
        #pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const long long row = min(start + r * THREADS + thread(), n - 1);
            squares[r] = 0.0f;
            #pragma unroll
            for (int j = 0; j < FEATURES; ++j) {
                x[r][j] = framed(X[row * FEATURES + j], shift[j], scale);
                squares[r] = __fmaf_rn(x[r][j], x[r][j], squares[r]);
            }
            best[r] = second[r] = FAR;
            label[r] = 0;
        }
        for (int g = 0; g < groups; ++g) {
            float least[ROWS];
            #pragma unroll
            for (int u = 0; u < GROUP; ++u) {
                float c[STRIDE];
                load_floats<STRIDE>(c, packed + (g * GROUP + u) * STRIDE);
                #pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    float s = c[FEATURES];
                    #pragma unroll
                    for (int j = 0; j < FEATURES; ++j) s = __fmaf_rn(x[r][j], c[j], s);
                    least[r] = u ? fminf(least[r], s) : s;
                }
            }
            #pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                second[r] = fminf(second[r], fmaxf(best[r], least[r]));
                label[r] = least[r] < best[r] ? g : label[r];
                best[r] = fminf(best[r], least[r]);
            }
        }
        #pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (GROUP > 1) {  // which of the winning group, and its runner-up
                const int first = label[r] * GROUP;
                float least = FAR;
                for (int u = 0; u < GROUP; ++u) {
                    const float* c = packed + (first + u) * STRIDE;
                    float s = c[FEATURES];
                    #pragma unroll
                    for (int j = 0; j < FEATURES; ++j) s = __fmaf_rn(x[r][j], c[j], s);
                    second[r] = fminf(second[r], fmaxf(least, s));
                    label[r] = s < least ? first + u : label[r];
                    least = fminf(least, s);
                }
            }
            best[r] = threshold(best[r], squares[r], limits);
        }
        #pragma unroll 1
        for (int r = 0; r < ROWS; ++r) {
            const long long first = start + r * THREADS + thread() - lane, row = first + lane;
            const float limit = pick(best, r);
            const bool open = row < n && !(pick(second, r) > limit);
            int own = pick(label, r);
            unsigned waiting = __ballot_sync(~0u, open);
            undecided += open;
            while (waiting) {
                const int source = __ffs(waiting) - 1;
                waiting &= waiting - 1;
                const int found = settle(X + (first + source) * FEATURES, shift, scale, packed, STRIDE, centroids, k,
                                         FEATURES, __shfl_sync(~0u, limit, source));
                own = lane == source ? found : own;
            }
            if (row >= n) continue;
            const int old = labels[row];
            if (own == old) continue;
            labels[row] = own;
            ++changed;
            if (!sums) continue;
            const double w = weights ? weights[row] : 1.0;
            const long long to = (long long)own * (FEATURES + 1), from = (long long)old * (FEATURES + 1);
            #pragma unroll 1
            for (int j = 0; j <= FEATURES; ++j)
                move_product(out, j < FEATURES ? widen(X[row * FEATURES + j]) : 1.0, w, units[j], to + j,
                             old < 0 ? -1 : from + j);
        }
    }
    changed = warp_sum(changed);
    undecided = warp_sum(undecided);
    if (lane == 0 && changed) atomicAdd(counts, (unsigned long long)changed);
    if (lane == 0 && undecided) atomicAdd(counts + 1, (unsigned long long)undecided);
    if (sums) finish_sums(out, used);
}
