#pragma once
/// The relaxation of a clamped network: fixed-point map, exact block updates, and residual.

#include "equiprop/model/energy_interface.hpp"
#include "equiprop/model/hopfield_fields.hpp"

namespace equiprop {

/// Implements T(s), the response of each layer to its drive at s. See EnergyInterface for the functions. A block update
/// is exact for layers with linear signals; on other layers, and on layers with couplings within, it is a descent
/// (Units::descend, Units::damping).
template <Scalar S>
class EQUIPROP_EXPORT HopfieldRelaxation final : public BlockUpdates<S>, public OnePassResidual<S> {
 public:
  /// Shares the fields and their scratch memory.
  explicit HopfieldRelaxation(std::shared_ptr<HopfieldFields<S>> fields)
      : fields_(std::move(fields)) {}

  /// See EnergyInterface.
  ///@{
  void fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S>& out) const;
  void mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge, StateRef<S>& out) const;
  void transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              const ConstStateRef<S>& v, StateRef<S>& out) const;
  void project(StateRef<S>& s) const;
  ///@}

  /// See BlockUpdates and OnePassResidual.
  ///@{
  Index num_blocks() const override;
  Index output_block() const override;
  bool holds(Index block, Index unit) const override;
  std::vector<Rows> carried(Index first) const override;
  void block_update(Index block, const Nudge<S>& nudge, StateRef<S> s,
                    PerSample<RealOf<S>>* change) const override;
  bool has_block_hessian() const override {
    return fields_->multiplies_in_kernel() && !network().is_coupled_within();
  }
  void block_hessian_product(Index block, const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                             StateRef<S> out) const override;
  void residual(const ConstStateRef<S>& s, const Nudge<S>& nudge, Index settled,
                PerSample<RealOf<S>>& largest) const override;
  ///@}

 private:
  enum class Update { map, descent };  // of Units::respond and Units::descend

  const BoundNetwork<S>& network() const { return fields_->network(); }
  const State<S>* force_on(std::size_t layer, const Nudge<S>& nudge) const;
  S stiffness_on(std::size_t layer, const Nudge<S>& nudge) const;
  std::optional<Response<S>> kernel_response(
      std::size_t layer, const Nudge<S>& nudge) const requires std::floating_point<S>;
  bool relax_in_kernel(std::size_t layer, const ConstStateRef<S>& signals, const Nudge<S>& nudge,
                       StateRef<S>& out, PerSample<RealOf<S>>* change) const;
  void respond(std::size_t layer, Update update, const State<S>& p, const ConstStateRef<S>& signals,
               const Nudge<S>& nudge, StateRef<S>& s) const;
  void descend_together(std::size_t layer, const State<S>& p, const ConstStateRef<S>& signals,
                        const Nudge<S>& nudge, StateRef<S>& s) const;
  void relax_layer(std::size_t layer, Update update, const ConstStateRef<S>& s,
                   const ConstStateRef<S>& signals, const Nudge<S>& nudge, StateRef<S>& out,
                   PerSample<RealOf<S>>* change = nullptr) const;
  void take_layer_drive(std::size_t layer, const ConstStateRef<S>& s,
                        const ConstStateRef<S>& signals) const;
  bool measure_in_kernel(std::size_t layer, const ConstStateRef<S>& signals,
                         const Nudge<S>& nudge) const;

  std::shared_ptr<HopfieldFields<S>> fields_;
  /// Buffers of one thread; a copy starts with empty buffers.
  struct Scratch {
    State<S> drive, response, before;
    std::vector<State<S>> layers;  // of each layer with couplings within, (units, batch)
    std::vector<State<S>> forces;  // on each layer, (units, batch)
    State<RealOf<S>> change;       // LayerStep::change, (lanes, batch)
    Scratch() = default;
    Scratch(const Scratch&) {}
    Scratch& operator=(const Scratch&) { return *this; }
  };
  mutable Scratch scratch_;
};

extern template class HopfieldRelaxation<float>;
extern template class HopfieldRelaxation<double>;
extern template class HopfieldRelaxation<Complex>;
extern template class HopfieldRelaxation<Dual<double>>;

}  // namespace equiprop
