#pragma once
/// What one instruction set offers, as a table of functions. Plain data over raw memory: the files that are
/// compiled for an instruction set of their own include nothing else, so that no function of the standard
/// library or of Eigen exists in a variant that another processor cannot run.

#include <cstddef>

namespace equiprop {

/// One neighbour's pull W u on a layer; W as `Kernels::pack` left it. One of the two distances is 1.
template <class T>
struct Pull {
  const T* packed;          ///< (rows, depth)
  std::ptrdiff_t depth;     ///< units of the neighbour
  const T* signal;          ///< u, (depth, batch)
  std::ptrdiff_t stride;    ///< from one sample of u to the next
  std::ptrdiff_t step = 1;  ///< from one unit of u to the next
};

/// The shapes of a Response.
enum class ResponseKind { box, tanh, logistic };

/// The state a layer takes under its drive p, as in Units::respond. A NaN stays one.
///   box       clip((gain p + force_gain force) / curvature, lower, upper), clip(gain p, lower, upper)
///             without a force
///   tanh      tanh(p)
///   logistic  logistic(gain (p - shift))
template <class T>
struct Response {
  ResponseKind kind;          ///< which of them
  T gain;                     ///< of a box or logistic
  T shift{};                  ///< of a logistic, as all below of a box
  T lower{};                  ///< bound of a box
  T upper{};                  ///< bound of a box
  const T* force = nullptr;   ///< (rows, batch), or nullptr
  std::ptrdiff_t stride = 0;  ///< from one sample of the force to the next
  T force_gain{};             ///< of a box with a force
  T curvature{};              ///< of a box with a force
};

/// What becomes of the sums of a LayerStep that are a gradient g: v <- momentum v + (decay theta + g) with v the step's
/// `out`, or 0 without one, and theta <- theta - rate v. Rounded like MomentumStep::apply.
template <class T>
struct Descent {
  T* theta;               ///< (rows, batch)
  std::ptrdiff_t stride;  ///< from one sample of theta to the next
  T rate;                 ///< as in the equation
  T momentum;             ///< as in the equation
  T decay;                ///< as in the equation
};

/// One layer under all its neighbours: out = start + sum_i W_i u_i, then the response.
template <class T>
struct LayerStep {
  std::ptrdiff_t rows;          ///< units of the layer
  std::ptrdiff_t batch;         ///< samples
  const Pull<T>* pulls;         ///< of its neighbours
  std::ptrdiff_t num_pulls;     ///< how many neighbours
  const T* start;               ///< (rows, batch), may be `out`; nullptr for zeros
  std::ptrdiff_t start_stride;  ///< 0 where all samples share one start, a bias
  const Response<T>* response;  ///< nullptr to store the drive itself
  /// (rows, batch), or nullptr where `change` is all that is wanted; the step must not read what another sample writes
  T* out;
  std::ptrdiff_t out_stride;         ///< from one sample of `out` to the next
  const T* before = nullptr;         ///< (rows, batch), may be `out`; what `change` compares with
  std::ptrdiff_t before_stride = 0;  ///< from one sample of `before` to the next
  /// (lanes, batch), or nullptr: each number becomes the largest of itself and of some |out - before| of its
  /// sample, which together cover all rows. A NaN is larger than any number.
  T* change = nullptr;
  bool by_rows =
      false;  ///< how the weights of all neighbours are packed; each signal's step is then 1
  const Descent<T>* descent = nullptr;  ///< the response is then nullptr, and `out` may be
};

/// A step of conjugate gradients on one system, of arrays (count,): x += alpha p, r -= alpha q, z = d r.
template <class T>
struct ConjugateStep {
  T alpha;      ///< as in the equations
  const T* p;   ///< the direction
  const T* q;   ///< its product with the matrix
  const T* d;   ///< the preconditioner's diagonal
  T* x;         ///< the solution
  T* r;         ///< b - A x
  T* z;         ///< preconditioned
  T product{};  ///< <r, z> afterwards
  T largest{};  ///< max |z| afterwards; NaN is larger than any number
};

/// A step of Adam (see AdamStep) as multiplications by numbers that all parameters share:
/// m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, theta <- keep theta - pace m / (root sqrt(v) + epsilon).
template <class T>
struct AdamNumbers {
  T beta1;    ///< as in the equations
  T beta2;    ///< as in the equations
  T epsilon;  ///< as in the equations
  T keep;     ///< 1 - rate decay
  T pace;     ///< rate / (1 - beta1^t)
  T root;     ///< 1 / sqrt(1 - beta2^t)
};

/// All matrices are column-major, one sample contiguous. Nothing is allocated; no alignment is required, though
/// packed weights are read fastest from a multiple of 64 bytes. A sample's bits depend neither on the number of
/// samples nor on its place among them.
template <class T>
struct Kernels {
  /// Numbers that the packed form of a (rows, depth) matrix takes.
  std::ptrdiff_t (*packed_size)(std::ptrdiff_t rows, std::ptrdiff_t depth);
  /// packed = scale * w, or scale * w^T of a (depth, rows) w. The scale is the gain of the neighbour's signal.
  void (*pack)(const T* w, std::ptrdiff_t stride, bool transposed, std::ptrdiff_t rows,
               std::ptrdiff_t depth, T scale, T* packed);
  /// Whether a layer under neighbours of `depth` units together is faster with weights from pack_by_rows.
  bool (*by_rows)(std::ptrdiff_t rows, std::ptrdiff_t depth);
  /// `pack` for a layer of few units, into packed_size(depth, rows) numbers.
  void (*pack_by_rows)(const T* w, std::ptrdiff_t stride, bool transposed, std::ptrdiff_t rows,
                       std::ptrdiff_t depth, T scale, T* packed);
  /// Takes the step.
  void (*accumulate)(const LayerStep<T>& step);
  /// largest[j] becomes the larger of itself and of sample j's numbers in LayerStep::change.
  void (*largest_change)(std::ptrdiff_t samples, const T* change, T* largest);
  /// The largest |in[i]|, 0 of none; NaN is larger than any number.
  T (*largest_size)(std::ptrdiff_t count, const T* in);
  /// sum_i a[i] b[i]
  T (*inner)(std::ptrdiff_t count, const T* a, const T* b);
  /// Takes the step.
  void (*follow)(std::ptrdiff_t count, ConjugateStep<T>& step);
  /// p = z + beta p
  void (*turn)(std::ptrdiff_t count, T beta, const T* z, T* p);
  /// Takes a step of Adam along the gradient g; all are (count,). Square roots and quotients are rounded correctly, so the
  /// numbers do not depend on the instruction set.
  void (*adam)(std::ptrdiff_t count, const AdamNumbers<T>& numbers, const T* g, T* theta, T* mean,
               T* square);
  std::ptrdiff_t lanes;  ///< rows of LayerStep::change

  /// out[i] = e^in[i]. Errors are in units in the last place of the exact result, subnormal ones included: here at
  /// most 1.25. In these functions `out` may be `in`, a NaN stays one, and out[i] depends on in[i] alone.
  void (*exp)(std::ptrdiff_t count, const T* in, T* out);
  /// At most 2 units off; odd, signed zeros included.
  void (*tanh)(std::ptrdiff_t count, const T* in, T* out);
  /// out[i] = 1 / (1 + e^-x), x = gain * (in[i] - shift) as it rounds; at most 1.75 units off, however small.
  void (*logistic)(std::ptrdiff_t count, T gain, T shift, const T* in, T* out);
};

}  // namespace equiprop
