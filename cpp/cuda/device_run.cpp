/// Runs of training steps of DeviceBatch.

#include "equiprop/cuda/device_batch.hpp"
#include "run.hpp"
#include "run_fields.hpp"
#include "second_phase/accuracy.hpp"

namespace equiprop::cuda {
namespace {

template <class T>
RunFields fields_of(const RunSettings<T>& settings) {
  RunFields fields;
  fields.free = cuda::fields_of<T>(settings.free);
  fields.second = cuda::fields_of<T>(settings.nudged);
  if (settings.side_network) {
    settings.side_network->check("ConjugateGradient");
    fields.side_network = true;
    fields.side_tolerance = settings.side_network->template tolerance_for<T>();
    fields.side_limit = static_cast<int>(settings.side_network->max_iterations);
  }
  fields.cost = {settings.logit_scale};
  fields.classes = settings.classes;
  fields.accuracy = {accuracy::negligible, accuracy::smallest_layer, accuracy::layer_weight,
                     most_gradient_error};
  fields.clip = settings.clip;
  fields.memory = settings.memory;
  fields.growth = settings.growth;
  fields.least = settings.least;
  fields.judged = static_cast<int>(settings.judged);
  return fields;
}

template <class T>
UpdateFields update_of(const RunSettings<T>& settings, const RunStep<T>& step) {
  if (!settings.adam) return momentum_fields(step.rates, settings.momentum, settings.decay);
  return adam_fields(step.rates, AdamStep<T>{T(0), settings.beta1, settings.beta2, settings.epsilon,
                                             settings.decay, step.correction1, step.correction2});
}

/// Throws InvalidArgument unless a step has samples of the list, or those of the batch that is clamped.
template <class T>
void check(const RunStep<T>& step, const RunSettings<T>& settings, Index listed, Index clamped) {
  const Index begin = step.first.value_or(0), end = step.first ? listed : clamped;
  require(step.samples > 0 && begin >= 0 && begin + step.samples <= end &&
              (step.first || step.samples == clamped),
          "cuda", "A step has samples of the list, or those that are clamped.", step.samples,
          " from ", begin, " on");
  const auto nodes = step.rule.size();
  require(settings.side_network ? nodes == 0 : nodes > 0 && nodes <= most_nodes, "cuda",
          "A nudging rule has 1 to 8 nodes, and Recurrent Backpropagation none.", nodes);
}

template <class T>
StepFields fields_of(const RunSettings<T>& settings, const RunStep<T>& step) {
  StepFields fields;
  if (step.first) fields.first = static_cast<std::size_t>(*step.first);
  fields.samples = static_cast<std::size_t>(step.samples);
  fields.start = step.start;
  for (const auto& node : step.rule) {
    fields.betas.push_back(static_cast<double>(node.beta));
    fields.shares.push_back(static_cast<double>(node.weight));
  }
  fields.update = update_of(settings, step);
  fields.mean_weight = step.mean_weight;
  fields.averaging = step.averaging;
  fields.averaging_weight = static_cast<double>(step.averaging_weight);
  return fields;
}

/// Returns the memory of an average, or nullptr if it is empty. Throws InvalidArgument if it has another size.
template <class T>
const T* memory_of(const ConstParametersRef<T>& average, Index size) {
  require(average.size() == 0 || average.size() == size, "cuda",
          "An average has one number for each parameter.", average.size(), " numbers");
  return average.size() == 0 ? nullptr : average.data();
}
/// Returns the memory of a result of `size` numbers if it is wanted, otherwise nullptr.
template <class T>
T* memory_for(Parameters<T>& result, Index size, bool wanted) {
  if (wanted) result.resize(size);
  return wanted ? result.data() : nullptr;
}

}  // namespace

template <std::floating_point T>
void DeviceBatch<T>::write_averages(const ConstParametersRef<T>& first,
                                    const ConstParametersRef<T>& second) {
  const Index size = topology_.parameters().size();
  engine_->write_averages(memory_of<T>(first, size), memory_of<T>(second, size));
}

template <std::floating_point T>
void DeviceBatch<T>::hold(const HeldSamples<T>& samples) {
  held_ = 0;
  engine_->hold({static_cast<std::size_t>(samples.count), samples.x, samples.y, samples.labels,
                 samples.weights});
  held_ = samples.count;
}

template <std::floating_point T>
RunResult<T> DeviceBatch<T>::run(const RunSettings<T>& settings, std::span<const RunStep<T>> steps,
                                 std::span<const int> samples, RunState& state,
                                 const ConstParametersRef<T>& mean) {
  require(!steps.empty(), "cuda", "A run has at least one step.", "none");
  for (const int sample : samples)
    require(sample >= 0 && sample < held_, "cuda",
            "Samples are numbers in 0 .. " + std::to_string(held_ - 1) + ".", sample);
  std::vector<StepFields> fields;
  Index batch = samples_;
  for (const RunStep<T>& step : steps) {
    check(step, settings, static_cast<Index>(samples.size()), batch);
    fields.push_back(fields_of(settings, step));
    batch = step.samples;
  }
  const Index size = topology_.parameters().size();
  RunResult<T> result;
  const T* before = memory_of<T>(mean, size);
  const RunArrays<T> to{memory_for(result.theta, size, true),
                        memory_for(result.first, size, settings.adam || settings.momentum != T(0)),
                        memory_for(result.second, size, settings.adam), before,
                        memory_for(result.mean, size, before != nullptr)};
  samples_ = batch;
  if (steps.back().first) cost_.reset();  // its targets are on the device alone
  result.records = engine_->run(fields_of(settings), fields, samples, state, to);
  return result;
}

template <std::floating_point T>
RunReports DeviceBatch<T>::reports() const {
  const StepReports reports = engine_->reports();
  return {report_of(reports.free, 0, samples_), report_of(reports.second, 0, samples_)};
}

template void DeviceBatch<float>::write_averages(const ConstParametersRef<float>&,
                                                 const ConstParametersRef<float>&);
template void DeviceBatch<float>::hold(const HeldSamples<float>&);
template RunResult<float> DeviceBatch<float>::run(const RunSettings<float>&,
                                                  std::span<const RunStep<float>>,
                                                  std::span<const int>, RunState&,
                                                  const ConstParametersRef<float>&);
template RunReports DeviceBatch<float>::reports() const;
template void DeviceBatch<double>::write_averages(const ConstParametersRef<double>&,
                                                  const ConstParametersRef<double>&);
template void DeviceBatch<double>::hold(const HeldSamples<double>&);
template RunResult<double> DeviceBatch<double>::run(const RunSettings<double>&,
                                                    std::span<const RunStep<double>>,
                                                    std::span<const int>, RunState&,
                                                    const ConstParametersRef<double>&);
template RunReports DeviceBatch<double>::reports() const;

}  // namespace equiprop::cuda
