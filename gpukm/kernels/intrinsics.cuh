// Instructions that CUDA C++ has no name for: the only file with inline PTX. tests/emulator/intrinsics.h has the scalar
// meaning of each. It comes before the text of every kernel file.

// The block's dynamic shared memory, seen as a T; 16-byte aligned.
template <class T>
__device__ inline T& dynamic_shared()
{
    extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
    return *reinterpret_cast<T*>(dynamic_shared_bytes);
}

// ---- conversions ------------------------------------------------------------------------------------------------
// Exact for every float, subnormal ones included, whatever options the text is compiled with.
__device__ inline double widen(float x)
{
    double y;
    asm("cvt.f64.f32 %0, %1;" : "=d"(y) : "f"(x));
    return y;
}

// Rounded once, to nearest, ties to even; results may be subnormal.
__device__ inline float narrow(double x)
{
    float y;
    asm("cvt.rn.f32.f64 %0, %1;" : "=f"(y) : "d"(x));
    return y;
}

// The bits of the nearest half, ties to even; infinite from 65520 on.
__device__ inline unsigned short half_bits(float x)
{
    unsigned short y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}

__device__ inline float half_value(unsigned short bits)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(bits));
    return y;
}

// Two halves in the order in which they lie in memory: low first.
__device__ inline unsigned half2_bits(float low, float high)
{
    return half_bits(low) | static_cast<unsigned>(half_bits(high)) << 16;
}

// To 10 bits of mantissa, to nearest, ties away from zero: what the tensor cores read of a float (sm_80).
__device__ inline unsigned tf32_bits(float x)
{
    unsigned y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
    return y;
}

// ---- tensor cores (sm_80): d += a b for one warp, d float32 ----------------------------------------------------------
// Lane = 4 g + t. d[i] is D[g + 8 (i / 2)][2 t + i % 2], 16 x 8. All lanes of the warp must take part.

// a[i] holds A[g + 8 (i % 2)][2 t + 8 (i / 2) + {0, 1}], 16 x 16; b[i] holds B[2 t + 8 i + {0, 1}][g], 16 x 8.
__device__ inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// a[i] is A[g + 8 (i % 2)][t + 4 (i / 2)], 16 x 8; b[i] is B[t + 4 i][g], 8 x 8; bits as tf32_bits gives them.
__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8 x 8 matrices of halves from shared memory: lane 8 m + r gives the address of row r of matrix m (16 bytes,
// aligned); r[m] becomes elements 2 t and 2 t + 1 of row g of matrix m.
__device__ inline void load_matrices(unsigned (&r)[4], const void* row)
{
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// ---- copies from global to shared memory that go on meanwhile (sm_80) --------------------------------------------
// 4, 8 or 16 bytes, both addresses aligned to as much. What is not `there` is written as zeros and not read.
template <int bytes>
__device__ inline void copy_async(void* to, const void* from, bool there = true)
{
    static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                 :: "r"(address), "l"(__cvta_generic_to_global(from)), "n"(bytes), "r"(there ? bytes : 0) : "memory");
}

// Ends a group of copies.
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the last `groups` groups of this thread have arrived; other threads need a barrier to see them.
template <int groups>
__device__ inline void copy_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(groups) : "memory"); }
