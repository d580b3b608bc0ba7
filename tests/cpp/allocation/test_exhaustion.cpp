/// Failing allocations: whichever call of an allocation function fails, once or from then on, an operation throws
/// std::bad_alloc or succeeds, leaks nothing, and the same objects give the same bits when memory is there again.

#include <filesystem>
#include <memory>
#include <thread>

#include "allocation/counters.hpp"

namespace equiprop::tests {
namespace {

using Numbers = State<double>;
/// An operation on objects that it owns; it may be called again.
using Operation = std::function<Numbers()>;
/// Creates the objects of an operation.
using Prepare = std::function<Operation()>;

struct Entry {
  std::string name;
  Prepare prepare;
};

// ---------------------------------------------------------------------------- objects

/// A network with its energy, a cost and a free state.
struct Setting {
  explicit Setting(HopfieldNetwork<double> net, Index batch = 3) : network(std::move(net)) {
    Random random(5);
    network.initialize(2, 0.3);
    x = random_state(random, network.topology().num_inputs(), batch);
    y = random_state(random, network.topology().num_outputs(), batch);
    s = network.initial_state(batch);
    s.setConstant(0.25);
  }
  AnyEnergy<double> energy() const { return network.clamp(x); }
  AnyCost<double> cost() const { return SquaredError<double>(y); }

  HopfieldNetwork<double> network;
  State<double> x, y, s;
};

HopfieldNetwork<double> dense(Feedback feedback = Feedback::tied,
                              const Activation& activation = tanh_activation()) {
  return {{{"x", 9}, {"h", 12, activation}, {"g", 7, activation}, {"y", 4, activation}},
          {{0, 1}, {1, 2}, {2, 3}, {1, 3}},
          Potential::legendre,
          feedback};
}
HopfieldNetwork<double> images() {
  return {{{"x", {1, 6, 6}}, {"h", {3, 4, 4}}, {"y", 4}},
          {Convolution(0, 1, Windows{{3, 3}}), {1, 2}},
          Potential::legendre};
}

const StoppingRule few{1e-3, 20};

Numbers column(double value) {
  return Numbers::Constant(1, 1, value);
}

// ---------------------------------------------------------------------------- entries

/// Returns an entry that calls run(setting) on a setting of its own.
template <class Make, class Run>
Entry entry(std::string name, const Make& make, const Run& run) {
  return {std::move(name), [make, run]() -> Operation {
            const auto setting = std::make_shared<Setting>(make());
            return [setting, run] { return run(*setting); };
          }};
}
template <class Run>
Entry dense_entry(std::string name, const Run& run) {
  return entry(
      std::move(name), [] { return Setting(dense()); }, run);
}

void add_phases(std::vector<Entry>& entries) {
  std::vector<Solver> solvers{BlockUpdate{few}, FixedPointIteration{few, 0.2}, Euler{few, 0.2}};
  add_accelerated(solvers, {3});
  for (const Solver& solver : solvers)
    entries.push_back(dense_entry("free phase, solver " + std::to_string(solver.index()),
                                  [solver](const Setting& setting) {
                                    State<double> s = setting.s;
                                    relax<double>(setting.energy(), solver, s);
                                    return s;
                                  }));
  const auto gradient = [](const NudgingRule<double>& rule) {
    return [rule](const Setting& setting) -> Numbers {
      return equilibrium_propagation<double>(setting.energy(), setting.cost(), setting.s, rule,
                                             BlockUpdate{few})
          .parameters;
    };
  };
  entries.push_back(dense_entry("one-sided contrast", gradient(one_sided<double>(0.1))));
  entries.push_back(dense_entry("centered contrast", gradient(centered<double>(0.1))));
  entries.push_back(entry(
      "contrast of a vector field", [] { return Setting(dense(Feedback::separate)); },
      gradient(centered<double>(0.1))));
  entries.push_back(entry(
      "contrast of images", [] { return Setting(images()); }, gradient(centered<double>(0.1))));
  entries.push_back(dense_entry("exact limit", [](const Setting& setting) -> Numbers {
    return equilibrium_propagation_limit(setting.network.clamp_as<D>(setting.x),
                                         AnyCost<D>(SquaredError<D>(State<D>(setting.y.cast<D>()))),
                                         setting.s, BlockUpdate{few})
        .parameters;
  }));
}

void add_side_networks(std::vector<Entry>& entries) {
  for (const LinearSolver& solver :
       {LinearSolver{ConjugateGradient{}}, LinearSolver{GMRES{}}, LinearSolver{Richardson{}}})
    entries.push_back(dense_entry("side network, solver " + std::to_string(solver.index()),
                                  [solver](const Setting& setting) -> Numbers {
                                    State<double> s = setting.s;
                                    relax<double>(setting.energy(), BlockUpdate{}, s);
                                    return recurrent_backpropagation<double>(
                                               setting.energy(), setting.cost(), s, solver)
                                        .parameters;
                                  }));
  entries.push_back(
      dense_entry("backpropagation through time", [](const Setting& setting) -> Numbers {
        std::vector<State<double>> states{setting.s};
        for (int t = 0; t < 4; ++t) states.push_back(setting.s);
        return backpropagation_through_time<double>(setting.energy(), setting.cost(), states,
                                                    Solver{FixedPointIteration{few, 0.2}})
            .parameters;
      }));
  entries.push_back(dense_entry("both processes", [](const Setting& setting) -> Numbers {
    const Comparison comparison = compare_processes<D>(
        setting.energy(), setting.cost(), setting.network.clamp_as<D>(setting.x),
        AnyCost<D>(SquaredError<D>(State<D>(setting.y.cast<D>()))), setting.s, exact_limit(),
        {5, 0.1, Integrator::runge_kutta}, {23}, {setting.network.parameters().size()},
        {{0, 3}, {0}, {1}});
    return comparison.temporal_states;
  }));
}

/// Objects of a stream of mini-batches.
struct Stream {
  Stream()
      : setting(dense()),
        clamped(setting.network.clamp(setting.x)),
        cost(setting.y),
        free_phase(clamped, BlockUpdate{few}),
        second_phase(clamped, cost, centered<double>(0.1), BlockUpdate{few}) {}

  Numbers step(std::uint64_t seed) {
    Random random(seed);
    clamped.reclamp(random_state(random, 9, 3));
    cost.retarget(random_state(random, 4, 3));
    State<double> s = setting.network.initial_state(3);
    free_phase.run(s);
    Gradient<double> gradient;
    gradient.parameters = Parameters<double>::Zero(setting.network.parameters().size());
    second_phase.add_to(gradient, s);
    return gradient.parameters;
  }

  Setting setting;
  ClampedHopfield<double> clamped;
  SquaredError<double> cost;
  Relaxation<double> free_phase;
  EquilibriumPropagation<double> second_phase;
};

void add_streams(std::vector<Entry>& entries) {
  entries.push_back({"the first mini-batch of a stream", []() -> Operation {
                       const auto stream = std::make_shared<Stream>();
                       return [stream] { return stream->step(1); };
                     }});
  entries.push_back(dense_entry("training", [](Setting& setting) -> Numbers {
    setting.network.initialize(2, 0.3);  // a step that fails may have changed some blocks
    Parameters<double> velocity = Parameters<double>::Zero(setting.network.parameters().size());
    DescendSGD<double> descent{setting.network.parameters(), velocity, {{0, 0.01}}, 0.9, 1e-4};
    equilibrium_propagation<double>(setting.energy(), setting.cost(), setting.s,
                                    centered<double>(0.1), BlockUpdate{few}, descent);
    return setting.network.parameters();
  }));
}

void add_networks(std::vector<Entry>& entries) {
  entries.push_back({"a network", [] { return [] { return Numbers(dense().parameters()); }; }});
  entries.push_back(
      {"a network of images", [] { return [] { return Numbers(images().parameters()); }; }});
  entries.push_back(dense_entry("start values", [](Setting& setting) -> Numbers {
    setting.network.initialize(3, 0.5);
    return setting.network.parameters();
  }));
  entries.push_back(
      dense_entry("a copy in single precision", [](const Setting& setting) -> Numbers {
        return setting.network.cast<float>().parameters().cast<double>();
      }));
  entries.push_back(dense_entry("derivatives of the energy", [](const Setting& setting) -> Numbers {
    const AnyEnergy<double> energy = setting.energy();
    State<double> out(setting.s.rows(), 2 * setting.s.cols());
    energy.gradient(setting.s, out.leftCols(setting.s.cols()));
    energy.hessian_vector_product(setting.s, setting.s, out.rightCols(setting.s.cols()));
    return out;
  }));
  entries.push_back(dense_entry("costs of several layers", [](const Setting& setting) -> Numbers {
    const SquaredError<double> local(State<double>::Ones(7, 3)), last(setting.y);
    return equilibrium_propagation<double>(setting.energy(),
                                           LayerCosts<double>(11, {{0, local, 0.5}, {7, last}}),
                                           setting.s, centered<double>(0.1), BlockUpdate{few})
        .parameters;
  }));
}

std::filesystem::path file() {
  return std::filesystem::temp_directory_path() /
         ("equiprop_exhaustion_" + std::to_string(::getpid()) + ".safetensors");
}

void add_files(std::vector<Entry>& entries) {
  entries.push_back(dense_entry("writing a file", [](const Setting& setting) -> Numbers {
    save(setting.network, file());
    return column(static_cast<double>(std::filesystem::file_size(file())));
  }));
  entries.push_back({"reading a file", []() -> Operation {
                       save(Setting(dense()).network, file());
                       return [] { return Numbers(load<double>(file()).parameters()); };
                     }});
  entries.push_back(dense_entry("a description", [](const Setting& setting) -> Numbers {
    const std::string text = describe(setting.network);
    network_of(text, setting.network.parameters().size());
    return column(static_cast<double>(text.size()));
  }));
  entries.push_back({"a refused network", [] {
                       return [] {
                         try {
                           HopfieldNetwork<double>({{"x", 3}, {"x", 2}}, {{0, 1}});
                           return column(0);
                         } catch (const InvalidArgument& error) {
                           return column(
                               static_cast<double>(std::string_view(error.what()).size()));
                         }
                       };
                     }});
}

std::vector<Entry> all_entries() {
  std::vector<Entry> entries;
  add_phases(entries);
  add_side_networks(entries);
  add_streams(entries);
  add_networks(entries);
  add_files(entries);
  return entries;
}

// ---------------------------------------------------------------------------- the law

/// Runs an operation while an allocation fails, then again with all memory. Returns the number of failed calls.
long run_with_failure(const Entry& entry, long number, bool lasting, const Numbers& expected) {
  const Operation run = entry.prepare();
  Numbers result;
  bool done = false;
  fail_allocation(number, lasting);
  try {
    result = run();
    done = true;
  } catch (const std::bad_alloc&) {
  }
  fail_no_allocation();
  const long failed = failures;
  if (done) expect_identical(result, expected, "the result of an operation that went on");
  if (failed > 0) expect_identical(run(), expected, "the result with all memory");
  return failed;
}

/// Calls run() on a thread of its own, whose buffers end with it, and returns the bytes that it left in use.
long bytes_left_by(const std::function<void()>& run) {
  const long before = live_bytes;
  std::thread(run).join();
  return live_bytes - before;
}

/// Fails each allocation of an operation in turn, and returns their number.
long sweep(const Entry& entry, bool lasting) {
  Numbers expected;
  std::thread([&] { expected = entry.prepare()(); }).join();
  long number = 0;
  for (bool failed = true; failed; ++number) {
    SCOPED_TRACE(entry.name + ", allocation " + std::to_string(number));
    long failed_calls = 0;
    EXPECT_EQ(
        bytes_left_by([&] { failed_calls = run_with_failure(entry, number, lasting, expected); }),
        0);
    failed = failed_calls > 0;
  }
  return number - 1;
}

TEST(Exhaustion, OfMemoryIsAnExceptionAndChangesNoLaterResult) {
  set_num_threads(1);
  long points = 0;
  for (const Entry& entry : all_entries())
    for (const bool lasting : {false, true}) points += sweep(entry, lasting);
  set_num_threads(0);
  std::filesystem::remove(file());
  EXPECT_GT(points, 1000) << "the allocations are seen";
  RecordProperty("points", std::to_string(points));
}

}  // namespace
}  // namespace equiprop::tests
