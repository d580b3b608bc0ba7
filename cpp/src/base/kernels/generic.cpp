/// Kernels for any processor: vectors of 16 bytes, which the compiler translates to instructions of the baseline.

#define EQUIPROP_KERNEL_ISA generic
#define EQUIPROP_VECTOR_BYTES 16
#if defined(__aarch64__)
#include <arm_neon.h>
#define EQUIPROP_TILE_COLUMNS 12
#define EQUIPROP_REGISTER "w"
#define EQUIPROP_MULTIPLY_ADD_FLOAT(a, b, c) vfmaq_f32(c, a, b)
#define EQUIPROP_MULTIPLY_ADD_DOUBLE(a, b, c) vfmaq_f64(c, a, b)
#define EQUIPROP_SQUARE_ROOT_FLOAT vsqrtq_f32
#define EQUIPROP_SQUARE_ROOT_DOUBLE vsqrtq_f64
#elif defined(__x86_64__)
#include <emmintrin.h>
#define EQUIPROP_SQUARE_ROOT_FLOAT _mm_sqrt_ps
#define EQUIPROP_SQUARE_ROOT_DOUBLE _mm_sqrt_pd
#define EQUIPROP_TILE_COLUMNS 5
#define EQUIPROP_REGISTER "x"
#else
#define EQUIPROP_TILE_COLUMNS 4
#endif
#include "kernels.inl"
