#pragma once
/// Memory and kernels of a network on a CUDA device. This header uses neither CUDA nor Eigen, so that one of two files
/// can implement it: engine.cu, or no_cuda.cpp, which refuses everything with one sentence.

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "equiprop/cuda/errors.hpp"
#include "equiprop/cuda/precision.hpp"

namespace equiprop::cuda {

/// The activation functions of model/activation.hpp.
enum class Rho { clip, tanh, logistic, softplus };

/// The units of a layer: their number and their activation function. An image has several positions; its channels are
/// units / (height * width), and those of a position lie side by side.
struct LayerFields {
  int units = 0;
  Rho rho = Rho::clip;
  double gain = 1, shift = 0, lower = 0, upper = 0;
  int height = 1, width = 1;
};

/// A vertical and a horizontal number.
struct Pair {
  int y = 1, x = 1;
};

/// The windows of a convolution, and the pooling of its result: the mean over windows of mean_pool x mean_pool positions,
/// or the maximum over windows of max_pool x max_pool.
struct WindowFields {
  Pair kernel, stride, padding{0, 0}, dilation;
  int groups = 1, mean_pool = 1, max_pool = 1;
};

enum class CouplingKind { dense, convolution, identity };

/// A coupling of two layers; layer 0 is the input. `weights` is the index in theta of its weights, and `feedback` that of
/// the weights of the pull on the source: `weights` again if they are tied. Dense weights W (target, source) have the
/// numbers of one source side by side; those of a convolution are in C order (target channels, source channels / groups,
/// kernel height, kernel width). An identity has a gain in place of weights.
struct CouplingFields {
  int source = 0, target = 0;
  std::ptrdiff_t weights = 0, feedback = 0;
  CouplingKind kind = CouplingKind::dense;
  WindowFields windows{};
  double gain = 1;
};

/// A network as plain data.
struct NetworkFields {
  bool legendre = true;  ///< potential; see model/units.hpp
  bool tied = true;      ///< the dynamics have an energy
  bool channels_first =
      false;  ///< inputs arrive as (channels, height, width), and are put in the order of the units
  std::vector<LayerFields> layers;  ///< the input, then the free layers in the order of a state
  std::vector<CouplingFields>
      couplings;  ///< at most one dense one between two layers, none within a layer
  std::vector<std::ptrdiff_t> biases;  ///< index in theta of the biases of each free layer
  std::vector<std::vector<int>>
      blocks;                     ///< free layers, numbered from 0, that are updated together
  std::ptrdiff_t parameters = 0;  ///< number of all parameters

  /// Returns true if a free layer is an image, or a coupling is not dense.
  bool has_images() const;
};

/// The cost of the outputs, with a logit scale of 0 for the squared error.
struct CostFields {
  double logit_scale = 0;
};

/// A step of a relaxation; see solver/relax.hpp.
enum class Method { block_update, fixed_point, euler };

/// A method with its number (damping or step size) and its stopping rule; tolerance 0 takes exactly `limit` steps.
struct SolverFields {
  Method method = Method::block_update;
  double number = 0, tolerance = 0;
  int limit = 0;
};

/// The report of each sample of each phase: status as equiprop::Status, number of steps, residual, estimated error.
struct Outcome {
  std::vector<signed char> status;
  std::vector<int> iterations;
  std::vector<double> residual, error;
};

/// Division of launches; results do not depend on it. 0 chooses.
struct Cut {
  int cluster = 0;  ///< blocks that relax a tile of samples together
  int tile =
      0;  ///< samples of a tile: 1, 4 or 8; with images, small, middle or large tiles of products
  int threads = 0;  ///< threads of a block that relaxes: a multiple of 32, at most 512
  int side = 0;     ///< rows and columns of a tile of a product: 32, 64 or 128
};

/// Learning rate of the parameters from `begin` on.
struct RateFields {
  std::ptrdiff_t begin;
  double rate;
};

/// A step of an optimiser: that of MomentumStep, or, if `adam`, of AdamStep (base/update.hpp).
struct UpdateFields {
  bool adam = false;
  std::vector<RateFields> rates;  ///< ordered by `begin`, the first of which is 0; at most 64
  double momentum = 0, decay = 0;
  double beta1 = 0, beta2 = 0, epsilon = 0, correction1 = 1, correction2 = 1;
};

/// Number of states (units, batch) that an engine keeps; see Slot of second_phase/batch.hpp.
inline constexpr int slots = 10;
/// Largest number of nudged phases that are relaxed side by side.
inline constexpr int most_nodes = 8;

/// Returns why no kernel can run here, in one sentence, or an empty text if it can.
std::string why_unavailable();

/// Returns the free memory of the device, in bytes. Throws DeviceError.
std::size_t free_memory();

/// Throws InvalidArgument, with the rule, unless the kernels support a network: couplings of different layers, maxima over
/// windows of at most 8 x 8 positions, at most 12 free layers, 16 couplings of free layers and 32 with the input.
void check_supported(const NetworkFields& network);

/// Returns the bytes of device memory that an engine allocates for batches of `most` samples.
template <class T>
std::size_t memory_of(const NetworkFields& network, std::size_t most);

template <class T>
struct DataFields;
struct RunFields;
template <class T>
struct RunArrays;
struct RunState;
struct StepFields;
struct StepRecord;
struct StepReports;

/// Parameters, one mini-batch and its states in the memory of a device. One thread at a time uses an engine. All work is
/// in the order of one stream; functions that return numbers to the host wait for it. Every function throws DeviceError
/// if the device fails.
template <class T>
class Engine {
 public:
  /// Allocates the memory for batches of up to `most` samples. Throws InvalidArgument as check_supported, or if float64 is
  /// not exact, DeviceError if there is no device, and OutOfDeviceMemory.
  Engine(const NetworkFields& network, std::size_t most, const Cut& cut = {},
         Precision precision = Precision::exact);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Copies theta (parameters,) from or to the host, or other memory of the device.
  ///@{
  void upload(const T* theta);
  void download(T* theta) const;
  ///@}
  /// Clamps x (inputs, batch), in host or device memory, and computes its drive.
  void clamp(const T* x, std::size_t batch);
  /// Sets the targets y (outputs, batch) of the batch.
  void set_targets(const CostFields& cost, const T* y);
  /// Sets the weights of the samples (batch,); nullptr for 1.
  void set_weights(const T* weights);
  /// Copies a state (units, batch) into or out of a slot.
  ///@{
  void write(std::size_t slot, const T* s);
  void read(std::size_t slot, T* s) const;
  ///@}
  /// Copies the outputs (outputs, batch) of a state.
  void read_outputs(std::size_t slot, T* outputs) const;

  /// Relaxes E into a slot, from rest or from the state in slot `from`.
  Outcome relax_free(const SolverFields& solver, std::size_t to,
                     std::optional<std::size_t> from = {});
  /// Relaxes E + beta C from the state in slot `from`, for all betas side by side, into the slots from `to` on. The report
  /// has one entry per beta and sample, the samples of one beta side by side.
  Outcome relax(const SolverFields& solver, std::span<const double> betas, std::size_t from,
                std::size_t to);
  /// Solves A lambda = dC/ds at the state in slot `at` by conjugate gradients; see ConjugateGradient.
  Outcome solve(double tolerance, int limit, std::size_t at, std::size_t lambda);
  /// slot `to` = sum_k weights_k (s_k - s), s_k in the slots from `first` on, s in slot `from`.
  void displace(std::size_t to, std::size_t first, std::size_t from,
                std::span<const double> weights);

  /// Computes the gradient on the device: sum_k weights_k dE/dtheta(s_k), s_k in the slots from `first` on; or weight
  /// <v, d2E/dtheta ds> at the state in slot `at`. The weights of the samples scale their terms.
  ///@{
  void contrast(std::size_t first, std::span<const double> weights);
  void mixed(std::size_t at, std::size_t v, double weight);
  ///@}
  /// Returns true if all numbers of the gradient are finite.
  bool gradient_is_finite();
  /// Copies the gradient (parameters,).
  void read_gradient(T* gradient) const;
  /// Copies the derivative by the input that belongs to the last gradient to out (inputs, batch).
  void read_input_gradient(T* out);
  /// Takes a step along the gradient; averages begin as 0.
  void update(const UpdateFields& step);

  /// Copies the averages of an optimiser (parameters,) to the device: the velocity, or mean and mean square; nullptr for
  /// one that there is not.
  void write_averages(const T* first, const T* second);
  /// Copies samples to the device, from which steps of a run take theirs, in place of earlier ones; no samples free the
  /// memory. Throws OutOfDeviceMemory.
  void hold(const DataFields<T>& data);
  /// Takes steps on the samples `rows` of the data that are held, without a wait before the end. Steps after a Stop change
  /// nothing.
  std::vector<StepRecord> run(const RunFields& fields, std::span<const StepFields> steps,
                              std::span<const int> rows, RunState& state, const RunArrays<T>& to);
  /// Returns the reports of the samples of the last step of a run.
  StepReports reports() const;

  /// Lets all further work wait for the present work of another stream (cudaStream_t).
  void follow(void* stream);
  /// Returns true if all numbers of an array on the device are finite.
  bool all_finite(const T* numbers, std::size_t count);
  /// The stream (cudaStream_t) of all work.
  void* stream() const;
  /// Waits for all work.
  void wait() const;

 private:
  class Runner;
  struct Device;
  // The work of relax_free, relax, solve and update, without a wait.
  void start_free(const SolverFields& solver, std::size_t to, std::optional<std::size_t> from);
  void start_nudged(const SolverFields& solver, std::span<const double> betas, std::size_t from,
                    std::size_t to);
  void start_side_network(double tolerance, int limit, std::size_t at, std::size_t lambda);
  void descend(const UpdateFields& step, const RunState* run);
  std::unique_ptr<Device> device_;
};

}  // namespace equiprop::cuda
