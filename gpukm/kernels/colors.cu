// colors: how often each of the 2^24 colours occurs among 8-bit pixels.
//
// A thread has a pixel. Neighbours are often equal, so a warp adds each of its colours once.
//
// role  argument  shape     dtype
// IN    pixels    (n, 3)    uint8    red, green, blue; at any address
// INOUT table     (2^24)    uint32   counts by 65536 red + 256 green + blue; n is below 2^32
//
// Cost: 3 bytes read a pixel, and an atomic for each colour of a warp, in a table of 64 MB: these bind where colours are
// many, memory where they are few.
// Hazards: none but integer atomics.

extern "C" __global__ void __launch_bounds__(256)
count_colors(const unsigned char* pixels, long long n, unsigned* table)
{
    const int thread = static_cast<int>(threadIdx.x);
    for (long long first = (long long)blockIdx.x * 256; first < n; first += (long long)gridDim.x * 256) {
        const long long i = first + thread;
        unsigned color = ~0u;  // none: the warp votes whole
        if (i < n) color = (unsigned)pixels[3 * i] << 16 | (unsigned)pixels[3 * i + 1] << 8 | pixels[3 * i + 2];
        const unsigned same = __match_any_sync(~0u, color);
        if (i < n && __ffs((int)same) - 1 == thread % 32) atomicAdd(table + color, (unsigned)__popc(same));
    }
}
