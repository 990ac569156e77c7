// lloyd_step: nearest centroid and exact sums in one read of X, for few features and few centroids.
//
// A thread holds ROWS rows in registers. All centroids lie in shared memory, -c' and the start of the sum side by side,
// and are read as broadcasts. Per pair: d fused multiply-adds and one minimum; of a GROUP of centroids only the least
// score is compared, and the winning group is looked through once more at the end. Rows that the two least scores leave
// undecided are settled by their warp. Only rows whose label changed touch the sums; those of a block are kept in
// shared memory (NEAR=1) where they fit and go to the device's at the end.
//
// With BOXES=1 a block first asks which centroids can be nearest to any row in the box around its THREADS * ROWS rows,
// by the bound of boxes_numba.py, and scores only these: rows that follow each other are often near each other.
//
// role  argument   shape                  type
// IN    X          (n, d)                 Value    row-major
// IN    shift      (d)                    Real
// IN    scale                             float64  a power of two
// IN    operand    (k, d + 1)             float32  -c' and the start of the sum
// IN    centroids  (k, d)                 float64
// IN    limits     (4)                    float32  kappa', TINY, 20 kappa', 2 kappa' max |c'|^2: see `threshold`
// IN    weights    (n) or null            float64
// IN    units      (d + 1)                float64  1 / unit of limb 0
// IN    radix                             float64  2^bits of a limb
// INOUT labels     (n)                    int32    -1 throughout when `sums` do not hold these rows yet
// INOUT sums       (MAX_LIMBS, k, d + 1)  int64    null: labels only
// INOUT used       (1)                    int32    limbs in use
// INOUT counts     (2)                    int64    changed, undecided: added to
// IN    stop       (1) or null            int32    set: do nothing, see update.cu
//
// Cost: n (d sizeof(Value) + 4) bytes read, 4 bytes written a changed row; n k d fused multiply-adds, n k minima.
// Which of them binds: memory below about k = 64, the minima above.
// Hazards: none between blocks but integer atomics; shared sums are complete after the last __syncthreads. `survivors`
// ends with a barrier, and its first one keeps the list until all warps are done with it.

#include "exact.cuh"

#define STRIDE ((FEATURES + 4) / 4 * 4)  // floats of a centroid in shared memory: whole 16-byte words

// The score of a centroid at the middle of a box, less its share of the error; the start of the sum is
// (1/2 - kappa) |c'|^2, and (1/2 - 2 kappa) |c'|^2 is no less than this makes of it.
__device__ __forceinline__ float middle_score(const float (&middle)[FEATURES], const float* c, float share)
{
    float at = c[FEATURES] * (1.0f - 2.0f * share);
    #pragma unroll
    for (int j = 0; j < FEATURES; ++j) at = __fmaf_rn(middle[j], c[j], at);
    return at;
}

// The numbers of the centroids that can be nearest to one of the block's rows, in `list`, filled up to a whole group
// by one that is not. Returns how many. All threads of the block call it.
__device__ __forceinline__ int survivors(const float (&x)[ROWS][FEATURES], const float* packed, int k, float kappa,
                                         int* list)
{
    __shared__ float sides[THREADS / 32][2 * FEATURES], nearest[THREADS / 32];
    __shared__ int numbers[THREADS / 32], count;
    const int lane = thread() % 32, warp = thread() / 32;
    const float share = 2.002f * kappa;
    #pragma unroll
    for (int j = 0; j < FEATURES; ++j) {
        float low = x[0][j], high = x[0][j];
        #pragma unroll
        for (int r = 1; r < ROWS; ++r) {
            low = fminf(low, x[r][j]);
            high = fmaxf(high, x[r][j]);
        }
        for (int step = 16; step; step /= 2) {
            low = fminf(low, __shfl_xor_sync(~0u, low, step));
            high = fmaxf(high, __shfl_xor_sync(~0u, high, step));
        }
        if (lane == 0) {
            sides[warp][2 * j] = low;
            sides[warp][2 * j + 1] = high;
        }
    }
    if (thread() == 0) count = 0;
    __syncthreads();
    float middle[FEATURES], half[FEATURES], longest = 0.0f;
    #pragma unroll
    for (int j = 0; j < FEATURES; ++j) {
        float low = sides[0][2 * j], high = sides[0][2 * j + 1];
        for (int w = 1; w < THREADS / 32; ++w) {
            low = fminf(low, sides[w][2 * j]);
            high = fmaxf(high, sides[w][2 * j + 1]);
        }
        middle[j] = 0.5f * low + 0.5f * high;
        half[j] = fmaxf(high - middle[j], middle[j] - low) * 1.00001f;
        longest += fmaxf(low * low, high * high);
    }
    // the centroid nearest to the middle
    float best = FAR;
    int z = 0;
    for (int c = thread(); c < k; c += THREADS) {
        const float at = middle_score(middle, packed + c * STRIDE, share);
        z = at < best ? c : z;
        best = fminf(best, at);
    }
    for (int step = 16; step; step /= 2) {
        const float other = __shfl_xor_sync(~0u, best, step);
        const int its = __shfl_xor_sync(~0u, z, step);
        z = other < best ? its : z;
        best = fminf(best, other);
    }
    if (lane == 0) {
        nearest[warp] = best;
        numbers[warp] = z;
    }
    __syncthreads();
    best = nearest[0];
    z = numbers[0];
    for (int w = 1; w < THREADS / 32; ++w) {
        z = nearest[w] < best ? numbers[w] : z;
        best = fminf(best, nearest[w]);
    }
    const float* const own = packed + z * STRIDE;
    const float limit = best + 8.0f * share * own[FEATURES] + 1.001f * share * longest + 7.9e-31f;  // 2^-100
    for (int c0 = 0; c0 < k; c0 += THREADS) {
        const int c = c0 + thread();
        bool stays = false;
        if (c < k) {
            const float* const other = packed + c * STRIDE;
            float reach = 0.0f;
            #pragma unroll
            for (int j = 0; j < FEATURES; ++j) reach = __fmaf_rn(half[j], fabsf(other[j] - own[j]), reach);
            stays = !(middle_score(middle, other, share) - reach * 1.001f > limit);
        }
        const unsigned mine = __ballot_sync(~0u, stays);
        int first = 0;
        if (lane == 0 && mine) first = atomicAdd(&count, __popc(mine));
        first = __shfl_sync(~0u, first, 0);
        if (stays) list[first + __popc(mine & ((1u << lane) - 1))] = c;
    }
    __syncthreads();
    const int found = count;
    if (thread() < GROUP) list[found + thread()] = (k + GROUP - 1) / GROUP * GROUP;
    __syncthreads();
    return found;
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
lloyd_step(const Value* X, long long n, int k, const Real* shift, double scale, const float* operand,
           const double* centroids, const float* limits, const double* weights, const double* units,
           double radix, unsigned long long* sums, int* used, int* labels, unsigned long long* counts,
           const int* stop)
{
    if (stop && *stop) return;
    float* const packed = &dynamic_shared<float>();
    int groups = (k + GROUP - 1) / GROUP;
    const int padded = (groups + BOXES) * GROUP;  // with boxes, a group that no row is near to fills up the list
    const long long cells = (long long)k * (FEATURES + 1);
    unsigned long long* const near = (unsigned long long*)(packed + padded * STRIDE);
    int* const list = (int*)(near + NEAR * NEAR_LIMBS * cells);
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
        if (BOXES) groups = (survivors(x, packed, k, limits[0], list) + GROUP - 1) / GROUP;
        for (int g = 0; g < groups; ++g) {
            float least[ROWS];
            #pragma unroll
            for (int u = 0; u < GROUP; ++u) {
                float c[STRIDE];
                load_floats<STRIDE>(c, packed + (BOXES ? list[g * GROUP + u] : g * GROUP + u) * STRIDE);
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
                    const int number = BOXES ? list[first + u] : first + u;
                    const float* c = packed + number * STRIDE;
                    float s = c[FEATURES];
                    #pragma unroll
                    for (int j = 0; j < FEATURES; ++j) s = __fmaf_rn(x[r][j], c[j], s);
                    second[r] = fminf(second[r], fmaxf(least, s));
                    label[r] = s < least ? number : label[r];
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
