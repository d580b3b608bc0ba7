/// Stores the lanes of a few channels that are not zero and whose winner is `number` side by side; part of kernels.inl.
/// Whole vectors are stored, because stores of a part are slow. Returns how many lanes were kept.

EQUIPROP_INLINE unsigned kept_channels(const unsigned char* winner, Size count, int number) {
  const unsigned mask = _bzhi_u32(0xffff, unsigned(count));
  const __m128i winners = _mm_maskz_loadu_epi8(__mmask16(mask), winner);
  return _mm_mask_cmpeq_epi8_mask(__mmask16(mask), winners, _mm_set1_epi8(char(number)));
}

EQUIPROP_INLINE Size compress(const float* signal, const unsigned char* winner, Size count,
                              int number, int first, float* signals, int* places) {
  const unsigned mask = kept_channels(winner, count, number);
  const __m512 all = _mm512_maskz_loadu_ps(__mmask16(mask), signal);
  const __mmask16 kept = _mm512_cmp_ps_mask(all, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  const __m512i numbers =
      _mm512_add_epi32(_mm512_set1_epi32(first),
                       _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm512_storeu_ps(signals, _mm512_maskz_compress_ps(kept, all));
  _mm512_storeu_si512(places, _mm512_maskz_compress_epi32(kept, numbers));
  return __builtin_popcount(kept);
}

EQUIPROP_INLINE Size compress(const double* signal, const unsigned char* winner, Size count,
                              int number, int first, double* signals, int* places) {
  const unsigned mask = kept_channels(winner, count, number);
  const __m512d all = _mm512_maskz_loadu_pd(__mmask8(mask), signal);
  const __mmask8 kept = _mm512_cmp_pd_mask(all, _mm512_setzero_pd(), _CMP_NEQ_UQ);
  const __m256i numbers =
      _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  _mm512_storeu_pd(signals, _mm512_maskz_compress_pd(kept, all));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(places),
                      _mm256_maskz_compress_epi32(kept, numbers));
  return __builtin_popcount(kept);
}
