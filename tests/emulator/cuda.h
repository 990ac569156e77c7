// CUDA C++ on the CPU: what g++ needs to compile the unchanged text of a kernel file.
// Every CUDA thread of a block is a fiber, which gives way only where a CUDA thread may wait.
#pragma once
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static const
// Static data without a value: shared.ld brings it together, and the scheduler fills it anew for each block.
#define __shared__ static

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 gridDim, blockDim;
extern uint3 blockIdx, threadIdx;
constexpr int warpSize = 32;

namespace emulator {
struct Lane { uint64_t word[6]; };                                 // what a lane shows to its warp
struct Copy { void* to; const void* from; int bytes; bool there; };
const uint64_t poison = 0xfffefffefffefffe;                        // NaN as float or double, negative as an integer

void sync_block(int line);                                         // waits for every thread of the block
int sync_block_count(bool predicate, int line);                    // and returns for how many it holds
void sync_warp(unsigned mask, int line);                           // waits for the lanes of the mask
const Lane* exchange(unsigned mask, const Lane& mine, int line);   // and returns what they show
bool shows(unsigned lane);                                         // whether that lane took part in the last exchange
unsigned lane_id();
unsigned char* dynamic_shared();
void maybe_yield();                                                // lets other threads run here, at random
unsigned chance(unsigned below);
int tensor_block();                                                // how many products a tensor core adds at once
void defer(Copy copy);                                             // an asynchronous copy that has not happened yet
void commit();
bool next_copy(unsigned groups, Copy& copy);                       // the next one due if `groups` may stay pending
[[noreturn]] void fail(const char* what);
}

// ---- barriers -----------------------------------------------------------------------------------------------------
inline void __syncthreads(int line = __builtin_LINE()) { emulator::sync_block(line); }
inline int __syncthreads_count(int p, int line = __builtin_LINE()) { return emulator::sync_block_count(p != 0, line); }
inline int __syncthreads_or(int p, int line = __builtin_LINE()) { return emulator::sync_block_count(p != 0, line) > 0; }
inline int __syncthreads_and(int p, int line = __builtin_LINE())
{
    return emulator::sync_block_count(p == 0, line) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) { emulator::sync_warp(mask, line); }
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- warps --------------------------------------------------------------------------------------------------------
namespace emulator {
template <class T>
T from_lane(unsigned mask, T value, unsigned lane, int line)
{
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "CUDA shuffles int, long long, float, double and the like");
    Lane mine{};
    __builtin_memcpy(mine.word, &value, sizeof(T));
    const Lane* all = exchange(mask, mine, line);
    const uint64_t word = shows(lane) ? all[lane].word[0] : poison;
    T result;
    __builtin_memcpy(&result, &word, sizeof(T));
    return result;
}
template <class T, class Op>
T reduce(unsigned mask, T value, Op op, int line)
{
    const Lane* all = exchange(mask, {{uint64_t(value)}}, line);
    bool first = true;
    T result{};
    for (unsigned i = 0; i < 32; ++i)
        if (shows(i)) result = first ? T(all[i].word[0]) : op(result, T(all[i].word[0])), first = false;
    return result;
}
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE())
{
    const unsigned me = emulator::lane_id();
    return emulator::from_lane(mask, value, (me & ~unsigned(width - 1)) | (unsigned(source) & unsigned(width - 1)), line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE())
{
    const unsigned me = emulator::lane_id(), from = me ^ unsigned(bits);   // segments above the own are out of reach
    return emulator::from_lane(mask, value, from >= (me | unsigned(width - 1)) + 1 ? me : from, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE())
{
    const unsigned me = emulator::lane_id(), within = me & unsigned(width - 1);
    return emulator::from_lane(mask, value, within + delta < unsigned(width) ? me + delta : me, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE())
{
    const unsigned me = emulator::lane_id(), within = me & unsigned(width - 1);
    return emulator::from_lane(mask, value, within >= delta ? me - delta : me, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE())
{
    const unsigned bit = predicate != 0 ? 1u << emulator::lane_id() : 0u;
    return emulator::reduce(mask, bit, [](unsigned a, unsigned b) { return a | b; }, line);
}
inline int __any_sync(unsigned mask, int p, int line = __builtin_LINE()) { return __ballot_sync(mask, p, line) != 0; }
inline int __all_sync(unsigned mask, int p, int line = __builtin_LINE()) { return __ballot_sync(mask, !p, line) == 0; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value, int line = __builtin_LINE())
{
    emulator::Lane mine{};
    __builtin_memcpy(mine.word, &value, sizeof(T));
    const emulator::Lane* all = emulator::exchange(mask, mine, line);
    unsigned same = 0;
    for (unsigned i = 0; i < 32; ++i)
        if (emulator::shows(i) && all[i].word[0] == mine.word[0]) same |= 1u << i;
    return same;
}
#define EMULATED_REDUCTION(name, T, expression)                                                          \
    inline T __reduce_##name##_sync(unsigned mask, T value, int line = __builtin_LINE())                 \
    {                                                                                                    \
        return emulator::reduce(mask, value, [](T a, T b) -> T { return expression; }, line);            \
    }
EMULATED_REDUCTION(add, unsigned, a + b)
EMULATED_REDUCTION(add, int, int(unsigned(a) + unsigned(b)))
EMULATED_REDUCTION(min, unsigned, a < b ? a : b)
EMULATED_REDUCTION(min, int, a < b ? a : b)
EMULATED_REDUCTION(max, unsigned, a < b ? b : a)
EMULATED_REDUCTION(max, int, a < b ? b : a)
EMULATED_REDUCTION(and, unsigned, a & b)
EMULATED_REDUCTION(or, unsigned, a | b)
EMULATED_REDUCTION(xor, unsigned, a ^ b)

// ---- atomics: for the types for which CUDA has them ---------------------------------------------------------------
namespace emulator {
template <class T, class Op>
T atomic(T* address, Op op)
{
    maybe_yield();
    T old, fresh;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    do fresh = op(old);
    while (!__atomic_compare_exchange(address, &old, &fresh, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
template <class T> T wrapping_sum(T a, T b)
{
    if constexpr (std::is_integral_v<T>) return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
    else return a + b;
}
}
typedef unsigned long long emulator_ull;
#define EMULATED_ATOMIC(name, T, expression) \
    inline T atomic##name(T* address, T value) { return emulator::atomic(address, [value](T old) -> T { return expression; }); }
#define EMULATED_ATOMICS(T)                                                             \
    EMULATED_ATOMIC(Add, T, emulator::wrapping_sum(old, value))                         \
    EMULATED_ATOMIC(Min, T, value < old ? value : old)                                  \
    EMULATED_ATOMIC(Max, T, old < value ? value : old)                                  \
    EMULATED_ATOMIC(And, T, old & value)                                                \
    EMULATED_ATOMIC(Or, T, old | value)                                                 \
    EMULATED_ATOMIC(Xor, T, old ^ value)                                                \
    EMULATED_ATOMIC(Exch, T, (void(old), value))                                        \
    inline T atomicCAS(T* address, T compare, T value)                                  \
    {                                                                                   \
        return emulator::atomic(address, [=](T old) -> T { return old == compare ? value : old; }); \
    }
EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(emulator_ull)
EMULATED_ATOMIC(Min, long long, value < old ? value : old)
EMULATED_ATOMIC(Max, long long, old < value ? value : old)
EMULATED_ATOMIC(Sub, int, int(unsigned(old) - unsigned(value)))
EMULATED_ATOMIC(Sub, unsigned, old - value)
EMULATED_ATOMIC(Add, float, old + value)
EMULATED_ATOMIC(Add, double, old + value)
EMULATED_ATOMIC(Exch, float, (void(old), value))

// ---- vectors, read and written whole: the address must be aligned -------------------------------------------------
#define EMULATED_VECTORS(T, name, size2, size4)                                       \
    struct alignas(size2) name##2 { T x, y; };                                         \
    struct name##3 { T x, y, z; };                                                     \
    struct alignas(size4) name##4 { T x, y, z, w; };                                   \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                         \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                 \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTORS(signed char, char, 2, 4)
EMULATED_VECTORS(unsigned char, uchar, 2, 4)
EMULATED_VECTORS(short, short, 4, 8)
EMULATED_VECTORS(unsigned short, ushort, 4, 8)
EMULATED_VECTORS(int, int, 8, 16)
EMULATED_VECTORS(float, float, 8, 16)
EMULATED_VECTORS(double, double, 16, 16)
EMULATED_VECTORS(long long, longlong, 16, 16)
EMULATED_VECTORS(unsigned long long, ulonglong, 16, 16)
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
template <class T> T __ldg(const T* address) { return *address; }
template <class T> T __ldcs(const T* address) { return *address; }
template <class T> T __ldcg(const T* address) { return *address; }
template <class T> void __stcs(T* address, T value) { *address = value; }
template <class T> void __stcg(T* address, T value) { *address = value; }

// ---- arithmetic ---------------------------------------------------------------------------------------------------
template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b)
{
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point_v<T>) return std::fmin(T(a), T(b));
    else return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b)
{
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point_v<T>) return std::fmax(T(a), T(b));
    else return T(a) < T(b) ? T(b) : T(a);
}
using std::abs, std::fabs, std::fma, std::fmax, std::fmin, std::frexp, std::isfinite, std::isinf, std::isnan, std::ldexp;
using std::ceil, std::floor, std::nearbyint, std::rint, std::scalbn, std::signbit, std::sqrt, std::trunc;
#define EMULATED_OPERATIONS(T, t, f)                                                  \
    inline T __##t##add_rn(T a, T b) { return a + b; }                                \
    inline T __##t##sub_rn(T a, T b) { return a - b; }                                \
    inline T __##t##mul_rn(T a, T b) { return a * b; }                                \
    inline T __##t##div_rn(T a, T b) { return a / b; }                                \
    inline T __##t##sqrt_rn(T a) { return std::sqrt(a); }                             \
    inline T __##f##_rn(T a, T b, T c) { return std::fma(a, b, c); }
EMULATED_OPERATIONS(float, f, fmaf)
EMULATED_OPERATIONS(double, d, fma)

#define EMULATED_BITS(name, To, From)                                                  \
    inline To name(From x)                                                             \
    {                                                                                  \
        static_assert(sizeof(To) == sizeof(From));                                     \
        To y;                                                                          \
        __builtin_memcpy(&y, &x, sizeof y);                                            \
        return y;                                                                      \
    }
EMULATED_BITS(__int_as_float, float, int)
EMULATED_BITS(__uint_as_float, float, unsigned)
EMULATED_BITS(__float_as_int, int, float)
EMULATED_BITS(__float_as_uint, unsigned, float)
EMULATED_BITS(__longlong_as_double, double, long long)
EMULATED_BITS(__double_as_longlong, long long, double)

inline int __float2int_rn(float x) { return int(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline int __double2int_rn(double x) { return int(std::nearbyint(x)); }
inline long long __double2ll_rn(double x) { return (long long)std::nearbyint(x); }
inline long long __float2ll_rn(float x) { return (long long)std::nearbyint(x); }
inline float __double2float_rn(double x) { return float(x); }
inline double __ll2double_rn(long long x) { return double(x); }
inline double __int2double_rn(int x) { return x; }
inline float __int2float_rn(int x) { return float(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return unsigned(((uint64_t(high) << 32 | low) << (shift & 31)) >> 32);
}

// ---- launching: a kernel with arguments given as to cuLaunchKernel ------------------------------------------------
namespace emulator {
template <class... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>)
{
    kernel(*static_cast<std::remove_const_t<A>*>(args[I])...);
}
// A parameter's type as four characters: kind and bytes of a NumPy dtype, * or =, c where nothing may be written.
template <class T>
struct Described {
    using V = std::remove_pointer_t<T>;
    using U = std::remove_cv_t<V>;
    static constexpr char kind = std::is_same_v<U, bool>             ? 'b'
                                 : std::is_floating_point_v<U>       ? 'f'
                                 : !std::is_integral_v<U>            ? '?'
                                 : std::is_signed_v<U>               ? 'i'
                                                                     : 'u';
    static constexpr char text[4] = {kind, char('0' + sizeof(U) % 10), std::is_pointer_v<T> ? '*' : '=',
                                     std::is_const_v<V> ? 'c' : ' '};
};
template <auto kernel> struct Entry;
template <class... A, void (*kernel)(A...)>
struct Entry<kernel> {
    static void thread(void* args) { call(kernel, static_cast<void**>(args), std::index_sequence_for<A...>{}); }
    struct Text { char of[sizeof...(A)][4], end; };
    static constexpr Text signature = [] {
        Text all{};
        int i = 0;
        ((all.of[i][0] = Described<A>::text[0], all.of[i][1] = Described<A>::text[1], all.of[i][2] = Described<A>::text[2],
          all.of[i][3] = Described<A>::text[3], ++i), ...);
        return all;
    }();
};
}
#define EMULATED_KERNEL(name)                                                                        \
    extern "C" const char* signature_##name() { return emulator::Entry<kernels::name>::signature.of[0]; } \
    extern "C" void (*const thread_##name)(void*) = emulator::Entry<kernels::name>::thread;
