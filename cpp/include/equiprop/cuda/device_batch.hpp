#pragma once
/// A mini-batch in the memory of a CUDA device: the Batch of second_phase/batch.hpp.

#include <memory>

#include "equiprop/cuda/errors.hpp"
#include "equiprop/model/any_model.hpp"
#include "equiprop/model/hopfield.hpp"
#include "equiprop/second_phase/batch.hpp"

namespace equiprop::cuda {

/// Returns why no kernel can run here, in one sentence, or an empty text if it can.
EQUIPROP_EXPORT std::string why_unavailable();

/// Division of launches among blocks; results do not depend on it. 0 chooses.
struct Division {
  int cluster = 0;  ///< blocks that relax a tile of samples together
  int tile = 0;     ///< samples of a tile: 1, 4 or 8
  int threads = 0;  ///< threads of a block that relaxes: a multiple of 32, at most 512
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
  /// InvalidArgument if the kernels do not support the network, DeviceError if there is no device, OutOfDeviceMemory.
  DeviceBatch(const HopfieldNetwork<T>& network, Index most, const Division& division = {});
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

  Index samples() const { return static_cast<Index>(cost_->batch()); }  ///< number of samples
  bool conservative() const;                                            ///< see EnergyInterface

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
  std::optional<AnyCost<T>> cost_;
  PerSample<T> weights_;
  std::vector<Report> phases_;  // of the last relaxation into each slot
  Report report_;
};

extern template class DeviceBatch<float>;
extern template class DeviceBatch<double>;

}  // namespace equiprop::cuda
