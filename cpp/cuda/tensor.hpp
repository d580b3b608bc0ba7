#pragma once
/// Tensor cores: rounding of factors, and products of small tiles that a warp computes together.
///
/// In the emulator the rounding is that of the hardware, bit by bit, and a tile is summed in float32 in the order of k. The
/// order and the rounding of the sum within a tile on the hardware are not documented, so a GPU agrees with the emulator to
/// a tolerance.

#include <cstdint>
#include <cstring>

#include "device.hpp"

namespace equiprop::cuda {

#if defined(EQUIPROP_EMULATED)

/// Returns the bits of v rounded to 11 bits, to the nearest, ties away from zero.
inline std::uint32_t to_tf32(float v) {
  std::uint32_t bits;
  std::memcpy(&bits, &v, sizeof(bits));
  return (bits & 0x7f800000U) == 0x7f800000U ? bits : (bits + 0x1000U) & ~0x1fffU;
}
inline float from_bits(std::uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof(v));
  return v;
}
/// Returns the upper half of the bits of v rounded to 8 bits, to the nearest, ties to even.
inline std::uint32_t half_word(float v) {
  if (v != v) return 0x7fffU;
  std::uint32_t bits;
  std::memcpy(&bits, &v, sizeof(bits));
  return (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
}
/// Returns two numbers rounded to 8 bits, `low` in the lower half of a word.
inline std::uint32_t to_bf16(float low, float high) {
  return half_word(low) | half_word(high) << 16;
}

/// c (16, 8) += a (16, 8 Packed) b (8 Packed, 8) with the words of all lanes, each of which holds `Packed` neighbours along
/// k; number(word, i) is neighbour i.
template <int Packed, class Number>
void multiply_words(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], float (&c)[4],
                    const Number& number) {
  const std::uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const emulated::Lanes lanes(mine);
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  for (int e = 0; e < 4; ++e) {
    const int row = g + e / 2 * 8, column = 2 * t + e % 2;
    for (int k = 0; k < 8 * Packed; ++k) {
      const int half = k / (4 * Packed), of = k / Packed % 4, place = k % Packed;
      const float left = number(lanes.word(row % 8 * 4 + of, row / 8 + 2 * half), place);
      const float right = number(lanes.word(column * 4 + of, 4 + half), place);
      c[e] += left * right;
    }
  }
}
inline void multiply_tf32(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], float (&c)[4]) {
  multiply_words<1>(a, b, c, [](std::uint32_t word, int) { return from_bits(word); });
}
inline void multiply_bf16(const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], float (&c)[4]) {
  multiply_words<2>(a, b, c, [](std::uint32_t word, int i) {
    return from_bits(i == 0 ? word << 16 : word & 0xffff0000U);
  });
}

#else

__device__ __forceinline__ std::uint32_t to_tf32(float v) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return bits;
}
__device__ __forceinline__ float from_bits(std::uint32_t bits) {
  return __uint_as_float(bits);
}
__device__ __forceinline__ std::uint32_t to_bf16(float low, float high) {
  std::uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

/// With g = lane / 4 and t = lane % 4, a lane has of a (16, 8): (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of b (8, 8):
/// (t, g), (t + 4, g), and of c (16, 8): (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void multiply_tf32(const std::uint32_t (&a)[4],
                                              const std::uint32_t (&b)[2], float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// A lane has the same places as in `multiply_tf32`, with two neighbours along k in each word: k = 2t and 2t + 1 for t.
__device__ __forceinline__ void multiply_bf16(const std::uint32_t (&a)[4],
                                              const std::uint32_t (&b)[2], float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

}  // namespace equiprop::cuda
