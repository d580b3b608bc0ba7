/// Kernels for x86-64-v2 (SSE4.2). Without fused multiply-add, each product needs an additional register.

#include <emmintrin.h>

#define EQUIPROP_KERNEL_ISA x86_64_v2
#define EQUIPROP_VECTOR_BYTES 16
#define EQUIPROP_TILE_COLUMNS 5
#define EQUIPROP_REGISTER "x"
#define EQUIPROP_SQUARE_ROOT_FLOAT _mm_sqrt_ps
#define EQUIPROP_SQUARE_ROOT_DOUBLE _mm_sqrt_pd
#include "kernels.inl"
