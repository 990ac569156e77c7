// Vector loads, atomics, static and dynamic shared memory, copies that go on meanwhile.

extern "C" __global__ void vectors(const float* x, const int* y, const long long* z, float* a, int* b, long long* c)
{
    const int i = threadIdx.x;
    const float4 f = reinterpret_cast<const float4*>(x)[i];
    reinterpret_cast<float4*>(a)[i] = make_float4(f.w, f.z, f.y, f.x);
    const int4 v = reinterpret_cast<const int4*>(y)[i];
    const uint4 u = reinterpret_cast<const uint4*>(y)[i];
    reinterpret_cast<int2*>(b)[i] = make_int2(v.x + v.w, static_cast<int>(u.y + u.z));
    const longlong2 w = __ldg(&reinterpret_cast<const longlong2*>(z)[i]);
    c[i] = w.x - w.y;
}

extern "C" __global__ void atomics(const int* x, int n, int* i32, unsigned* u32, unsigned long long* u64, float* f32,
                                   double* f64)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        const int v = x[i];
        atomicAdd(&i32[0], v);
        atomicMin(&i32[1], v);
        atomicMax(&i32[2], v);
        atomicAdd(&u32[0], static_cast<unsigned>(v));
        atomicMax(&u32[1], static_cast<unsigned>(v));
        atomicOr(&u32[2], static_cast<unsigned>(v));
        atomicXor(&u32[3], static_cast<unsigned>(v));
        atomicAdd(&u64[0], static_cast<unsigned long long>(static_cast<long long>(v)));   // a signed sum
        atomicMin(&u64[1], static_cast<unsigned long long>(v & 0xffff) << 32);
        atomicAdd(&f32[0], static_cast<float>(v));
        atomicAdd(&f64[0], static_cast<double>(v));
        for (unsigned long long old = atomicAdd(&u64[2], 0), seen; ; old = seen)     // a product, by compare and swap
            if ((seen = atomicCAS(&u64[2], old, old * 3)) == old) break;
        u32[4 + atomicAdd(&i32[3], 1)] = static_cast<unsigned>(v);   // a queue: every value once, in any order
    }
}

// Reverses each run of blockDim.x values through both kinds of shared memory.
template <class T>
__device__ inline T through_static(T value)
{
    __shared__ T kept[128];
    kept[blockDim.x - 1 - threadIdx.x] = value;
    __syncthreads();
    return kept[threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(128) reversed(const float* x, float* out, float* untouched)
{
    extern __shared__ float dynamic[];
    __shared__ float fresh[4];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) untouched[blockIdx.x] = fresh[0] + dynamic[0];
    __syncthreads();
    dynamic[threadIdx.x] = through_static(x[i]);
    if (threadIdx.x < 4) fresh[threadIdx.x] = 1.f;
    __syncthreads();
    out[i] = dynamic[threadIdx.x];
}

// Row sums of n rows of 64 through a pipeline of two tiles.
struct Tiles { float x[2][32][64]; };
extern "C" __global__ void __launch_bounds__(128) row_sums(const float* x, int n, float* out)
{
    auto& tiles = dynamic_shared<Tiles>().x;
    const int count = (n + 31) / 32;
    const auto load = [&](int tile) {
        for (int t = threadIdx.x; t < 32 * 16; t += blockDim.x) {
            const int r = t / 16, q = t % 16 * 4, row = tile * 32 + r;
            copy_async<16>(&tiles[tile % 2][r][q], &x[static_cast<size_t>(min(row, n - 1)) * 64 + q], row < n);
        }
        copy_async_commit();
    };
    load(0);
    for (int tile = 0; tile < count; ++tile) {
        if (tile + 1 < count) { load(tile + 1); copy_async_wait<1>(); }
        else copy_async_wait<0>();
        __syncthreads();
        const int r = threadIdx.x / 4, part = threadIdx.x % 4;
        float sum = 0;
        for (int q = 0; q < 16; ++q) sum += tiles[tile % 2][r][q * 4 + part];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        if (part == 0 && tile * 32 + r < n) out[tile * 32 + r] = sum;
        __syncthreads();
    }
}
