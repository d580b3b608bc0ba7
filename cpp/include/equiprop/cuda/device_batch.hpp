#pragma once
/// A mini-batch in the memory of a CUDA device: the Batch of second_phase/batch.hpp.

#include <memory>

#include "equiprop/cuda/errors.hpp"
#include "equiprop/cuda/precision.hpp"
#include "equiprop/cuda/run.hpp"
#include "equiprop/model/any_model.hpp"
#include "equiprop/model/hopfield.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop::cuda {

/// Returns why no kernel can run here, in one sentence, or an empty text if it can.
EQUIPROP_EXPORT std::string why_unavailable();

/// Returns the free memory of the device, in bytes. Throws DeviceError.
EQUIPROP_EXPORT std::size_t free_memory();

/// Division of launches among blocks; results do not depend on it. 0 chooses.
struct Division {
  int cluster = 0;  ///< blocks that relax a tile of samples together
  int tile = 0;     ///< samples of a tile: 1, 4 or 8
  int threads = 0;  ///< threads of a block that relaxes: a multiple of 32, at most 512
  int side = 0;     ///< rows and columns of a tile of a product: 32, 64 or, in float32, 128
};

template <class T>
class Engine;

/// Parameters and one mini-batch of a network on a device. All phases run there; states stay there unless they are read.
/// One thread at a time uses an object. Every function throws DeviceError if the device fails.
///
/// Supported are dense couplings of different layers, convolutions with mean pooling or the maximum over windows of up to
/// 8 x 8 positions, identities, all activations, both potentials and separate feedback weights; solvers without acceleration; ConjugateGradient for RBP. Other choices throw InvalidArgument.
template <std::floating_point T>
class EQUIPROP_EXPORT DeviceBatch {
 public:
  using Scalar = T;  ///< scalar of states

  /// Copies the parameters to the device and allocates memory for batches of up to `most` samples. Throws
  /// InvalidArgument if the kernels do not support the network, or for float64 with another precision than exact,
  /// DeviceError if there is no device, OutOfDeviceMemory.
  DeviceBatch(const HopfieldNetwork<T>& network, Index most, const Division& division = {},
              Precision precision = Precision::exact);
  ~DeviceBatch();
  DeviceBatch(DeviceBatch&&) noexcept;             ///< takes the memory of another batch
  DeviceBatch& operator=(DeviceBatch&&) noexcept;  ///< takes the memory of another batch

  /// Copies the parameters (parameters,) to or from the device.
  ///@{
  void upload(const ConstParametersRef<T>& theta);
  void download(ParametersRef<T> theta) const;
  ///@}
  /// Starts a mini-batch of inputs x (inputs, batch) in the image format of the network, with targets y (outputs, batch). A logit
  /// scale of 0 is the squared error, another one the cross-entropy.
  void clamp(const ConstStateRef<T>& x, const ConstStateRef<T>& y, double logit_scale = 0);
  /// Starts a mini-batch whose inputs x (inputs, samples) are in the memory of the device; see above. They are copied
  /// there, after the work that `follow` names; the function returns when they are.
  void clamp_there(const T* x, Index samples, const ConstStateRef<T>& y, double logit_scale = 0);
  /// Lets all further work wait for the present work of another stream (cudaStream_t).
  void follow(void* stream);
  void* stream() const;  ///< the stream of all work
  void wait() const;     ///< waits for all work
  /// Returns true if all numbers of an array on the device are finite.
  bool all_finite(const T* numbers, Index count);
  /// Sets the weights of the samples, (batch,); see AnyCost::weighted. Empty weights are 1.
  void set_sample_weights(const PerSample<T>& weights);
  /// Relaxes E into a slot, from rest or from the state in slot `from`. The report is valid until the next call.
  const Report& relax_free(const Solver& solver, Slot to, std::optional<Slot> from = {});
  /// Relaxes E + beta C for all nodes of a rule side by side, from slot `from` into the slots from `first` on, and merges
  /// their reports into `report`.
  void relax_all(const NudgingRule<T>& rule, const Solver& solver, Slot from, Slot first,
                 Report& report);
  /// Takes the optimiser's step along the last contrast or mixed derivative on the device. The averages stay there.
  ///@{
  void descend(const BlockRates<T>& rates, T momentum, T decay);
  void descend(const BlockRates<T>& rates, const AdamStep<T>& step);
  ///@}

  /// Copies the averages of the optimiser (parameters,) to the device: the velocity, or mean and mean square; empty for
  /// one that there is not.
  void write_averages(const ConstParametersRef<T>& first, const ConstParametersRef<T>& second);
  /// Copies samples to the device, in place of earlier ones; none frees the memory. Throws OutOfDeviceMemory.
  void hold(const HeldSamples<T>& samples);
  /// Takes training steps on samples that are held, by their numbers `samples`. The host waits once, at the end. A step that
  /// is not taken changes nothing, nor do those after it; see Stop. `mean` (parameters,) is the average of the parameters
  /// before the run, or empty. The batch is that of the last step afterwards, without the
  /// targets that `objective` needs.
  RunResult<T> run(const RunSettings<T>& settings, std::span<const RunStep<T>> steps,
                   std::span<const int> samples, RunState& state,
                   const ConstParametersRef<T>& mean);
  /// Returns the reports of the last step of a run.
  RunReports reports() const;

  Index samples() const { return samples_; }  ///< number of samples
  bool conservative() const;                  ///< see EnergyInterface

  /// See Batch. `refine` estimates the error of the gradient from the states, and relaxes no phase further.
  ///@{
  void aim(const NudgingRule<T>&, Slot) {}
  const Report& relax(const Solver& solver, T beta, Slot from, Slot to);
  void refine(const NudgingRule<T>& rule, Slot first, Report& report);
  const Report& solve(const LinearSolver& solver, Slot at, Slot lambda);
  void displacement(Slot to, Slot first, Slot from, std::span<const T> weights);
  bool contrast(Slot first, std::span<const T> weights, ParameterSink<T>& sink);
  bool mixed(Slot at, Slot v, T weight, ParameterSink<T>& sink);
  void mark_contrast(Slot first, std::span<const T> weights, Report& report) const;
  void mark_mixed(Slot at, Slot v, T weight, Report& report) const;
  void input_contrast(Slot first, std::span<const T> weights, StateRef<T> out);
  void mixed_input(Slot at, Slot v, T weight, StateRef<T> out);
  T objective(Slot slot) const;
  void write(Slot slot, const ConstStateRef<T>& s);
  void read(Slot slot, StateRef<T> s) const;
  ///@}

 private:
  bool deliver(ParameterSink<T>& sink);
  void mark_large(Slot first, Slot last, Report& report) const;

  std::unique_ptr<Engine<T>> engine_;
  Topology topology_;
  Index samples_ = 0, held_ = 0;  // of the batch, and of the data that are held
  std::optional<AnyCost<T>> cost_;
  PerSample<T> weights_;
  std::vector<Report> phases_;  // of the last relaxation into each slot
  Report report_;
};

extern template class DeviceBatch<float>;
extern template class DeviceBatch<double>;

}  // namespace equiprop::cuda
