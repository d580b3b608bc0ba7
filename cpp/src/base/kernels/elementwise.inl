/// Functions of every number of an array; part of kernels.inl.

/// out = function(in); the numbers after the last full vector are padded with zeros to another vector.
template <class T, class Function>
EQUIPROP_INLINE void apply(const Function& function, Size count, const T* in, T* out) {
  Size i = 0;
  for (; i + lanes<T> <= count; i += lanes<T>) store<T>(out + i, function(load(in + i)));
  if (i == count) return;
  alignas(64) T rest[lanes<T>] = {};
  copy_numbers(in + i, rest, count - i);
  store<T>(rest, function(load(rest)));
  copy_numbers(rest, out + i, count - i);
}

template <class T>
EQUIPROP_INLINE void exp(Size count, const T* in, T* out) {
  apply<T>([](const Vector<T>& x) { return exp<T>(x); }, count, in, out);
}
template <class T>
EQUIPROP_INLINE void tanh(Size count, const T* in, T* out) {
  apply<T>([](const Vector<T>& x) { return tanh<T>(x); }, count, in, out);
}
/// out = logistic(gain (in - shift)); the argument rounds twice in every instruction set.
template <class T>
EQUIPROP_INLINE void logistic(Size count, T gain, T shift, const T* in, T* out) {
  apply<T>([=](const Vector<T>& x) { return logistic<T>(gain * (x - shift)); }, count, in, out);
}
