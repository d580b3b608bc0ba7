#pragma once
/// The derivatives of a Hopfield energy with respect to its parameters, block by block, as terms for a sink.

#include "equiprop/base/spare_states.hpp"
#include "equiprop/model/energy_interface.hpp"
#include "equiprop/model/hopfield_fields.hpp"

namespace equiprop {

/// Computes dE/dW = -u_target u_source^T and dE/db = -u of several states, and their derivatives along a direction v of
/// the state. States are (units, batch).
template <Scalar S>
class EQUIPROP_EXPORT HopfieldTerms {
 public:
  /// Shares the fields and their scratch memory.
  explicit HopfieldTerms(std::shared_ptr<HopfieldFields<S>> fields) : fields_(std::move(fields)) {}

  /// Hands sum_k weights_k sum_batch dE/dtheta(states_k) to a sink; see EnergyInterface. For couplings from the input,
  /// the signals of all states are summed first; for the others, one pass per coupling covers all states. If weights
  /// of the `samples` (batch,) are given, they scale the signals of the targets.
  ///@{
  bool contrast(std::span<const State<S>> states, std::span<const S> weights,
                const PerSample<RealOf<S>>* samples, ParameterSink<S>& sink);
  void parameter_gradient(const ConstStateRef<S>& s, S weight, ParameterSink<S>& sink);
  ///@}
  /// Hands weight sum_batch <v, d2E/dtheta ds> to a sink; see EnergyInterface. The two products of tied weights are
  /// added in one pass.
  bool mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                        ParameterSink<S>& sink);

 private:
  /// A state and its weight in a sum.
  struct Term {
    ConstStateRef<S> state;
    S weight;
    const State<S>* scaled =
        nullptr;  ///< signals times the weights of the samples, if they have any
  };

  const BoundNetwork<S>& network() const { return fields_->network(); }
  void prepare_contrast(std::span<Term> terms, const PerSample<RealOf<S>>* samples);
  void scale_signals(std::span<Term> terms, const PerSample<RealOf<S>>& samples);
  void sum_signals(std::span<const Term> terms);
  void show_contrast(std::span<const Term> terms, ParameterSink<S>& sink);
  void prepare_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight);
  void show_mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                             ParameterSink<S>& sink);
  void show_biases(ParameterSink<S>& sink);
  template <class Show>
  bool give(ParameterSink<S>& sink, const Show& show);

  Signal<S> weighted_signal(std::size_t layer, std::span<const Term> terms, std::size_t k) const;
  Signal<S> summed_signal(std::size_t layer, std::span<const Term> terms) const;
  ParametersRef<S> bias_gradient(std::size_t layer);

  std::shared_ptr<HopfieldFields<S>> fields_;
  std::vector<Term> terms_;
  std::vector<State<S>> signals_;  // signals of each state
  KeptStates<S> scaled_;           // signals of each state times the weights of the samples
  std::shared_ptr<State<S>> sum_;  // weighted sum of the signals of several states
  Parameters<S> biases_;           // derivative with respect to the biases, (units,)
  std::vector<EdgeSignals<S>> edge_terms_;
  State<S> x_;
};

extern template class HopfieldTerms<float>;
extern template class HopfieldTerms<double>;
extern template class HopfieldTerms<Complex>;
extern template class HopfieldTerms<Dual<double>>;

}  // namespace equiprop
