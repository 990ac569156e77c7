// exact: the contract of gpukm/exact.py on the device. What every kernel that returns a result shares.
//
// Compiled with VALUE = 1 (uint8 rows), 4 (float32) or 8 (float64). Centroids of uint8 rows are float32. Nothing is
// contracted but what says __fmaf_rn, and subnormal numbers are numbers (`options` in _nvrtc.py).

#if VALUE == 1
typedef unsigned char Value;
typedef float Real;
#elif VALUE == 4
typedef float Value;
typedef float Real;
#else
typedef double Value;
typedef double Real;
#endif

#define MAX_LIMBS 9  // as in gpukm/exact.py
#define FAR 3e38f

// The thread's number in its block, signed like all other indices.
__device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }

__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ double widen(unsigned char x) { return x; }

// x' = (x - shift) scale, rounded once; scale is a power of two. Float32 differences overflow only beyond such scales.
__device__ __forceinline__ float framed(Value x, Real shift, double scale)
{
#if VALUE != 8
    if (scale >= 0x1p-40 && scale <= 0x1p40)
        return ((float)x - shift) * (float)scale;
#endif
    return (float)((widen(x) - widen(shift)) * scale);
}

// The canonical squared distance D: float64, from left to right, every operation rounded.
__device__ __forceinline__ double distance(const Value* x, const double* c, int d)
{
    double total = 0.0;
    for (int j = 0; j < d; ++j) {
        const double difference = widen(x[j]) - c[j];
        total += difference * difference;
    }
    return total;
}

// ---- sums ------------------------------------------------------------------------------------------------------

struct Sums {
    unsigned long long* limbs;  // (MAX_LIMBS, cells): int64 sums, most significant limb first
    unsigned long long* near;   // (NEAR_LIMBS, cells) of this block in shared memory, or null
    long long cells;            // clusters times columns
    double radix;               // 2^bits of a limb
    int used;                   // limbs that this thread has used; see `finish_sums`
};

#define NEAR_LIMBS 2  // float32 rows of ordinary range need two limbs of 36 bits

// The error of the product fl(x w), exactly.
__device__ __forceinline__ double product_error(double x, double w, double product) { return __fma_rn(x, w, -product); }

// Add `term` and `rest`, in units of limb `l`, to cell `to` and take them from cell `from`, unless that is -1. Integers:
// any order. (One loop for both terms: registers of the nested ones were spilled.)
__device__ __forceinline__ void move_terms(Sums& sums, double term, double rest, long long to, long long from, int l = 0)
{
    #pragma unroll 1
    while (term != 0.0 || rest != 0.0) {
        if (term == 0.0 || l == MAX_LIMBS) {
            term = rest;
            rest = 0.0;
            l = 0;
            continue;
        }
        const double q = rint(term);
        const unsigned long long u = (unsigned long long)(long long)q;
        if (sums.near && l < NEAR_LIMBS) {
            atomicAdd(sums.near + l * sums.cells + to, u);
            if (from >= 0) atomicAdd(sums.near + l * sums.cells + from, 0ull - u);
        } else {
            atomicAdd(sums.limbs + l * sums.cells + to, u);
            if (from >= 0) atomicAdd(sums.limbs + l * sums.cells + from, 0ull - u);
        }
        term = (term - q) * sums.radix;
        sums.used = ++l > sums.used ? l : sums.used;
    }
}

// The same for w x, which is fl(w x) and its error; `unit` is 1 / unit of limb 0.
__device__ __forceinline__ void move_product(Sums& sums, double x, double w, double unit, long long to, long long from)
{
    const double product = x * w;
    move_terms(sums, product * unit, w != 1.0 ? product_error(x, w, product) * unit : 0.0, to, from);
}

// The same into the thread's `own` limbs, of which only what lies below NEAR_LIMBS goes to the sums.
__device__ __forceinline__ void add_own(Sums& sums, unsigned long long (&own)[NEAR_LIMBS], double term, long long to)
{
    #pragma unroll
    for (int l = 0; l < NEAR_LIMBS; ++l) {
        const double q = rint(term);
        own[l] += (unsigned long long)(long long)q;
        sums.used = term != 0.0 && l >= sums.used ? l + 1 : sums.used;
        term = (term - q) * sums.radix;
    }
    move_terms(sums, term, 0.0, to, -1, NEAR_LIMBS);
}

__device__ __forceinline__ void add_own_product(Sums& sums, unsigned long long (&own)[NEAR_LIMBS], double x, double w,
                                       double unit, long long to)
{
    const double product = x * w;
    add_own(sums, own, product * unit, to);
    if (w != 1.0) add_own(sums, own, product_error(x, w, product) * unit, to);
}

// Add a block's near limbs to the sums, and note how many limbs are in use; all threads of the block call it.
__device__ __forceinline__ void finish_sums(const Sums& sums, int* used)
{
    int most = sums.used;
    for (int step = 16; step; step /= 2) {
        const int other = __shfl_xor_sync(~0u, most, step);
        most = other > most ? other : most;
    }
    if (thread() % 32 == 0 && most > 1) atomicMax(used, most);
    if (!sums.near) return;
    __syncthreads();
    for (long long i = thread(); i < NEAR_LIMBS * sums.cells; i += blockDim.x)
        if (sums.near[i]) atomicAdd(sums.limbs + i, sums.near[i]);
}

// ---- settling --------------------------------------------------------------------------------------------------

// The lower bound l_k of gpukm/exact.py, point 2, without the row's part. `operand` holds -c' and the start of the sum.
__device__ __forceinline__ float score(const Value* x, const Real* shift, double scale, const float* operand, int d)
{
    float s = operand[d];
    for (int j = 0; j < d; ++j)
        s = __fmaf_rn(framed(x[j], shift[j], scale), operand[j], s);
    return s;
}

// The label of one row by D, among the centroids whose score is not above `threshold`; the whole warp works on it.
__device__ __forceinline__ int settle(const Value* x, const Real* shift, double scale, const float* operand, int stride,
                             const double* centroids, int k, int d, float threshold)
{
    const int lane = thread() % 32;
    double nearest = 1.0 / 0.0;
    int label = k;
    for (int c = lane; c < k; c += 32) {
        if (score(x, shift, scale, operand + (long long)c * stride, d) > threshold) continue;  // NaN stays
        const double D = distance(x, centroids + (long long)c * d, d);
        if (D < nearest) {
            nearest = D;
            label = c;
        }
    }
    for (int step = 16; step; step /= 2) {
        const double D = __shfl_xor_sync(~0u, nearest, step);
        const int other = __shfl_xor_sync(~0u, label, step);
        if (D < nearest || (D == nearest && other < label)) {
            nearest = D;
            label = other;
        }
    }
    return label;
}

// How far above the least score a centroid may lie and still be the nearest; `squares` is |x'|^2.
__device__ __forceinline__ float threshold(float best, float squares, const float* limits)
{
    const float slack = __fmaf_rn(squares, limits[0], limits[1]);
    const float centroid = __fmaf_rn(best, limits[2], 12.5f * slack);
    return best + (fminf(centroid, limits[3]) + 1.25f * slack);
}

// ---- small help --------------------------------------------------------------------------------------------------

// COUNT floats from shared memory, by 16-byte words; COUNT is a multiple of 4 and `from` is aligned.
template <int COUNT> __device__ __forceinline__ void load_floats(float* to, const float* from)
{
    #pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
        const float4 word = *(const float4*)(from + i);
        to[i] = word.x;
        to[i + 1] = word.y;
        to[i + 2] = word.z;
        to[i + 3] = word.w;
    }
}

// a[i] of an array in registers.
template <int COUNT, class T> __device__ __forceinline__ T pick(const T (&a)[COUNT], int i)
{
    T value = a[0];
    #pragma unroll
    for (int j = 1; j < COUNT; ++j) value = i == j ? a[j] : value;
    return value;
}

// What a block that filtered rows hands on. A thread with `mine` has COUNT of them: number `row`, the margin's end `limit`,
// the runner-up, the label. Decided rows whose label changed join `moved`, undecided ones `open`; a block reserves its
// part of both lists with one atomic each. All threads of the block call it.
struct Lists {
    int* labels;     // (n)
    int* moved;      // (m, 2): row - first, old label
    int* open;       // (m): row - first
    float* margins;  // (m): the limit of each open row
    int* open_length;
    int* moved_length;
};

template <int COUNT>
__device__ __forceinline__ void hand_on(const Lists& lists, long long first, bool mine, const bool (&there)[COUNT],
                                        const int (&row)[COUNT], const float (&limit)[COUNT],
                                        const float (&second)[COUNT], int (&label)[COUNT])
{
    __shared__ int sizes[2], starts[2];
    int place[COUNT];
    bool open[COUNT];
    if (thread() < 2) sizes[thread()] = 0;
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        place[i] = -1;
        open[i] = false;
        if (!mine || !there[i]) continue;
        const int old = lists.labels[first + row[i]];
        open[i] = !(second[i] > limit[i]);
        if (open[i])
            place[i] = atomicAdd(&sizes[0], 1);
        else if (old != label[i]) {
            lists.labels[first + row[i]] = label[i];
            label[i] = old;
            place[i] = atomicAdd(&sizes[1], 1);
        }
    }
    __syncthreads();
    if (thread() == 0 && sizes[0]) starts[0] = atomicAdd(lists.open_length, sizes[0]);
    if (thread() == 1 && sizes[1]) starts[1] = atomicAdd(lists.moved_length, sizes[1]);
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        if (place[i] < 0) continue;
        if (open[i]) {
            lists.open[starts[0] + place[i]] = row[i];
            lists.margins[starts[0] + place[i]] = limit[i];
        } else {
            lists.moved[2 * (starts[1] + place[i])] = row[i];
            lists.moved[2 * (starts[1] + place[i]) + 1] = label[i];
        }
    }
}

__device__ __forceinline__ void append_moved(int* moved, int* length, int row, int old)
{
    const int at = atomicAdd(length, 1);
    moved[2 * at] = row;
    moved[2 * at + 1] = old;
}

template <class T> __device__ __forceinline__ T warp_sum(T value)
{
    for (int step = 16; step; step /= 2) value += __shfl_xor_sync(~0u, value, step);
    return value;
}

// The sum over a block of 128 threads, in all of them; in fixed order.
__device__ __forceinline__ double block_sum(double value)
{
    __shared__ double parts[4];
    value = warp_sum(value);
    __syncthreads();
    if (thread() % 32 == 0) parts[thread() / 32] = value;
    __syncthreads();
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}
