#pragma once
/// The kernels of one instruction set, as a table of function pointers. All types are plain data on raw memory: the
/// sources that are compiled for an instruction set include no other header, so that no function of the standard
/// library or of Eigen is compiled for an instruction set that another processor lacks.

#include <cstddef>

namespace equiprop {

/// The pull W u of one neighbour on a layer, with W packed by `Kernels::pack`. One of `stride` and `step` is 1.
template <class T>
struct Pull {
  const T* packed;          ///< packed weights W, (rows, depth)
  std::ptrdiff_t depth;     ///< units of the neighbour
  const T* signal;          ///< signals u of the neighbour, (depth, batch)
  std::ptrdiff_t stride;    ///< distance from one sample of u to the next
  std::ptrdiff_t step = 1;  ///< distance from one unit of u to the next
};

/// Kinds of responses.
enum class ResponseKind { box, tanh, logistic };

/// The response of a layer to its drive p (see Units::respond). A NaN stays NaN.
///   box       clip((gain p + force_gain force) / curvature, lower, upper), clip(gain p, lower, upper)
///             without a force
///   tanh      tanh(p)
///   logistic  logistic(gain (p - shift))
template <class T>
struct Response {
  ResponseKind kind;          ///< kind of the response
  T gain;                     ///< gain of a box or logistic
  T shift{};                  ///< shift of a logistic; the members below are those of a box
  T lower{};                  ///< lower bound of a box
  T upper{};                  ///< upper bound of a box
  const T* force = nullptr;   ///< outside force on a box, (rows, batch), or nullptr
  std::ptrdiff_t stride = 0;  ///< distance from one sample of the force to the next
  T force_gain{};             ///< factor of the force on a box
  T curvature{};              ///< divisor of a box with a force
};

/// A descent that is fused into a LayerStep, whose sums are a gradient g:
/// v <- momentum v + (decay theta + g), theta <- theta - rate v. v is the step's `out`, or 0 if `out` is nullptr.
/// It rounds like MomentumStep::apply.
template <class T>
struct Descent {
  T* theta;               ///< parameters, (rows, batch)
  std::ptrdiff_t stride;  ///< distance from one column of theta to the next
  T rate;                 ///< learning rate
  T momentum;             ///< factor of the old v
  T decay;                ///< factor of theta in the gradient (weight decay)
};

/// The update of one layer: out = response(start + sum_i W_i u_i), over all neighbours i.
template <class T>
struct LayerStep {
  std::ptrdiff_t rows;          ///< units of the layer
  std::ptrdiff_t batch;         ///< number of samples
  const Pull<T>* pulls;         ///< pulls of the neighbours
  std::ptrdiff_t num_pulls;     ///< number of neighbours
  const T* start;               ///< (rows, batch), may be `out`; nullptr for zeros
  std::ptrdiff_t start_stride;  ///< distance between samples of `start`; 0 for one shared column
  const Response<T>* response;  ///< nullptr to store the sum itself
  /// Result, (rows, batch), or nullptr to compute only `change`. It must not overlap what the step reads of other
  /// samples.
  T* out;
  std::ptrdiff_t out_stride;         ///< distance from one sample of `out` to the next
  const T* before = nullptr;         ///< (rows, batch), may be `out`; `change` is measured from it
  std::ptrdiff_t before_stride = 0;  ///< distance from one sample of `before` to the next
  /// Largest changes, (lanes, batch), or nullptr. Each entry is raised to the largest |out - before| over some rows of
  /// its sample; the lanes of a sample together cover all rows. NaN counts as larger than any number.
  T* change = nullptr;
  bool by_rows = false;  ///< all weights are from `pack_by_rows`; each signal's step is then 1
  /// Fused descent, or nullptr. With a descent `response` must be nullptr, and `out` may be nullptr.
  const Descent<T>* descent = nullptr;
};

/// One conjugate gradient step for one system, on arrays (count,): x += alpha p, r -= alpha q, z = d r.
template <class T>
struct ConjugateStep {
  T alpha;      ///< step length
  const T* p;   ///< search direction
  const T* q;   ///< product A p of the matrix and the direction
  const T* d;   ///< diagonal of the preconditioner
  T* x;         ///< solution
  T* r;         ///< residual b - A x
  T* z;         ///< preconditioned residual
  T product{};  ///< <r, z> after the step
  T largest{};  ///< max |z| after the step; NaN counts as larger than any number
};

/// Constants of one Adam step (see AdamStep) that all parameters share. The step is
/// m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2,
/// theta <- keep theta - pace m / (root sqrt(v) + epsilon).
template <class T>
struct AdamNumbers {
  T beta1;    ///< decay rate of the mean m
  T beta2;    ///< decay rate of the mean square v
  T epsilon;  ///< lower bound of the divisor
  T keep;     ///< 1 - rate decay
  T pace;     ///< rate / (1 - beta1^t)
  T root;     ///< 1 / sqrt(1 - beta2^t)
};

/// Max pooling of one row of windows over an image with channels last: out += max over pool x pool positions. The
/// winner is the number of the position in the window, row by row; of equal numbers the first, of a window with NaN the
/// first NaN. `out` and `winners` have the same strides.
template <class T>
struct PoolRow {
  std::ptrdiff_t channels;     ///< channels that are pooled
  std::ptrdiff_t windows;      ///< number of windows
  int pool;                    ///< rows and columns of a window, at most 16
  const T* in;                 ///< first position of the first window
  std::ptrdiff_t column_step;  ///< distance from one position to the next in a row
  std::ptrdiff_t row_step;     ///< distance from one row to the next
  T* out;                      ///< one number per window and channel
  unsigned char* winners;      ///< one winner per window and channel
  std::ptrdiff_t out_stride;   ///< distance from one window to the next
};

/// Lists of the units of a pooled image that are not zero, one list for each position before the pooling, row by row.
template <class T>
struct WinnerLists {
  std::ptrdiff_t channels;       ///< channels that are listed
  std::ptrdiff_t height;         ///< rows of the pooled image
  std::ptrdiff_t width;          ///< columns of the pooled image
  int pool;                      ///< rows and columns of a window
  const T* above;                ///< pooled image
  const unsigned char* winners;  ///< winners of its units
  std::ptrdiff_t stride;         ///< distance from one window to the next
  T* signals;   ///< result: the units; its size is that of the image and `lanes` more
  int* places;  ///< result: the channel of each, of the same size
  std::ptrdiff_t*
      begin;  ///< result: where each list begins; the last entry is the end of the last list
};

/// Products of the winners in one row of positions with one row of a convolution kernel, added to one row of the image
/// below: out[x stride - padding + j dilation] += sum over the list of x of signal * packed[j][place], for a panel of
/// channels. Columns outside the image are left out.
template <class T>
struct WinnersRow {
  std::ptrdiff_t rows;          ///< channels below, at most a panel
  std::ptrdiff_t positions;     ///< positions above
  const std::ptrdiff_t* begin;  ///< lists of the positions (see WinnerLists)
  const T* signals;             ///< signals of all lists
  const int* places;            ///< channels above of all lists
  const T* packed;              ///< packed weights of each tap, (rows, channels above)
  std::ptrdiff_t packed_step;   ///< distance from one tap to the next
  std::ptrdiff_t packed_width;  ///< distance from one channel above to the next
  std::ptrdiff_t taps;          ///< taps of the kernel row
  std::ptrdiff_t stride;        ///< horizontal stride
  std::ptrdiff_t padding;       ///< horizontal padding
  std::ptrdiff_t dilation;      ///< horizontal dilation
  std::ptrdiff_t width;         ///< columns of the image below
  T* out;                       ///< first column of the row below
  std::ptrdiff_t out_stride;    ///< distance from one column below to the next
};

/// Sum of parts of an image at listed places: out[r] += sum over the list of signal * u[r][place], for `rows` rows.
/// Whole vectors of u are read: up to `lanes` numbers beyond a row's end.
template <class T>
struct PatchSum {
  std::ptrdiff_t count;     ///< length of the list
  const T* signals;         ///< its signals
  const int* places;        ///< its places, offsets in u
  std::ptrdiff_t rows;      ///< rows of the sum
  std::ptrdiff_t depth;     ///< numbers of a row, contiguous in u and in out
  const T* u;               ///< image
  std::ptrdiff_t u_step;    ///< distance in u from one row to the next
  T* out;                   ///< sum
  std::ptrdiff_t out_step;  ///< distance in out from one row to the next
};

/// Function pointers of one instruction set. All matrices are column-major with one contiguous column per sample.
/// Kernels allocate nothing and require no alignment; packed weights are read fastest from a multiple of 64 bytes. The
/// bits of a sample depend neither on the number of samples nor on its position among them.
template <class T>
struct Kernels {
  /// Returns how many numbers the packed form of a (rows, depth) matrix takes.
  std::ptrdiff_t (*packed_size)(std::ptrdiff_t rows, std::ptrdiff_t depth);
  /// packed = scale * w, or scale * w^T if `transposed`, where w is (depth, rows). `scale` is the gain of the
  /// neighbour's signal.
  void (*pack)(const T* w, std::ptrdiff_t stride, bool transposed, std::ptrdiff_t rows,
               std::ptrdiff_t depth, T scale, T* packed);
  /// Returns true if a layer of `rows` units, with neighbours of `depth` units in total, is faster with weights from
  /// `pack_by_rows`.
  bool (*by_rows)(std::ptrdiff_t rows, std::ptrdiff_t depth);
  /// Packs like `pack`, but in the layout for a layer with few units, which takes packed_size(depth, rows) numbers.
  void (*pack_by_rows)(const T* w, std::ptrdiff_t stride, bool transposed, std::ptrdiff_t rows,
                       std::ptrdiff_t depth, T scale, T* packed);
  /// Computes a layer step.
  void (*accumulate)(const LayerStep<T>& step);
  /// Raises largest[j] to the largest entry of sample j in LayerStep::change.
  void (*largest_change)(std::ptrdiff_t samples, const T* change, T* largest);
  /// Returns the largest |in[i]|, or 0 if count is 0. NaN counts as larger than any number.
  T (*largest_size)(std::ptrdiff_t count, const T* in);
  /// Returns sum_i a[i] b[i].
  T (*inner)(std::ptrdiff_t count, const T* a, const T* b);
  /// Takes a step of conjugate gradients.
  void (*follow)(std::ptrdiff_t count, ConjugateStep<T>& step);
  /// Updates the search direction of conjugate gradients: p = z + beta p.
  void (*turn)(std::ptrdiff_t count, T beta, const T* z, T* p);
  /// Takes a step of Adam along the gradient g; all arrays are (count,). Square roots and quotients are correctly
  /// rounded, so the result does not depend on the instruction set.
  void (*adam)(std::ptrdiff_t count, const AdamNumbers<T>& numbers, const T* g, T* theta, T* mean,
               T* square);
  std::ptrdiff_t lanes;  ///< number of vector lanes, the rows of LayerStep::change

  /// out[i] = e^in[i], with an error of at most 1.25 ulp, also for subnormal results. In this function and the next
  /// two, `out` may be `in`, a NaN stays NaN, and out[i] depends on in[i] alone.
  void (*exp)(std::ptrdiff_t count, const T* in, T* out);
  /// out[i] = tanh(in[i]), with an error of at most 2 ulp. The function is odd, including the sign of zero.
  void (*tanh)(std::ptrdiff_t count, const T* in, T* out);
  /// out[i] = 1 / (1 + e^-x) with x = gain * (in[i] - shift) as rounded; the error is at most 1.75 ulp, also for
  /// subnormal results.
  void (*logistic)(std::ptrdiff_t count, T gain, T shift, const T* in, T* out);

  /// Pools one row of windows.
  void (*pool)(const PoolRow<T>& row);
  /// Lists the winners that are not zero.
  void (*list_winners)(const WinnerLists<T>& lists);
  /// Adds products of one row of winners, in the order of their positions and of their places in the lists.
  void (*add_winners)(const WinnersRow<T>& row);
  /// Adds parts of an image, in the order of the list.
  void (*add_patches)(const PatchSum<T>& sum);
};

}  // namespace equiprop
