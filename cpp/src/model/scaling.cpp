#include "equiprop/model/scaling.hpp"

#include "equiprop/base/error.hpp"

namespace equiprop {

Scaling::Scaling(Vector offset, Vector factor)
    : offset_(std::move(offset)), factor_(std::move(factor)) {
  require(valid(offset_, factor_), "Scaling",
          "A scaling has one finite offset and one positive factor for all inputs, or for each.",
          offset_.size(), " offsets and ", factor_.size(), " factors");
}

bool Scaling::valid(const Vector& offset, const Vector& factor) {
  return offset.size() == factor.size() && offset.size() > 0 && offset.allFinite() &&
         factor.allFinite() && (factor.array() > 0).all();
}

template <std::floating_point S>
State<S> Scaling::apply(const ConstStateRef<double>& x) const {
  if (offset_.size() == 1)
    return ((x.array() - offset_(0)) * factor_(0)).matrix().template cast<S>();
  require(x.rows() == offset_.size(), "Scaling", "Raw inputs have shape (inputs, batch).", x.rows(),
          " inputs for a scaling of ", offset_.size());
  return ((x.array().colwise() - offset_.array()).colwise() * factor_.array())
      .matrix()
      .template cast<S>();
}

template State<float> Scaling::apply(const ConstStateRef<double>&) const;
template State<double> Scaling::apply(const ConstStateRef<double>&) const;

}  // namespace equiprop
