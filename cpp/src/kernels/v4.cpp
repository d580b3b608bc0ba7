/// Kernels for x86-64-v4 (AVX-512): 24 accumulators of 32 registers.

#include <immintrin.h>

#define EQUIPROP_KERNEL_ISA x86_64_v4
#define EQUIPROP_VECTOR_BYTES 64
#define EQUIPROP_TILE_COLUMNS 12
#define EQUIPROP_MULTIPLY_ADD_FLOAT _mm512_fmadd_ps
#define EQUIPROP_MULTIPLY_ADD_DOUBLE _mm512_fmadd_pd
#define EQUIPROP_REGISTER "v"
#include "kernels.inl"
