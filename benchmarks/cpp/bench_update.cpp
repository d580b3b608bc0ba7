/// Benchmarks of sums over samples that are added to a gradient, or that update parameters in the same pass, and of the
/// same sums by Eigen's product. Weights from the input need one product, weights between free layers one product for
/// each of two nudged states. EQUIPROP_ISA chooses the kernels.
///
///     cmake -S . -B build -DEQUIPROP_BUILD_BENCHMARKS=ON && cmake --build build
///     build/benchmarks/bench_update

#include "measuring.hpp"

namespace equiprop {
namespace {

struct Case {
  const char* name;
  Index rows, columns;
  std::size_t products;
};
constexpr Case cases[] = {{"512x784", 512, 784, 1}, {"512x512", 512, 512, 2}};

struct Update {
  std::vector<State<float>> a, b;
  State<float> theta, velocity;

  Update(const Case& shape, Index batch, bool with_velocity = false)
      : theta(State<float>::Random(shape.rows, shape.columns)) {
    if (with_velocity) velocity.setZero(shape.rows, shape.columns);
    for (std::size_t i = 0; i < shape.products; ++i) {
      a.push_back(State<float>::Random(shape.rows, batch));
      b.push_back(State<float>::Random(shape.columns, batch));
    }
  }
  std::vector<OuterProduct<float>> products() const {
    std::vector<OuterProduct<float>> all;
    for (std::size_t i = 0; i < a.size(); ++i) all.push_back({1e-3F, a[i], b[i]});
    return all;
  }
  Work work() const {
    double flops = 0, factors = 0;
    for (const auto& [scale, left, right] : products()) {
      flops += 2.0 * static_cast<double>(theta.size() * left.cols());
      factors += static_cast<double>(left.size() + right.size());
    }
    const auto kept = static_cast<double>(theta.size() + velocity.size());
    return {.flops = flops,
            .bytes = sizeof(float) * (2 * kept + factors),
            .touched = sizeof(float) * (kept + factors)};
  }
};

void run_add(Update& update) {
  add_outer_products<float>(update.products(), update.theta);
}

void run_descend(Update& update) {
  const MomentumStep<float> step{1e-3F, update.velocity.size() > 0 ? 0.9F : 0.0F, 0};
  Eigen::Map<Parameters<float>> theta(update.theta.data(), update.theta.size()),
      velocity(update.velocity.data(), update.velocity.size());
  descend<float>(update.products(), {step, theta, velocity}, 0);
}

void run_eigen(Update& update) {
  for (std::size_t i = 0; i < update.a.size(); ++i)
    update.theta.noalias() += 1e-3F * (update.a[i] * update.b[i].transpose());
}

void register_update(const Case& shape, Index batch, const std::string& what, std::string_view isa,
                     bool with_velocity, void (*run)(Update&)) {
  add_benchmark({what, shape.name, batch_name(batch),
                 what == "Eigen" ? std::string("as compiled") : std::string(isa)},
                [=](benchmark::State& timer) {
                  Update update(shape, batch, with_velocity);
                  measure(timer, update.work(), isa, [&] { run(update); });
                });
}

void register_case(const Case& shape, Index batch) {
  register_update(shape, batch, "descend", kernel_isa(), false, run_descend);
  register_update(shape, batch, "descend with momentum", kernel_isa(), true, run_descend);
  register_update(shape, batch, "add_outer_products", kernel_isa(), false, run_add);
  register_update(shape, batch, "Eigen", kernel_isas().back(), false, run_eigen);
}

const Registration registration([] {
  for (const auto& shape : cases)
    for (const Index batch : {50, 200}) register_case(shape, batch);
});

}  // namespace
}  // namespace equiprop
