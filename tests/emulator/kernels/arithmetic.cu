// Every conversion and operation that kernels may use, one value a thread: what the emulator says must be what a GPU does.

extern "C" __global__ void conversions(const float* x, const double* y, int n, double* wide, float* narrowed,
                                       unsigned short* halves, float* half_values, unsigned* tf32, unsigned* bits)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    wide[i] = widen(x[i]);
    wide[n + i] = x[i];
    narrowed[i] = narrow(y[i]);
    narrowed[n + i] = static_cast<float>(y[i]);
    halves[i] = half_bits(x[i]);
    half_values[i] = half_value(half_bits(x[i]));
    tf32[i] = tf32_bits(x[i]);
    bits[i] = half2_bits(x[i], -x[i]);
    bits[n + i] = __float_as_uint(x[i]);
    bits[2 * n + i] = static_cast<unsigned>(__float_as_int(x[i]));
}

extern "C" __global__ void float_operations(const float* a, const float* b, const float* c, int n, float* out)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float x = a[i], y = b[i], z = c[i];
    const float results[] = {__fadd_rn(x, y), __fsub_rn(x, y), __fmul_rn(x, y), __fmaf_rn(x, y, z), x * y + z, x / y,
                             sqrtf(fabsf(x)), fminf(x, y), fmaxf(x, y), min(x, y), max(x, y), rintf(x), floorf(x),
                             __int_as_float(__float_as_int(x)), __uint_as_float(__float_as_uint(y)),
                             x < y ? 1.f : 0.f, x == y ? 1.f : 0.f};
    for (int j = 0; j < static_cast<int>(sizeof results / sizeof *results); ++j) out[j * n + i] = results[j];
}

extern "C" __global__ void double_operations(const double* a, const double* b, const double* c, int n, double* out)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const double x = a[i], y = b[i], z = c[i];
    int exponent = 0;
    const double mantissa = frexp(x, &exponent);
    const double results[] = {__dadd_rn(x, y), __dsub_rn(x, y), __dmul_rn(x, y), __fma_rn(x, y, z), x * y + z, x / y,
                              sqrt(fabs(x)), fmin(x, y), fmax(x, y), rint(x), floor(x), mantissa, ldexp(x, 3),
                              __longlong_as_double(__double_as_longlong(x)), static_cast<double>(exponent)};
    for (int j = 0; j < static_cast<int>(sizeof results / sizeof *results); ++j) out[j * n + i] = results[j];
}

extern "C" __global__ void integer_operations(const int* a, const long long* b, int n, long long* out)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const unsigned u = static_cast<unsigned>(a[i]);
    const unsigned long long w = static_cast<unsigned long long>(b[i]);
    const long long results[] = {__popc(u), __popcll(w), __clz(a[i]), __clzll(b[i]), __ffs(a[i]), __ffsll(b[i]),
                                 __umulhi(u, 0x9e3779b9u), static_cast<long long>(__umul64hi(w, 0x9e3779b97f4a7c15ull)),
                                 min(a[i], 7), max(a[i], 7), __double2ll_rn(b[i] * 0.25 / (1 << 20)), __float2int_rn(a[i] * 0.25f),
                                 __ldg(&a[i])};
    for (int j = 0; j < static_cast<int>(sizeof results / sizeof *results); ++j) out[j * n + i] = results[j];
}
