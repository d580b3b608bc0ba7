#include "equiprop/model/symmetrized.hpp"

namespace equiprop {

template <class S>
Symmetrized<S>::Symmetrized(const AnyEnergy<S>& energy, State<S> s_star)
    : EnergyDecorator<S>(std::make_shared<AnyEnergy<S>>(energy)),
      s_star_(std::move(s_star)),
      distance_(s_star_),
      product_(s_star_) {}

template <class S>
void Symmetrized<S>::gradient(const ConstStateRef<S>& s, StateRef<S> out) const {
  model().gradient(s, out);
  copy_to(distance_, s - s_star_);
  add_turn(distance_, 1, out);
}

template <class S>
void Symmetrized<S>::hessian_vector_product(const ConstStateRef<S>& s, const ConstStateRef<S>& v,
                                            StateRef<S> out) const {
  model().hessian_vector_product(s, v, out);
  add_turn(v, 1, out);
}

template <class S>
void Symmetrized<S>::transposed_hessian_vector_product(const ConstStateRef<S>& s,
                                                       const ConstStateRef<S>& v,
                                                       StateRef<S> out) const {
  model().transposed_hessian_vector_product(s, v, out);
  add_turn(v, -1, out);
}

template <class S>
void Symmetrized<S>::fixed_point_map(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                     StateRef<S> out) const {
  model().fixed_point_map(s, with_turn(s, nudge), out);
}

template <class S>
void Symmetrized<S>::mobility(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                              StateRef<S> out) const {
  model().mobility(s, with_turn(s, nudge), out);
}

template <class S>
void Symmetrized<S>::transposed_map_product(const ConstStateRef<S>& s, const Nudge<S>& nudge,
                                            const ConstStateRef<S>& v, StateRef<S> out) const {
  State<S> response(s.rows(), s.cols());
  mobility(s, nudge, response);
  response.array() *= v.array();
  model().transposed_map_product(s, with_turn(s, nudge), v, out);
  add_turn(response, 1, out);
}

template <class S>
const Selection<S>* Symmetrized<S>::selection() const {
  return model().selection() != nullptr ? this : nullptr;
}

template <class S>
std::shared_ptr<const EnergyInterface<S>> Symmetrized<S>::part(Samples which) const {
  return std::make_shared<Symmetrized>(AnyEnergy<S>(model().selection()->part(which)),
                                       columns_of<S>(s_star_, which));
}

/// Returns the nudge plus the force -(H^T - H)(s - s*).
template <class S>
const Nudge<S>& Symmetrized<S>::with_turn(const ConstStateRef<S>& s, const Nudge<S>& nudge) const {
  copy_to(distance_, s - s_star_);
  fill(nudge_.force, 0, s.rows(), s.cols());
  StateRef<S> force(nudge_.force);
  add_turn(distance_, -1, force);
  if (nudge.force.size() > 0) force.bottomRows(nudge.force.rows()) += nudge.force;
  copy_to(nudge_.stiffness, nudge.stiffness);
  return nudge_;
}

/// Adds sign (H^T - H) v to out.
template <class S>
void Symmetrized<S>::add_turn(const ConstStateRef<S>& v, int sign, StateRef<S>& out) const {
  model().transposed_hessian_vector_product(s_star_, v, product_);
  out += S(sign) * product_;
  model().hessian_vector_product(s_star_, v, product_);
  out -= S(sign) * product_;
}

template class Symmetrized<float>;
template class Symmetrized<double>;
template class Symmetrized<Complex>;
template class Symmetrized<Dual<double>>;

}  // namespace equiprop
