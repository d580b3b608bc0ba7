/// Checks of a network and of options that need no device.

#include <algorithm>

#include "engine.hpp"
#include "equiprop/base/error.hpp"

namespace equiprop::cuda {

Precision precision_of(std::string_view name) {
  if (name == "exact") return Precision::exact;
  if (name == "tf32") return Precision::tf32;
  if (name == "3xtf32") return Precision::tf32x3;
  require(name == "bf16", "cuda", "A precision is \"exact\", \"tf32\", \"3xtf32\" or \"bf16\".",
          name);
  return Precision::bf16;
}

bool NetworkFields::has_images() const {
  return std::any_of(layers.begin() + 1, layers.end(),
                     [](const LayerFields& layer) { return layer.height * layer.width > 1; }) ||
         std::any_of(couplings.begin(), couplings.end(),
                     [](const CouplingFields& c) { return c.kind != CouplingKind::dense; });
}

void check_supported(const NetworkFields& network) {
  const std::size_t layers = network.layers.size() - 1;
  require(layers <= 12, "cuda", "The kernels support at most 12 free layers.", layers);
  std::size_t pulls = 0, from_input = 0;
  for (const CouplingFields& c : network.couplings) {
    require(c.source != c.target, "cuda", "The kernels support no couplings within a layer.",
            c.source, " -> ", c.target);
    require(c.windows.max_pool <= 8, "cuda",
            "The kernels support windows of a maximum of up to 8 x 8 positions.",
            c.windows.max_pool);
    if (c.source != 0 && c.target != 0)
      pulls += 2;
    else
      ++from_input;
  }
  require(pulls <= 32, "cuda", "The kernels support at most 16 couplings of free layers.",
          pulls / 2);
  require(from_input <= 32, "cuda", "The kernels support at most 32 couplings with the input.",
          from_input);
}

}  // namespace equiprop::cuda
