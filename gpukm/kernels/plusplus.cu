// plusplus: rounds of k-means++ without the host. Draw candidates, weigh them, keep the best; `lower` of potential.cu
// is the fourth step.
//
// Potentials w D are exact products (p + e, see gpukm/exact.py), each cut into two integers: high counts `unit`s, low
// units / 2^bits. So sums do not depend on their order, and a draw or a choice is that of gpukm/kernels/potential.py
// wherever no product had to be cut off below (`rest`), or none of those cut off can matter; elsewhere the round is
// `open`: `stop` is set, every later kernel returns at once, and the host does that round.
//
// role  argument     shape       dtype
// IN    X            (n, d)      Value    row-major
// IN    D            (n)         float64  to the nearest centre; null before the first: ones
// IN    hashes       (n)         uint64
// IN    weights      (n) or null  float64
// IN    heaviest                 float64  the greatest weight, or 1
// IN    largest      (1)         uint64   bits of the greatest D; not read where D is null
// IN    bits                     int32    of a limb: n sums of two parts each stay below 2^61
// INOUT parts        (2, 1024)   int64    high, low: potential by the leading bits of the hash
// IN    weight_parts (2, 1024)   int64    the same of the weights alone, for a potential of 0
// IN    order        (n)         int64    rows in order of hash
// IN    ends         (1024)      int64    where in it the rows of each bucket end
// IN    fractions    (t)         float64  multiples of 2^-53 in [0, 1)
// OUT   drawn        (t)         int64    rows
// OUT   rows         (t, d)      Real     null, or their contents
// IN    operand      (t, d + 1)  float32  the candidates, as in assign.cu
// IN    exact        (t, d)      float64  the candidates
// IN    limits       (2, 4)      float32  from prepare.cu
// IN    scalars      (3)         float64  scale^2 / 2, kappa, TINY
// IN    half         (n)         float32  |x'|^2 / 2
// INOUT gains        (2, t)      int64    high, low: what each candidate takes off the potential
// INOUT flags        (3)         int32    REST_WEIGHTS, REST: some product was cut off; OPEN: a draw is open
// OUT   chosen       (1)         int64    the row that becomes the next centre
// OUT   centre       (d)         float64  it
// INOUT stop         (2)         int32    whether the host is needed; rounds that were finished
//
// Cost of a round: X once and t d fused multiply-adds a row; D and the hashes once; about n/j rows are settled in float64
// for each candidate of round j. A draw reads n/1024 rows' D in random order.
// Hazards: integer atomics only; shared memory is handed on between barriers. `flags[OPEN]` is read by the next kernel.

#include "exact.cuh"

#define BUCKETS 1024
#define AT_ONCE 8  // candidates that a thread weighs at once

enum { REST_WEIGHTS, REST, OPEN };

struct Two { long long high, low; };             // high 2^bits + low
struct Wide { unsigned long long high, low; };   // 128 bits, not negative
struct Unit { double inverse, radix; };          // 1 / what `high` counts, 2^bits

__device__ __forceinline__ void add(Two& a, Two b)
{
    a.high += b.high;
    a.low += b.low;
}

__device__ __forceinline__ Wide widened(Two a, int bits)
{
    const Wide v = {(unsigned long long)(a.high >> (64 - bits)), (unsigned long long)a.high << bits};
    const unsigned long long low = v.low + (unsigned long long)a.low;
    return {v.high + (a.low < 0 ? ~0ull : 0ull) + (low < v.low), low};
}

__device__ __forceinline__ bool less(Wide a, Wide b) { return a.high < b.high || (a.high == b.high && a.low < b.low); }

// Whether a lies above b by more than `doubt`.
__device__ __forceinline__ bool clear(Wide a, Wide b, unsigned long long doubt)
{
    return less(b, a) && (a.high - b.high - (a.low < b.low) || a.low - b.low > doubt);
}

// The whole part of fraction times total: 53 bits by 128.
__device__ __forceinline__ Wide share(Wide total, double fraction)
{
    const unsigned long long m = (unsigned long long)(fraction * 0x1p53);
    const unsigned long long carry = __umul64hi(m, total.low), middle = carry + m * total.high;
    const unsigned long long top = __umul64hi(m, total.high) + (middle < carry);
    return {middle >> 53 | top << 11, (m * total.low) >> 53 | middle << 11};
}

// The grid of gpukm/exact.py for products up to `bound`.
__device__ __forceinline__ Unit unit_of(double bound, int bits)
{
    const int exponent = max((int)(__double_as_longlong(bound) >> 52) - 1022, -400);
    return {__longlong_as_double((1023ll + bits - exponent) << 52), __longlong_as_double((1023ll + bits) << 52)};
}

__device__ __forceinline__ double bound_of(const double* D, const unsigned long long* largest, double heaviest)
{
    return D ? __longlong_as_double((long long)*largest) * heaviest : heaviest;
}

__device__ __forceinline__ void cut_part(double part, Unit unit, Two& sum, bool& rest)
{
    const double scaled = part * unit.inverse, high = rint(scaled), lower = (scaled - high) * unit.radix, low = rint(lower);
    add(sum, {(long long)high, (long long)low});
    rest |= low != lower || (scaled == 0.0 && part != 0.0);
}

// w D; `rest` is set where it does not fit.
__device__ __forceinline__ Two cut(double D, double w, Unit unit, bool& rest)
{
    Two sum = {0, 0};
    const double product = D * w;
    cut_part(product, unit, sum, rest);
    if (w != 1.0) cut_part(product_error(D, w, product), unit, sum, rest);
    return sum;
}

// The running sum over the block's 256 threads, the own included; all of them call it.
__device__ __forceinline__ Two block_running(Two own)
{
    __shared__ Two warps[8];
    const int lane = thread() % 32, warp = thread() / 32;
    for (int step = 1; step < 32; step *= 2) {
        const Two before = {__shfl_up_sync(~0u, own.high, step), __shfl_up_sync(~0u, own.low, step)};
        if (lane >= step) add(own, before);
    }
    __syncthreads();
    if (lane == 31) warps[warp] = own;
    __syncthreads();
    for (int w = 0; w < warp; ++w) add(own, warps[w]);
    return own;
}

extern "C" __global__ void __launch_bounds__(256)
bucket_sums(const double* D, long long n, const unsigned long long* hashes, const double* weights, double heaviest,
            const unsigned long long* largest, int bits, unsigned long long* parts, int* flags, const int* stop)
{
    if (stop && *stop) return;
    __shared__ unsigned long long near[2 * BUCKETS];
    for (int i = thread(); i < 2 * BUCKETS; i += 256) near[i] = 0;
    __syncthreads();
    const Unit unit = unit_of(bound_of(D, largest, heaviest), bits);
    bool rest = false;
    for (long long row = (long long)blockIdx.x * 256 + thread(); row < n; row += (long long)gridDim.x * 256) {
        const Two term = cut(D ? D[row] : 1.0, weights ? weights[row] : 1.0, unit, rest);
        const int bucket = (int)(hashes[row] >> 54);
        if (term.high) atomicAdd(&near[bucket], (unsigned long long)term.high);
        if (term.low) atomicAdd(&near[BUCKETS + bucket], (unsigned long long)term.low);
    }
    if (__any_sync(~0u, rest) && thread() % 32 == 0) atomicOr(flags + (D ? REST : REST_WEIGHTS), 1);
    __syncthreads();
    for (int i = thread(); i < 2 * BUCKETS; i += 256)
        if (near[i]) atomicAdd(parts + i, near[i]);
}

// A block finds a row: its bucket, then the 256th of the rows left, until there is one.
extern "C" __global__ void __launch_bounds__(256)
search(const Value* X, long long n, int d, const double* D, const double* weights, double heaviest,
       const unsigned long long* largest, int bits, const long long* parts, const long long* weight_parts,
       const long long* order, const long long* ends, const double* fractions, long long* drawn, Real* rows, int* flags,
       const int* stop)
{
    if (stop && *stop) return;
    __shared__ long long range[2];
    __shared__ Two total, below;
    bool weight_only = !D;
    Two own, running;
    const long long* table;
    for (;;) {  // once more, by weight, where the whole potential is 0
        table = weight_only ? weight_parts : parts;
        own = {0, 0};
        for (int i = 4 * thread(); i < 4 * thread() + 4; ++i) add(own, {table[i], table[BUCKETS + i]});
        running = block_running(own);
        if (thread() == 255) total = running;
        __syncthreads();
        if (weight_only || total.high || total.low) break;
        if (flags[REST] && thread() == 0) atomicOr(flags + OPEN, 1);
        weight_only = true;
    }
    const Wide goal = share(widened(total, bits), fractions[blockIdx.x]);
    Two before = {running.high - own.high, running.low - own.low};
    if (!less(goal, widened(before, bits)) && less(goal, widened(running, bits))) {
        int bucket = 4 * thread();
        for (;; ++bucket) {
            Two after = before;
            add(after, {table[bucket], table[BUCKETS + bucket]});
            if (less(goal, widened(after, bits))) break;
            before = after;
        }
        range[0] = bucket ? ends[bucket - 1] : 0;
        range[1] = ends[bucket];
        below = before;
    }
    const double* const values = weight_only ? nullptr : D;
    const Unit unit = unit_of(bound_of(values, largest, heaviest), bits);
    const unsigned long long doubt = flags[weight_only ? REST_WEIGHTS : REST] ? 2ull * n + 2 : 0;
    long long slice;
    do {
        __syncthreads();
        const long long first = range[0], last = range[1];
        const Two base = below;
        slice = (last - first + 255) / 256;
        const long long begin = min(first + thread() * slice, last), end = min(begin + slice, last);
        bool rest = false;
        own = {0, 0};
        for (long long i = begin; i < end; ++i) {
            const long long row = order[i];
            add(own, cut(values ? values[row] : 1.0, weights ? weights[row] : 1.0, unit, rest));
        }
        running = block_running(own);  // its barriers part the reads of `range` from what is written next
        add(running, base);
        before = {running.high - own.high, running.low - own.low};
        const Wide low = widened(before, bits), high = widened(running, bits);
        if (less(goal, low) || !less(goal, high)) continue;
        range[0] = begin;
        range[1] = end;
        below = before;
        if (slice == 1 && doubt && !(clear(high, goal, doubt) && clear(goal, low, doubt))) atomicOr(flags + OPEN, 1);
    } while (slice > 1);
    __syncthreads();
    const long long row = order[range[0]];
    if (thread() == 0) drawn[blockIdx.x] = row;
    if (!rows) return;
    for (int j = thread(); j < d; j += 256) rows[(long long)blockIdx.x * d + j] = (Real)X[row * d + j];
}

// Scores are lower bounds of D: only rows that may come nearer are settled. A warp adds up what its rows gain, lane u for
// candidate u: sums of all candidates in each thread took too many registers.
extern "C" __global__ void __launch_bounds__(256, 3)
weigh(const Value* X, long long n, int d, int t, const Real* shift, double scale, const float* operand, const double* exact,
      const float* limits, const double* scalars, const float* half, const double* D, const double* weights, double heaviest,
      const unsigned long long* largest, int bits, unsigned long long* gains, int* flags, const int* stop)
{
    if (stop && *stop) return;
    const Unit unit = unit_of(bound_of(D, largest, heaviest), bits);
    const bool blind = limits[1] > 1.0f;  // scores prove nothing
    const int lane = thread() % 32;
    bool rest = false;
    for (int c0 = 0; c0 < t; c0 += AT_ONCE) {
        const int count = t - c0 < AT_ONCE ? t - c0 : AT_ONCE;
        Two gained = {0, 0};  // by the warp's rows from candidate c0 + lane
        for (long long row0 = (long long)blockIdx.x * 256; row0 < n; row0 += (long long)gridDim.x * 256) {
            const bool there = row0 + thread() < n;
            const long long row = there ? row0 + thread() : n - 1;
            float s[AT_ONCE];
            for (int u = 0; u < AT_ONCE; ++u) s[u] = u < count ? operand[(long long)(c0 + u) * (d + 1) + d] : 0.0f;
            for (int j = 0; j < d; ++j) {
                const float x = framed(X[row * d + j], shift[j], scale);
                #pragma unroll
                for (int u = 0; u < AT_ONCE; ++u)
                    if (u < count) s[u] = __fmaf_rn(x, operand[(long long)(c0 + u) * (d + 1) + j], s[u]);
            }
            const double nearest = D[row];
            const float ceiling =
                (float)(nearest * scalars[0] * (1 + scalars[1]) - half[row] * (1 - 6 * scalars[1]) + scalars[2]);
            unsigned near = 0;
            #pragma unroll
            for (int u = 0; u < AT_ONCE; ++u)
                if (there && u < count && (blind || ceiling > s[u])) near |= 1u << u;
            if (!__any_sync(~0u, near != 0)) continue;
            const double w = weights ? weights[row] : 1.0;
            const Two now = near ? cut(nearest, w, unit, rest) : Two{0, 0};
            for (int u = 0; u < count; ++u) {
                const bool mine = near >> u & 1;
                if (!__any_sync(~0u, mine)) continue;
                const double fresh = mine ? distance(X + row * d, exact + (long long)(c0 + u) * d, d) : nearest;
                Two gain = {0, 0};
                if (fresh < nearest) {
                    const Two then = cut(fresh, w, unit, rest);
                    gain = {now.high - then.high, now.low - then.low};
                }
                gain = {warp_sum(gain.high), warp_sum(gain.low)};
                if (lane == u) add(gained, gain);
            }
        }
        if (gained.high) atomicAdd(gains + c0 + lane, (unsigned long long)gained.high);
        if (gained.low) atomicAdd(gains + t + c0 + lane, (unsigned long long)gained.low);
    }
    if (__any_sync(~0u, rest) && thread() % 32 == 0) atomicOr(flags + REST, 1);
}

// One block: the first of the candidates that gain most becomes the centre; sums and flags are made ready.
extern "C" __global__ void __launch_bounds__(256)
choose(long long n, int d, int t, int bits, const long long* drawn, const Real* rows, long long* gains, long long* parts,
       int* flags, long long* chosen, double* centre, int* stop)
{
    if (*stop) return;
    __shared__ int leader, is_open;
    if (thread() == 0) {
        leader = 0;
        for (int u = 1; u < t; ++u)
            if (less(widened({gains[leader], gains[t + leader]}, bits), widened({gains[u], gains[t + u]}, bits))) leader = u;
        is_open = flags[OPEN];
    }
    __syncthreads();
    const int best = leader;
    if (flags[REST])
        for (int u = 0; u < t; ++u) {
            if (clear(widened({gains[best], gains[t + best]}, bits), widened({gains[u], gains[t + u]}, bits), 4ull * n))
                continue;
            bool differs = false;  // equal rows gain the same: of these the first is right
            for (int j = thread(); j < d; j += 256) differs |= rows[(long long)u * d + j] != rows[(long long)best * d + j];
            if (differs) atomicOr(&is_open, 1);
        }
    __syncthreads();
    for (int i = thread(); i < 2 * BUCKETS; i += 256) parts[i] = 0;
    for (int i = thread(); i < 2 * t; i += 256) gains[i] = 0;
    for (int j = thread(); j < d; j += 256) centre[j] = widen(rows[(long long)best * d + j]);
    if (thread() != 0) return;
    flags[REST] = flags[OPEN] = 0;
    *chosen = drawn[best];
    if (is_open)
        stop[0] = 1;
    else
        ++stop[1];
}
