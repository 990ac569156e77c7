// One instruction of the tensor cores at a time: D = A B + C, A row-major, B given by columns, each warp its own.

extern "C" __global__ void f16(const unsigned short* a, const unsigned short* b, const float* c, float* out)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const unsigned* A = reinterpret_cast<const unsigned*>(a) + warp * 16 * 8;
    const unsigned* B = reinterpret_cast<const unsigned*>(b) + warp * 8 * 8;
    const unsigned x[4] = {A[g * 8 + t], A[(g + 8) * 8 + t], A[g * 8 + t + 4], A[(g + 8) * 8 + t + 4]};
    const unsigned y[2] = {B[g * 8 + t], B[g * 8 + t + 4]};
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = c[warp * 128 + (g + i / 2 * 8) * 8 + t * 2 + i % 2];
    mma_f16(d, x, y);
    for (int i = 0; i < 4; ++i) out[warp * 128 + (g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}

// The same with A brought to the registers through shared memory.
extern "C" __global__ void f16_from_shared(const unsigned short* a, const unsigned short* b, const float* c, float* out)
{
    __shared__ __align__(16) unsigned short tile[16][24];       // rows of 48 bytes: aligned, and no two in the same banks
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int i = lane; i < 256; i += 32) tile[i / 16][i % 16] = a[i];
    __syncwarp();
    unsigned x[4];
    load_matrices(x, &tile[lane % 16][lane / 16 * 8]);
    const unsigned* B = reinterpret_cast<const unsigned*>(b);
    const unsigned y[2] = {B[g * 8 + t], B[g * 8 + t + 4]};
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = c[(g + i / 2 * 8) * 8 + t * 2 + i % 2];
    mma_f16(d, x, y);
    for (int i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}

extern "C" __global__ void tf32(const float* a, const float* b, const float* c, float* out)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const float* A = a + warp * 16 * 8;
    const float* B = b + warp * 8 * 8;
    const unsigned x[4] = {tf32_bits(A[g * 8 + t]), tf32_bits(A[(g + 8) * 8 + t]), tf32_bits(A[g * 8 + t + 4]),
                           tf32_bits(A[(g + 8) * 8 + t + 4])};
    const unsigned y[2] = {tf32_bits(B[g * 8 + t]), tf32_bits(B[g * 8 + t + 4])};
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = c[warp * 128 + (g + i / 2 * 8) * 8 + t * 2 + i % 2];
    mma_tf32(d, x, y);
    for (int i = 0; i < 4; ++i) out[warp * 128 + (g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}
