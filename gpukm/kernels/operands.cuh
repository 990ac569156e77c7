// operands: what tensor cores multiply (sm_80): OPERAND = 2 for fp16, 4 for TF32, of 10 bits of mantissa both. Tiles and
// fragments are the same in 16-byte words, so that one kernel serves both.

#define WORD (16 / OPERAND)  // operands of a word

#if OPERAND == 4
typedef unsigned Operand;
#define MOST 0x1p120  // squared lengths of centroids below it do not overflow
__device__ __forceinline__ Operand operand_bits(float x) { return tf32_bits(x); }
__device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_tf32(d, a, b); }
#else
typedef unsigned short Operand;
#define MOST 0x1p31
__device__ __forceinline__ Operand operand_bits(float x) { return half_bits(x); }
__device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_f16(d, a, b); }
#endif
