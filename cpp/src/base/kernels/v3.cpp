/// Kernels for x86-64-v3 (AVX2 and FMA): 12 of the 16 registers are accumulators.

#include <immintrin.h>

#define EQUIPROP_KERNEL_ISA x86_64_v3
#define EQUIPROP_VECTOR_BYTES 32
#define EQUIPROP_TILE_COLUMNS 6
#define EQUIPROP_MULTIPLY_ADD_FLOAT _mm256_fmadd_ps
#define EQUIPROP_MULTIPLY_ADD_DOUBLE _mm256_fmadd_pd
#define EQUIPROP_REGISTER "x"
#define EQUIPROP_SQUARE_ROOT_FLOAT _mm256_sqrt_ps
#define EQUIPROP_SQUARE_ROOT_DOUBLE _mm256_sqrt_pd
#include "kernels.inl"
