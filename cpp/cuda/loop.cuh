#pragma once
/// A loop on the device: a graph with a WHILE node whose body is a sweep, followed by an IF node. Kernels of the body set
/// both conditions, so the host does not take part.

#include <utility>
#include <vector>

#include "memory.hpp"

namespace equiprop::cuda {

/// The conditions of a loop, for cudaGraphSetConditional.
struct LoopHandles {
  cudaGraphConditionalHandle again = 0;    ///< another turn
  cudaGraphConditionalHandle confirm = 0;  ///< the second part of this turn
};

/// An instantiated graph that repeats the kernels which `sweep` launches, and those of `confirm` where the condition of
/// that name is set.
class Loop {
 public:
  /// `sweep` launches kernels on the stream, which captures them; it receives the handles.
  template <class Sweep>
  Loop(cudaStream_t stream, const Sweep& sweep) : stream_(stream) {
    build([&](const LoopHandles& handles) { repeat(handles, sweep); });
  }
  /// `confirm` launches the kernels that follow a sweep where its condition is set.
  template <class Sweep, class Confirm>
  Loop(cudaStream_t stream, const Sweep& sweep, const Confirm& confirm) : stream_(stream) {
    build([&](LoopHandles& handles) {
      check(cudaGraphConditionalHandleCreate(&handles.confirm, graph_, 0, 0),
            "creating a condition");
      const auto [body, last] = repeat(handles, sweep);
      const cudaGraph_t end = add(body, last, cudaGraphCondTypeIf, handles.confirm);
      capture(end, [&] { confirm(handles); });
    });
  }
  ~Loop() { destroy(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void launch() const { check(cudaGraphLaunch(executable_, stream_), "a relaxation"); }

 private:
  template <class Fill>
  void build(const Fill& fill) {
    try {
      check(cudaGraphCreate(&graph_, 0), "creating a graph");
      LoopHandles handles;
      check(cudaGraphConditionalHandleCreate(&handles.again, graph_, 1, cudaGraphCondAssignDefault),
            "creating a condition");
      fill(handles);
      check_memory(cudaGraphInstantiate(&executable_, graph_, 0), 0, "building a graph");
    } catch (...) {
      destroy();
      throw;
    }
  }
  /// Adds the WHILE node. Returns its body with the nodes that end the sweep.
  template <class Sweep>
  std::pair<cudaGraph_t, std::vector<cudaGraphNode_t>> repeat(const LoopHandles& handles,
                                                              const Sweep& sweep) const {
    const cudaGraph_t body = add(graph_, {}, cudaGraphCondTypeWhile, handles.again);
    return {body, capture(body, [&] { sweep(handles); })};
  }
  /// Adds a node that runs a body under a condition, and returns the body.
  static cudaGraph_t add(cudaGraph_t graph, const std::vector<cudaGraphNode_t>& after,
                         cudaGraphConditionalNodeType type, cudaGraphConditionalHandle handle) {
    cudaGraphNodeParams parameters{};
    parameters.type = cudaGraphNodeTypeConditional;
    parameters.conditional.handle = handle;
    parameters.conditional.type = type;
    parameters.conditional.size = 1;
    cudaGraphNode_t node = nullptr;
    check(cudaGraphAddNode(&node, graph, after.data(), nullptr, after.size(), &parameters),
          "adding a node to a graph");
    return parameters.conditional.phGraph_out[0];
  }
  /// Captures the launches of run() into a graph, and returns the nodes that end it.
  template <class Run>
  std::vector<cudaGraphNode_t> capture(cudaGraph_t graph, const Run& run) const {
    check(cudaStreamBeginCaptureToGraph(stream_, graph, nullptr, nullptr, 0,
                                        cudaStreamCaptureModeThreadLocal),
          "capturing launches");
    cudaGraph_t captured = nullptr;
    try {
      run();
    } catch (...) {
      cudaStreamEndCapture(stream_, &captured);
      throw;
    }
    cudaStreamCaptureStatus status{};
    const cudaGraphNode_t* nodes = nullptr;
    std::size_t count = 0;
    const cudaError_t error =
        cudaStreamGetCaptureInfo(stream_, &status, nullptr, nullptr, &nodes, nullptr, &count);
    std::vector<cudaGraphNode_t> last(nodes, nodes + count);
    check(cudaStreamEndCapture(stream_, &captured), "capturing launches");
    check(error, "capturing launches");
    return last;
  }
  void destroy() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }

  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace equiprop::cuda
