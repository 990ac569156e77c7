// The nearest of k points by |c|^2 - 2 x.c in float32: tiles through shared memory, a reduction by shuffles, sums kept
// by block. Small, and with everything in it that can go wrong: the tests plant mistakes here to see them found.

struct Best { float score; int label; };

__device__ inline Best better(Best a, Best b)
{
    return (b.score < a.score || (b.score == a.score && b.label < a.label)) ? b : a;
}

// 64 threads own 16 x 16 scores, 2 x 2 each; features in strips of 8.
constexpr int TILE = 16, STRIP = 8;

extern "C" __global__ void __launch_bounds__(64)
nearest(const float* x, const float* c, const float* norms, int n, int k, int d, int* label, float* score)
{
    __shared__ float xs[STRIP][TILE + 4], cs[STRIP][TILE + 4];
    const long long row0 = static_cast<long long>(blockIdx.x) * TILE;
    const int tx = threadIdx.x % 8, ty = threadIdx.x / 8;
    Best best[2];
    for (int i = 0; i < 2; ++i) best[i] = {__int_as_float(0x7f800000), 0};
    for (int col0 = 0; col0 < k; col0 += TILE) {
        float sum[2][2] = {};
        for (int q0 = 0; q0 < d; q0 += STRIP) {
            for (int t = threadIdx.x; t < TILE * STRIP; t += blockDim.x) {
                const int r = t / STRIP, q = t % STRIP;
                xs[q][r] = row0 + r < n && q0 + q < d ? x[(row0 + r) * d + q0 + q] : 0.f;
                cs[q][r] = col0 + r < k && q0 + q < d ? c[static_cast<long long>(col0 + r) * d + q0 + q] : 0.f;
            }
            __syncthreads();
            for (int q = 0; q < STRIP; ++q)
                for (int i = 0; i < 2; ++i)
                    for (int j = 0; j < 2; ++j) sum[i][j] += xs[q][ty * 2 + i] * cs[q][tx + 8 * j];
            __syncthreads();
        }
        for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) {
                const int col = col0 + tx + 8 * j;
                if (col < k) best[i] = better(best[i], {norms[col] - 2.f * sum[i][j], col});
            }
    }
    for (int i = 0; i < 2; ++i) {
        for (int step = 4; step; step /= 2)
            best[i] = better(best[i], {__shfl_down_sync(~0u, best[i].score, step, 8),
                                       __shfl_down_sync(~0u, best[i].label, step, 8)});
        const long long row = row0 + ty * 2 + i;
        if (tx == 0 && row < n) {
            label[row] = best[i].label;
            score[row] = best[i].score;
        }
    }
}

// Integer sums by label: each block adds its rows in dynamic shared memory, k d sums then k counts, and then to all.
extern "C" __global__ void __launch_bounds__(64)
label_sums(const int* x, const int* label, int n, int k, int d, unsigned long long* sums, int* counts)
{
    int* kept = &dynamic_shared<int>();
    int* counted = kept + k * d;
    for (int t = threadIdx.x; t < k * d + k; t += blockDim.x) kept[t] = 0;
    __syncthreads();
    const int rows = (n + gridDim.x - 1) / gridDim.x;
    const int first = blockIdx.x * rows, last = min(n, first + rows);
    for (int t = threadIdx.x; t < (last - first) * d; t += blockDim.x) {
        const int row = first + t / d, q = t % d;
        atomicAdd(&kept[label[row] * d + q], x[static_cast<size_t>(row) * d + q]);
        if (q == 0) atomicAdd(&counted[label[row]], 1);
    }
    __syncthreads();
    for (int t = threadIdx.x; t < k * d; t += blockDim.x)
        if (kept[t]) atomicAdd(&sums[t], static_cast<unsigned long long>(static_cast<long long>(kept[t])));
    for (int t = threadIdx.x; t < k; t += blockDim.x)
        if (counted[t]) atomicAdd(&counts[t], counted[t]);
}
