#pragma once
/// The Hopfield energy on a graph of layers and couplings.
///
///   E(theta, x, s) = sum_k leak(s_k) - sum_edges <u_a, W u_b> - sum_k <b_k, u_k>,  u_k = signal(s_k)
///
/// with u_0 = x for the clamped input (Scellier & Bengio 2019, eq. 2; units.hpp for both published
/// leaks). Derivatives, with p_k = b_k + sum_edges W u the drive of layer k:
///
///   dE/ds          leak'(s) - signal'(s) p
///   d2E/ds2 . v    leak''(s) v - signal''(s) p v - signal'(s) (M (signal'(s) v)),  M v: inner pulls
///   dE/dW, dE/db   -u_a u_b^T,  -u_b
///
/// With separate feedback M is not symmetric: dE/ds above is then minus the velocity of a vector field
/// (Scellier et al. 2018), E itself is not defined, and M^T takes the place of M in the transpose.

#include <memory>

#include "equiprop/model/hopfield_relaxation.hpp"
#include "equiprop/model/hopfield_terms.hpp"

namespace equiprop {

/// A network with its input fixed. The input's drive and the packed weights are computed when it is made: change the
/// parameters, then clamp again, anew or in place. It owns what it refers to, and its parameters are the network's own
/// memory, also where its states are dual or complex and its weights are real. With separate feedback weights it is a
/// vector field: its energies are NaN, and derivatives of E by the parameters throw InvalidArgument.
template <Scalar S>
class EQUIPROP_EXPORT ClampedHopfield final : public EnergyInterface<S>,
                                              private InputDerivatives<S>,
                                              private Selection<S> {
 public:
  /// HopfieldNetwork::clamp makes one. Throws InvalidArgument unless x is (inputs, batch) and all parameters are finite.
  ClampedHopfield(std::shared_ptr<const Topology> topology,
                  std::shared_ptr<const Parameters<WeightOf<S>>> parameters,
                  const ConstStateRef<S>& x);
  /// A copy has scratch memory of its own and shares all else.
  ///@{
  ClampedHopfield(const ClampedHopfield& other) : ClampedHopfield(other.input_) {}
  ClampedHopfield& operator=(const ClampedHopfield& other);
  ///@}

  /// Fixes another input of the same shape and takes the parameters as they are now, in the memory of the old ones:
  /// copies share it, and so do ranges of samples, in whatever energy or solver they were put. Throws InvalidArgument
  /// if the shape is another, and where a parameter is not finite: then reclamp before any other use.
  void reclamp(const ConstStateRef<S>& x) { input_->reclamp(x); }
  /// max |x| of the clamped input, of real scalars; NaN if a number is NaN.
  double largest_input() const { return input_->largest_size(); }
  /// The network with these samples of its input.
  ClampedHopfield select(Samples which) const;

  /// See EnergyInterface.
  ///@{
  Index num_units() const override { return topology().state().size(); }
  Index num_outputs() const override { return topology().num_outputs(); }
  Index num_parameters() const override { return topology().parameters().size(); }
  bool conservative() const override { return topology().feedback() == Feedback::tied; }
  void energy(const ConstStateRef<S>& s, PerSample<S>& out) const override;
  void gradient(const ConstStateRef<S>& s, StateRef<S> out) const override;
  void hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                              StateRef<S> out) const override;
  void transposed_hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                         StateRef<S> out) const override;
  void parameter_gradient(const ConstStateRef<S>& s, S weight,
                          ParametersRef<S> grad) const override;
  void mixed_derivative_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                                ParametersRef<S> grad) const override;
  bool contrast(std::span<const State<S>> states, std::span<const S> weights,
                ParameterSink<S>& sink) const override;
  bool mixed_derivative(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                        ParameterSink<S>& sink) const override;
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                       StateRef<S> out) const override;
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S> out) const override;
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S> out) const override;
  void project(StateRef<S> s) const override { relaxation_.project(s); }
  const InputDerivatives<S>* input_derivatives() const override { return this; }
  const BlockUpdates<S>* block_updates() const override {
    return topology().has_block_update() ? &relaxation_ : nullptr;
  }
  const OnePassResidual<S>* one_pass_residual() const override {
    return input_->network().plan() != nullptr ? &relaxation_ : nullptr;
  }
  const Selection<S>* selection() const override { return this; }
  ///@}

 private:
  explicit ClampedHopfield(std::shared_ptr<ClampedInput<S>> input);
  const Topology& topology() const { return input_->network().topology(); }

  Index num_inputs() const override { return topology().num_inputs(); }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const override;
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const override;
  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override;
  bool separable() const override { return input_->network().plan() != nullptr; }

  std::shared_ptr<ClampedInput<S>> input_;
  std::shared_ptr<HopfieldFields<S>> fields_;  // its scratch serves the relaxation too
  HopfieldRelaxation<S> relaxation_;
  mutable HopfieldTerms<S> terms_;
};

/// Layers, couplings, and the parameters, which copies share.
template <std::floating_point S>
class EQUIPROP_EXPORT HopfieldNetwork {
 public:
  using Scalar = S;  ///< of the parameters

  /// Parameters are 0 until initialize() or load(). Throws InvalidArgument as Topology does.
  HopfieldNetwork(std::vector<Layer> layers, std::vector<Coupling> couplings,
                  Potential potential = Potential::legendre, Feedback feedback = Feedback::tied)
      : topology_(std::make_shared<const Topology>(std::move(layers), std::move(couplings),
                                                   potential, feedback)),
        parameters_(
            std::make_shared<Parameters<S>>(Parameters<S>::Zero(topology_->parameters().size()))) {}

  /// The graph.
  const Topology& topology() const { return *topology_; }
  /// The flat vector theta; writable, and shared with every energy clamped from this network.
  ///@{
  Parameters<S>& parameters() { return *parameters_; }
  const Parameters<S>& parameters() const { return *parameters_; }
  ///@}

  /// Weights uniform on +-gain sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010), biases zero. The
  /// numbers depend on the seed alone, not on the scalar type. Separate feedback weights start equal to
  /// the forward ones. With gain 1 the largest singular value
  /// of a layer's weights exceeds 1, and a network with linear units excites itself; with 1/2 it
  /// usually relaxes to one fixed point.
  void initialize(std::uint64_t seed, double gain = 0.5);

  /// Fixes the input x (inputs, batch) and computes its drive, once.
  ClampedHopfield<S> clamp(const ConstStateRef<S>& x) const { return {topology_, parameters_, x}; }
  /// The same with states of another scalar T that holds S: the parameters are shared, not copied.
  template <class T>
  ClampedHopfield<T> clamp_as(const ConstStateRef<S>& x) const {
    return {topology_, parameters_, x.template cast<T>()};
  }
  /// The state a free phase starts from unless told otherwise, (units, batch).
  State<S> initial_state(Index batch) const;
  /// The same in place.
  void rest(StateRef<S> s) const;
  /// The same network on another scalar; the parameters are copied.
  template <class T>
  HopfieldNetwork<T> cast() const {
    HopfieldNetwork<T> other(topology_->layers(), topology_->couplings(), topology_->potential(),
                             topology_->feedback());
    other.parameters() = parameters_->template cast<T>();
    return other;
  }

 private:
  std::shared_ptr<const Topology> topology_;
  std::shared_ptr<Parameters<S>> parameters_;
};

extern template class HopfieldNetwork<float>;
extern template class HopfieldNetwork<double>;
extern template class ClampedHopfield<float>;
extern template class ClampedHopfield<double>;
extern template class ClampedHopfield<Complex>;
extern template class ClampedHopfield<Dual<double>>;

}  // namespace equiprop
