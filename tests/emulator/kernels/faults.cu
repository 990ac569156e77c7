// Mistakes, each of which the emulator must report with its place.

extern "C" __global__ void index_outside(int* x)
{
    __shared__ int kept[8];
    kept[threadIdx.x] = 1;
    x[threadIdx.x] = kept[threadIdx.x];
}
extern "C" __global__ void far_outside(int* x) { x[1ll << 40] = 1; }
extern "C" __global__ void null_pointer(const int* x, int* y) { y[0] = x[0]; }
extern "C" __global__ void overflowing(const int* x, int* y) { y[0] = x[0] + x[1]; }
extern "C" __global__ void shifting(const int* x, int* y) { y[0] = 1 << x[0]; }
extern "C" __global__ void misaligned_vector(const float* x, float* y) { y[0] = reinterpret_cast<const float4*>(x + 1)[0].x; }
extern "C" __global__ void misaligned_copy(const float* x) { copy_async<16>(&dynamic_shared<float>(), x + 1); }
extern "C" __global__ void misaligned_matrix(const float* x)
{
    unsigned r[4];
    load_matrices(r, &dynamic_shared<float>() + static_cast<int>(x[0]) + 1);
}
extern "C" __global__ void missing_threads(int* x)
{
    if (threadIdx.x < 40) __syncthreads();
    else __syncwarp();
    x[0] = 1;
}
extern "C" __global__ void two_barriers(int* x)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    x[0] = 1;
}
extern "C" __global__ void outside_its_mask(int* x) { x[0] = __shfl_sync(0xfu, 1, 0); }
extern "C" __global__ void from_a_finished_lane(int* x)
{
    if (threadIdx.x == 31) return;
    x[threadIdx.x] = __shfl_down_sync(~0u, static_cast<int>(threadIdx.x), 1);
}
extern "C" __global__ void part_of_a_warp(float* x)
{
    const unsigned a[4] = {}, b[2] = {};
    float d[4] = {};
    mma_f16(d, a, b);
    x[0] = d[0];
}
extern "C" __global__ void late(float* x)                       // reads before the copy has surely arrived
{
    float* kept = &dynamic_shared<float>();
    copy_async<4>(&kept[threadIdx.x], &x[threadIdx.x]);
    copy_async_commit();
    x[threadIdx.x] = 2 * kept[threadIdx.x];
    copy_async_wait<0>();
}
extern "C" __global__ void lost_sum(int* x) { for (int i = 0; i < 4; ++i) x[0] += 1; }
