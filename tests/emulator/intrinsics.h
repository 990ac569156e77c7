// The scalar meaning of every intrinsic in gpukm/kernels/intrinsics.cuh, which this file replaces on the CPU.
#pragma once

template <class T>
T& dynamic_shared() { return *reinterpret_cast<T*>(emulator::dynamic_shared()); }

inline double widen(float x) { return x; }
inline float narrow(double x) { return float(x); }
inline unsigned short half_bits(float x)
{
    const _Float16 half = _Float16(x);
    unsigned short bits;
    __builtin_memcpy(&bits, &half, 2);
    return bits;
}
inline float half_value(unsigned short bits)
{
    _Float16 half;
    __builtin_memcpy(&half, &bits, 2);
    return float(half);
}
inline unsigned half2_bits(float low, float high) { return half_bits(low) | unsigned(half_bits(high)) << 16; }
inline unsigned tf32_bits(float x)
{
    const unsigned bits = __float_as_uint(x);
    return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits & ~0x1fffu;
}

namespace emulator {
// Adds as tensor cores do, the least careful of them: products are exact, the terms are cut (not rounded) to the last
// place of the largest, added as integers, and the sum is cut to a float. Measured by Fasi, Higham, Mikaitis and Pranesh
// (2021) and others: 4, 8 or 16 products at once, and on newer ones up to 3 bits more; bench/gpu_rounding.py asks a GPU.
inline float tensor_sum(float start, const double* product, int n)
{
    double largest = std::fabs(double(start));
    for (int i = 0; i < n; ++i) largest = std::fmax(largest, std::fabs(product[i]));
    bool finite = largest <= 1e300;
    for (int i = 0; i < n; ++i) finite = finite && product[i] == product[i];
    if (!finite || start != start) {
        for (int i = 0; i < n; ++i) start = float(start + product[i]);
        return start;
    }
    if (largest == 0) return start;
    const int exponent = std::ilogb(largest);
    const double scale = std::ldexp(1.0, 23 - exponent);
    long long sum = (long long)(start * scale);
    for (int i = 0; i < n; ++i) sum += (long long)(product[i] * scale);
    unsigned long long magnitude = sum < 0 ? -(unsigned long long)sum : (unsigned long long)sum;
    if (magnitude >> 24) {                             // to 24 bits, toward zero
        const int extra = 40 - __builtin_clzll(magnitude);
        magnitude = magnitude >> extra << extra;
    }
    const double result = std::ldexp(double(magnitude), exponent - 23);
    return float(sum < 0 ? -result : result);
}

template <int depth, class A, class B>
void multiply(float (&d)[4], A a, B b)
{
    const int group = int(lane_id()) / 4, member = int(lane_id()) % 4, block = min(tensor_block(), depth);
    for (int i = 0; i < 4; ++i) {
        double product[depth];
        for (int k = 0; k < depth; ++k) product[k] = double(a(group + 8 * (i / 2), k)) * b(k, 2 * member + i % 2);
        for (int k = 0; k < depth; k += block) d[i] = tensor_sum(d[i], product + k, block);
    }
}
inline const Lane* fragments(const unsigned (&a)[4], const unsigned (&b)[2], int line)
{
    if (blockDim.x * blockDim.y * blockDim.z % 32) fail("tensor cores need whole warps");
    Lane mine{};
    for (int i = 0; i < 4; ++i) mine.word[i] = a[i];
    for (int i = 0; i < 2; ++i) mine.word[4 + i] = b[i];
    return exchange(~0u, mine, line);
}
}

// Which lane and register holds which element: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8".
inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE())
{
    const emulator::Lane* all = emulator::fragments(a, b, line);
    const auto half = [&](int lane, int word, int k) {
        return half_value((unsigned short)(all[lane].word[word] >> (k % 2 * 16)));
    };
    emulator::multiply<16>(
        d, [&](int row, int k) { return half(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2, k); },
        [&](int k, int column) { return half(column * 4 + k % 8 / 2, 4 + k / 8, k); });
}
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], int line = __builtin_LINE())
{
    const emulator::Lane* all = emulator::fragments(a, b, line);
    const auto value = [&](int lane, int word) { return __uint_as_float(unsigned(all[lane].word[word]) & ~0x1fffu); };
    emulator::multiply<8>(
        d, [&](int row, int k) { return value(row % 8 * 4 + k % 4, row / 8 + k / 4 * 2); },
        [&](int k, int column) { return value(column * 4 + k % 4, 4 + k / 4); });
}
inline void load_matrices(unsigned (&r)[4], const void* row, int line = __builtin_LINE())
{
    if (uintptr_t(row) % 16) emulator::fail("load_matrices needs addresses aligned to 16 bytes");
    const emulator::Lane* all = emulator::exchange(~0u, {{uintptr_t(row)}}, line);
    const unsigned group = emulator::lane_id() / 4, member = emulator::lane_id() % 4;
    for (unsigned m = 0; m < 4; ++m) r[m] = reinterpret_cast<const unsigned*>(all[8 * m + group].word[0])[member];
}

namespace emulator {
inline void copy_now(Copy copy)                        // here, so that the sanitizers see it
{
    if (copy.there) __builtin_memcpy(copy.to, copy.from, copy.bytes);
    else __builtin_memset(copy.to, 0, copy.bytes);
}
}
// cp.async: the copy happens at any time between here and the wait; now or then, at random.
template <int bytes>
void copy_async(void* to, const void* from, bool there = true)
{
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    if (uintptr_t(to) % bytes || uintptr_t(from) % bytes) emulator::fail("copy_async needs aligned addresses");
    const emulator::Copy copy{to, from, bytes, there};
    if (emulator::chance(2)) emulator::copy_now(copy);
    else emulator::defer(copy);
}
inline void copy_async_commit() { emulator::commit(); }
template <int groups>
void copy_async_wait()
{
    for (emulator::Copy copy; emulator::next_copy(groups, copy);) emulator::copy_now(copy);
}
