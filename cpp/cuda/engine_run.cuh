#pragma once
/// Runs of training steps: the order of their launches.

#include "engine_device.cuh"

namespace equiprop::cuda {

/// Enqueues the steps of one run.
template <class T>
class Engine<T>::Runner {
 public:
  Runner(Engine& engine, const RunFields& fields)
      : engine_(engine),
        device_(*engine.device_),
        memory_(*engine.device_->run_memory),
        fields_(fields) {}

  void take(const StepFields& step, StepRecord* record, T* mean) {
    if (step.first) clamp(step, memory_.rows->data() + *step.first);
    device_.cost = fields_.cost;
    relax_free(step);
    if (fields_.side_network)
      solve_side_network();
    else
      relax_nudged(step);
    close(step, record);
    engine_.descend(step.update, memory_.state.data());
    if (step.averaging == Averaging::none) return;
    device_.run("the average of parameters", &move_average<T>,
                Device::elementwise(device_.sizes.parameters),
                static_cast<std::ptrdiff_t>(device_.sizes.parameters), device_.theta.data(), mean,
                step.averaging == Averaging::first, T(step.averaging_weight), memory_.state.data());
  }

 private:
  void clamp(const StepFields& step, const int* rows) {
    const Sizes& sizes = device_.sizes;
    device_.batch = step.samples;
    device_.weighted = memory_.data.weights != nullptr;
    const Array<T>& arriving = device_.arrived ? *device_.arrived : device_.x;
    const Gathering<T> to{memory_.data,
                          rows,
                          static_cast<int>(sizes.inputs),
                          static_cast<int>(sizes.outputs),
                          static_cast<int>(step.samples),
                          arriving.data(),
                          device_.y.data(),
                          device_.sample_weights.data()};
    device_.run("the choice of samples", &gather<T>,
                Device::elementwise((sizes.inputs + sizes.outputs + 1) * step.samples), to);
    if (device_.arrived) device_.order_input(arriving.data(), device_.x.data(), false);
    device_.compute_drive();
  }
  PhaseReport<T> report_of_phases() const {
    return {device_.status.data(), device_.iterations.data(), device_.residual.data(),
            device_.error.data()};
  }

  void relax_free(const StepFields& step) {
    engine_.start_free(fields_.free, 0, step.start);
    double* const results = memory_.of_samples.data();
    const FreeJudging<T> of{static_cast<int>(device_.batch),
                            device_.view.units,
                            device_.view.outputs,
                            fields_.classes,
                            device_.cost_view(),
                            device_.slot(0),
                            report_of_phases(),
                            memory_.report(0),
                            results,
                            results + memory_.most_samples};
    device_.run("a judgement", &judge_free<T>, Device::elementwise(device_.batch), of);
  }
  void judge(const StepFields& step, bool by_states) {
    SecondJudging<T> of{};
    of.batch = static_cast<int>(device_.batch);
    of.nodes = by_states ? static_cast<int>(step.betas.size()) : 1;
    of.states = by_states ? device_.slot(nudged) : nullptr;
    std::copy(step.shares.begin(), step.shares.end(), of.share);
    of.accuracy = fields_.accuracy;
    of.rounding = double{std::numeric_limits<T>::epsilon()};
    of.report = report_of_phases();
    of.kept = memory_.report(1);
    device_.run("a judgement", &judge_second<T>,
                Shape{dim3(static_cast<unsigned>(device_.batch)), judging_threads, dim3(1),
                      sizeof(T) * judging_threads},
                device_.view, of);
  }
  void relax_nudged(const StepFields& step) {
    engine_.start_nudged(fields_.second, step.betas, 0, nudged);
    judge(step, true);
    std::vector<double> shares(step.shares);
    for (double& share : shares) share = static_cast<double>(T(share) / T(device_.batch));
    if (device_.network.tied) {
      engine_.contrast(nudged, shares);
    } else {
      engine_.displace(adjoint, nudged, 0, shares);
      engine_.mixed(0, adjoint, 1);
    }
  }
  void solve_side_network() {
    engine_.start_side_network(fields_.side_tolerance, fields_.side_limit, 0, adjoint);
    judge({}, false);
    engine_.mixed(0, adjoint, static_cast<double>(T(-1) / T(device_.batch)));
  }

  void close(const StepFields& step, StepRecord* record) {
    const auto count = static_cast<std::ptrdiff_t>(device_.sizes.parameters);
    const auto blocks =
        std::min(norm_blocks, static_cast<unsigned>(ceiling(count, elementwise_threads)));
    device_.run(
        "the norm of the gradient", &measure<T>,
        Shape{dim3(blocks), elementwise_threads, dim3(1), sizeof(double) * elementwise_threads},
        count, device_.gradient.data(), memory_.parts.data());
    double* const results = memory_.of_samples.data();
    const Closing<T> of{static_cast<int>(device_.batch),
                        fields_.classes,
                        results,
                        results + memory_.most_samples,
                        device_.weighted ? device_.sample_weights.data() : nullptr,
                        memory_.report(0),
                        memory_.report(1),
                        memory_.parts.data(),
                        static_cast<int>(blocks),
                        fields_.accuracy.most_error,
                        fields_.clip,
                        fields_.memory,
                        fields_.growth,
                        fields_.least,
                        step.mean_weight,
                        fields_.judged,
                        memory_.state.data(),
                        record};
    device_.run(
        "the end of a step", &close_step<T>,
        Shape{dim3(1), judging_threads, dim3(1), sizeof(double) * num_sums * (judging_threads + 1)},
        of);
  }

  static constexpr std::size_t adjoint = 1, nudged = 2;  // see Slot of device_batch.cpp
  Engine& engine_;
  Device& device_;
  RunMemory<T>& memory_;
  const RunFields& fields_;
};

template <class T>
void Engine<T>::hold(const DataFields<T>& data) {
  Device& d = *device_;
  if (!d.run_memory && data.samples == 0) return;
  const auto copy = [&](auto& array, const auto* from, std::size_t count) {
    array.reset();
    if (from == nullptr) return decltype(array->data()){nullptr};
    array.emplace(count, d.stream);
    d.send(array->data(), from, count);
    return array->data();
  };
  within_memory<T>(d.network, d.most, [&] {
    RunMemory<T>& memory = d.memory_of_runs();
    memory.data = {};
    for (std::optional<Array<T>>* array : {&memory.x, &memory.y, &memory.weights}) array->reset();
    DataFields<T> held{data.samples};
    held.x = copy(memory.x, data.x, data.samples * d.sizes.inputs);
    held.y = copy(memory.y, data.y, data.samples * d.sizes.outputs);
    held.labels = copy(memory.labels, data.labels, data.samples);
    held.weights = copy(memory.weights, data.weights, data.samples);
    memory.data = held;
  });
  d.wait();
}

template <class T>
std::vector<StepRecord> Engine<T>::run(const RunFields& fields, std::span<const StepFields> steps,
                                       std::span<const int> rows, RunState& state,
                                       const RunArrays<T>& to) {
  Device& d = *device_;
  std::vector<StepRecord> records(steps.size());
  const std::size_t size = d.sizes.parameters;
  const UpdateFields& update = steps.front().update;
  StepRecord* on_device = nullptr;
  T* mean = nullptr;
  within_memory<T>(d.network, d.most, [&] {
    RunMemory<T>& memory = d.memory_of_runs();
    d.take_averages(update.adam, update.momentum != 0);
    on_device = memory.grown(memory.records, records.size());
    d.send(memory.grown(memory.rows, rows.size()), rows.data(), rows.size());
    if (to.mean != nullptr) mean = memory.grown(memory.mean, size);
  });
  RunMemory<T>& memory = *d.run_memory;
  d.send(memory.state.data(), &state, 1);
  if (to.mean != nullptr) d.send(mean, to.mean, size);
  Runner runner(*this, fields);
  for (std::size_t k = 0; k < steps.size(); ++k) runner.take(steps[k], on_device + k, mean);
  d.send(&state, memory.state.data(), 1);
  d.send(records.data(), on_device, records.size());
  d.send(to.theta, d.theta.data(), size);
  if (to.first != nullptr) d.send(to.first, d.first->data(), size);
  if (to.second != nullptr) d.send(to.second, d.second->data(), size);
  if (to.mean != nullptr) d.send(to.mean_after, mean, size);
  d.wait();
  return records;
}

template <class T>
StepReports Engine<T>::reports() const {
  const RunMemory<T>& memory = *device_->run_memory;
  return {device_->report(memory.report(0), 1), device_->report(memory.report(1), 1)};
}

template <class T>
void Engine<T>::write_averages(const T* first, const T* second) {
  Device& d = *device_;
  within_memory<T>(d.network, d.most,
                   [&] { d.take_averages(second != nullptr, first != nullptr); });
  if (first != nullptr) d.send(d.first->data(), first, d.sizes.parameters);
  if (second != nullptr) d.send(d.second->data(), second, d.sizes.parameters);
  d.wait();
}
}  // namespace equiprop::cuda
