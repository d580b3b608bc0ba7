/// Kernels for x86-64-v4 (AVX-512): 24 of the 32 registers are accumulators.

#include <immintrin.h>

#define EQUIPROP_KERNEL_ISA x86_64_v4
#define EQUIPROP_VECTOR_BYTES 64
#define EQUIPROP_TILE_COLUMNS 12
#define EQUIPROP_MULTIPLY_ADD_FLOAT _mm512_fmadd_ps
#define EQUIPROP_MULTIPLY_ADD_DOUBLE _mm512_fmadd_pd
#define EQUIPROP_LOAD_SOME_FLOAT(count, from) _mm512_maskz_loadu_ps(_bzhi_u32(0xffff, count), from)
#define EQUIPROP_LOAD_SOME_DOUBLE(count, from) _mm512_maskz_loadu_pd(_bzhi_u32(0xff, count), from)
#define EQUIPROP_STORE_SOME_FLOAT(count, to, v) \
  _mm512_mask_storeu_ps(to, _bzhi_u32(0xffff, count), v)
#define EQUIPROP_STORE_SOME_DOUBLE(count, to, v) \
  _mm512_mask_storeu_pd(to, _bzhi_u32(0xff, count), v)
#define EQUIPROP_COMPRESS compress
#define EQUIPROP_REGISTER "v"
#define EQUIPROP_SQUARE_ROOT_FLOAT _mm512_sqrt_ps
#define EQUIPROP_SQUARE_ROOT_DOUBLE _mm512_sqrt_pd
#include "kernels.inl"
