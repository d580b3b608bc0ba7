#pragma once
/// The Hopfield energy on a graph of layers and couplings.
///
///   E(theta, x, s) = sum_k leak(s_k) - sum_edges <u_a, W u_b> - sum_k <b_k, u_k>,  u_k = signal(s_k)
///
/// with u_0 = x for the clamped input (Scellier & Bengio 2019, eq. 2; both published leaks are in units.hpp). With the
/// drive p_k = b_k + sum_edges W u of layer k, the derivatives are
///
///   dE/ds          leak'(s) - signal'(s) p
///   d2E/ds2 . v    leak''(s) v - signal''(s) p v - signal'(s) (M (signal'(s) v)),  M v: inner pulls
///   dE/dW, dE/db   -u_a u_b^T,  -u_b
///
/// With separate feedback M is not symmetric: dE/ds above is then minus the velocity of a vector field (Scellier et al.
/// 2018), E is not defined, and transposed products use M^T.

#include <memory>
#include <optional>

#include "equiprop/model/hopfield_relaxation.hpp"
#include "equiprop/model/hopfield_terms.hpp"
#include "equiprop/model/scaling.hpp"

namespace equiprop {

/// A network with a fixed input. The constructor computes the drive of the input and packs the weights: after a change
/// of the parameters, clamp again or call `reclamp`. The object owns all that it refers to and shares the memory of the
/// network's parameters, which are real also if the states are dual or complex. With separate feedback weights it is a
/// vector field: energies are NaN, and derivatives of E with respect to the parameters throw InvalidArgument.
template <Scalar S>
class EQUIPROP_EXPORT ClampedHopfield final : public EnergyInterface<S>,
                                              private InputDerivatives<S>,
                                              private WeightedContrast<S>,
                                              private Selection<S> {
 public:
  /// Clamps the input; HopfieldNetwork::clamp calls it. Throws InvalidArgument unless x is (inputs, batch) and all
  /// parameters are finite.
  ClampedHopfield(std::shared_ptr<const Topology> topology,
                  std::shared_ptr<const Parameters<WeightOf<S>>> parameters,
                  const ConstStateRef<S>& x);
  /// Copies share everything except scratch memory.
  ///@{
  ClampedHopfield(const ClampedHopfield& other) : ClampedHopfield(other.input_) {}
  ClampedHopfield& operator=(const ClampedHopfield& other);
  ///@}

  /// Replaces the input by x of the same shape and reads the present parameters, in place. Copies and ranges of samples
  /// share that memory, also those inside other energies or solvers. Throws InvalidArgument if the shape differs or a
  /// parameter is not finite; then reclamp again before any other use.
  void reclamp(const ConstStateRef<S>& x) { input_->reclamp(x); }
  /// Returns max |x| of the clamped input, for real scalars; NaN if a number is NaN.
  double largest_input() const { return input_->largest_size(); }
  /// Returns the network clamped to these samples of its input.
  ClampedHopfield select(Samples which) const;

  /// See EnergyInterface.
  ///@{
  Index num_units() const override { return topology().state().size(); }
  Index num_outputs() const override { return topology().num_outputs(); }
  Index num_parameters() const override { return topology().parameters().size(); }
  Index num_samples() const override { return input_->batch(); }
  std::span<const Block> layers() const override { return topology().state().blocks(); }
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
  const BlockUpdates<S>* block_updates() const override { return &relaxation_; }
  const OnePassResidual<S>* one_pass_residual() const override {
    return input_->network().plan() != nullptr ? &relaxation_ : nullptr;
  }
  const WeightedContrast<S>* sample_weighting() const override { return this; }
  const Selection<S>* selection() const override { return this; }
  ///@}

 private:
  explicit ClampedHopfield(std::shared_ptr<ClampedInput<S>> input);
  const Topology& topology() const { return input_->network().topology(); }

  Index num_inputs() const override { return topology().num_inputs(); }
  void input_gradient(const ConstStateRef<S>& s, S weight, StateRef<S> out) const override;
  void mixed_input_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v, S weight,
                           StateRef<S> out) const override;
  void add_inhomogeneous(const ConstStateRef<S>& s, PerSample<S>& out) const;
  bool weighted_contrast(std::span<const State<S>> states, std::span<const S> weights,
                         const PerSample<RealOf<S>>& samples,
                         ParameterSink<S>& sink) const override;
  std::shared_ptr<const EnergyInterface<S>> part(Samples which) const override;
  bool separable() const override { return input_->network().plan() != nullptr; }

  std::shared_ptr<ClampedInput<S>> input_;
  std::shared_ptr<HopfieldFields<S>>
      fields_;  // its scratch memory serves relaxation_ and terms_ too
  HopfieldRelaxation<S> relaxation_;
  mutable HopfieldTerms<S> terms_;
};

/// A network: layers, couplings and parameters. Copies share the parameters.
template <std::floating_point S>
class EQUIPROP_EXPORT HopfieldNetwork {
 public:
  using Scalar = S;  ///< scalar of the parameters

  /// Creates a network whose parameters are 0. Throws InvalidArgument unless layers and couplings form a valid graph
  /// (see Topology).
  HopfieldNetwork(std::vector<Layer> layers, std::vector<Coupling> couplings,
                  Potential potential = Potential::legendre, Feedback feedback = Feedback::tied)
      : HopfieldNetwork(Topology(std::move(layers), std::move(couplings), potential, feedback)) {}
  /// Creates a network on a graph, whose parameters are 0.
  explicit HopfieldNetwork(Topology topology)
      : topology_(std::make_shared<const Topology>(std::move(topology))),
        parameters_(
            std::make_shared<Parameters<S>>(Parameters<S>::Zero(topology_->parameters().size()))) {}

  /// Returns the graph.
  const Topology& topology() const { return *topology_; }
  /// Returns the flat parameter vector theta, (parameters,). It can be modified and is shared with every energy that
  /// was clamped from this network.
  ///@{
  Parameters<S>& parameters() { return *parameters_; }
  const Parameters<S>& parameters() const { return *parameters_; }
  ///@}

  /// Returns the scaling of the raw inputs that the network was trained on, or nothing if none is known. It is saved
  /// with the network. `clamp` takes scaled inputs:
  ///
  ///   network.clamp(network.scaling()->apply<float>(raw))
  const std::optional<Scaling>& scaling() const { return scaling_; }
  /// Sets the scaling. Throws InvalidArgument if it is for another number of inputs.
  void set_scaling(std::optional<Scaling> scaling);

  /// Sets weights uniform on +-gain sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010) and biases to zero. The numbers
  /// depend on the seed, not on the scalar type. Separate feedback weights start equal to the forward ones, and weights
  /// within a layer symmetric with a zero diagonal (LateralWeights). With gain 1
  /// the largest singular value of a layer's weights exceeds 1, and a network with linear units is unstable; with gain
  /// 1/2 it usually relaxes to one fixed point.
  void initialize(std::uint64_t seed, double gain = 0.5);

  /// Fixes the input x (inputs, batch) and computes its drive.
  ClampedHopfield<S> clamp(const ConstStateRef<S>& x) const { return {topology_, parameters_, x}; }
  /// Fixes the input x (inputs, batch), with states of another scalar T that can hold numbers of S; the parameters are
  /// shared, not copied.
  template <class T>
  ClampedHopfield<T> clamp_as(const ConstStateRef<S>& x) const {
    return {topology_, parameters_, x.template cast<T>()};
  }
  /// Returns the default start state of a free phase, (units, batch).
  State<S> initial_state(Index batch) const;
  /// Stores the default start state of a free phase in s, (units, batch).
  void rest(StateRef<S> s) const;
  /// Returns a copy of the network with another scalar; the parameters are converted.
  template <class T>
  HopfieldNetwork<T> cast() const {
    HopfieldNetwork<T> other(*topology_);
    other.parameters() = parameters_->template cast<T>();
    other.set_scaling(scaling_);
    return other;
  }

 private:
  std::shared_ptr<const Topology> topology_;
  std::shared_ptr<Parameters<S>> parameters_;
  std::optional<Scaling> scaling_;
};

extern template class HopfieldNetwork<float>;
extern template class HopfieldNetwork<double>;
extern template class ClampedHopfield<float>;
extern template class ClampedHopfield<double>;
extern template class ClampedHopfield<Complex>;
extern template class ClampedHopfield<Dual<double>>;

}  // namespace equiprop
