#pragma once
/// The memory of a network with images on a device, and the views that kernels read.

#include <deque>
#include <memory>

#include "image_plan.cuh"

namespace equiprop::cuda {

/// The numbers in a view of the jobs that are computed before each layer; the job of a layer has the layer's number.
using JobNumbers = std::vector<std::vector<int>>;

/// Views of the couplings between free layers, from the input, and to the input.
template <class T>
class ImageMemory {
 public:
  ImageMemory(const NetworkFields& network, std::size_t most, cudaStream_t on)
      : plan(network),
        stream(on),
        packed(plan.packed, stream),
        parts(plan.parts, stream),
        state(plan.units * most * most_nodes, stream),
        signals(plan.units * most * most_nodes, stream),
        next(plan.units * most * most_nodes, stream),
        shares(3 * most * most_nodes, stream),
        progress(most * most_nodes, stream),
        change(most * most_nodes, stream),
        numbers(most, stream),
        settings(1, stream),
        inner(1, stream),
        from_input(1, stream),
        to_input(1, stream) {
    for (std::size_t c = 0; c < plan.couplings.size(); ++c)
      for (const bool target : {false, true}) take_products({c, target}, most);
    send_inner();
    send_from_input();
    send_to_input();
  }

  /// The numbers and the winners of a product, or nullptr.
  struct Product {
    T* numbers = nullptr;
    unsigned char* winners = nullptr;
  };
  const Product& product(const CouplingEnd& end) const {
    return products_[2 * end.coupling + (end.target ? 1 : 0)];
  }
  const T* up(const ImageCoupling<T>& c) const { return packed.data() + c.up; }
  const T* down(const ImageCoupling<T>& c) const { return packed.data() + c.down; }
  bool own_signals() const {
    for (std::size_t k = 1; k < plan.network.layers.size(); ++k) {
      const LayerFields& layer = plan.network.layers[k];
      if (!plan.network.legendre && (layer.rho != Rho::clip || layer.gain != 1)) return true;
    }
    return false;
  }
  T* signals_or_state() const { return own_signals() ? signals.data() : state.data(); }

  ImagePlan<T> plan;
  cudaStream_t stream;
  Array<T> packed, parts, state, signals, next, shares;
  Array<SampleProgress<T>> progress;
  Array<Ordered<T>> change;
  Array<SideNumbers<T>> numbers;
  Array<ImageSettings<T>> settings;
  Array<ImageView<T>> inner, from_input, to_input;
  ImageView<T> of_inner{}, of_input{}, of_layers{};  ///< copies in the memory of the host
  JobNumbers inner_jobs, drive_jobs, input_jobs;

 private:
  void take_products(const CouplingEnd& end, std::size_t most) {
    Product& product = products_.emplace_back();
    if (!plan.is_product(end)) return;
    const std::size_t size = std::size_t(plan.layer(end).units) * plan.nodes_of(end) * most;
    product.numbers = numbers_.emplace_back(size, stream).data();
    if (plan.couplings[end.coupling].has_maximum())
      product.winners = winners_.emplace_back(size, stream).data();
  }

  /// Fills in a view, layer by layer.
  struct Writer {
    ImageMemory& memory;
    ImageView<T>& view;
    JobNumbers& jobs;
    int pulls = 0, addends = 0, count = 0;

    /// Adds a layer: `fields` are its units, `ends` its pulls, and begin(end) is the first unit of a neighbour.
    template <class Begin>
    void add(const LayerFields& fields, int begin_of_layer, const std::vector<CouplingEnd>& ends,
             const Begin& begin) {
      const int k = view.layers++;
      const int positions = fields.height * fields.width;
      ImageLayer<T>& layer = view.layer[k];
      layer = {units_of<T>(fields, memory.plan.network.legendre), begin_of_layer, fields.units,
               fields.units / positions};
      jobs.emplace_back();
      ImageJob<T>& job = view.job[k];
      job = {k, layer.channels, positions, fields.width, 1, pulls, 0, addends, 0, nullptr, nullptr};
      for (const CouplingEnd& end : ends)
        if (!memory.plan.is_product(end) && !is_identity(end)) {
          add_pull(end, begin(end));
          ++job.pulls;
        }
      for (const CouplingEnd& end : ends) {
        if (is_identity(end))
          view.addend[addends++] = {nullptr, begin(end), view.signals,
                                    T(memory.plan.couplings[end.coupling].fields.gain)};
        else if (memory.plan.is_product(end))
          add_product(k, end, begin(end), fields);
        else
          continue;
        ++job.addends;
      }
    }
    bool is_identity(const CouplingEnd& end) const {
      return memory.plan.couplings[end.coupling].fields.kind == CouplingKind::identity;
    }
    void add_pull(const CouplingEnd& end, int begin) {
      const ImageCoupling<T>& c = memory.plan.couplings[end.coupling];
      const Geometry& of = c.weights.of;
      const int channels = end.target ? of.channels : of.out_channels;
      view.pull[pulls++] = {of,
                            !end.target,
                            begin,
                            channels,
                            of.taps() * channels,
                            end.target ? memory.up(c) : memory.down(c),
                            end.target ? nullptr : memory.product({end.coupling, true}).winners};
    }
    void add_product(int k, const CouplingEnd& end, int begin, const LayerFields& fields) {
      const ImageCoupling<T>& c = memory.plan.couplings[end.coupling];
      const Geometry& of = c.weights.of;
      const Product& product = memory.product(end);
      const int number = most_layers + count++;
      jobs[k].push_back(number);
      if (c.fields.kind == CouplingKind::dense)
        view.job[number] = {k, fields.units, 1, 1, 1, pulls, 1, 0, 0, product.numbers, nullptr};
      else
        view.job[number] = {k,
                            of.out_channels,
                            of.pooled_positions(),
                            of.pooled_width() * of.pool,
                            of.pool,
                            pulls,
                            1,
                            0,
                            0,
                            product.numbers,
                            product.winners};
      add_pull(end, begin);
      view.addend[addends++] = {product.numbers, 0, fields.units, T(1)};
    }
  };

  /// Calls visit(end) for the ends of couplings at a layer of the network, if the other end is `with_input` or not.
  std::vector<CouplingEnd> ends_at(int layer, bool with_input) const {
    std::vector<CouplingEnd> ends;
    for (std::size_t c = 0; c < plan.couplings.size(); ++c)
      for (const bool target : {true, false}) {
        const CouplingFields& fields = plan.couplings[c].fields;
        const int here = target ? fields.target : fields.source;
        const int other = target ? fields.source : fields.target;
        if (here == layer && (other == 0) == with_input) ends.push_back({c, target});
      }
    return ends;
  }
  int begin_of_other(const CouplingEnd& end) const {
    const CouplingFields& c = plan.couplings[end.coupling].fields;
    return plan.begins[(end.target ? c.source : c.target) - 1];
  }
  void send(const Array<ImageView<T>>& to, const ImageView<T>& view) const {
    check(cudaMemcpyAsync(to.data(), &view, sizeof(view), cudaMemcpyDefault, stream), "a copy");
  }
  void add_layers(Writer& writer, bool with_input) {
    for (std::size_t k = 0; k < plan.begins.size(); ++k) {
      const int number = static_cast<int>(k) + 1;
      writer.add(plan.network.layers[number], plan.begins[k], ends_at(number, with_input),
                 [&](const CouplingEnd& end) { return with_input ? 0 : begin_of_other(end); });
    }
  }
  void send_inner() {
    of_inner.units = plan.units;
    of_inner.signals = plan.units;
    Writer writer{*this, of_inner, inner_jobs};
    add_layers(writer, false);
    send(inner, of_inner);
  }
  void send_from_input() {
    of_input.units = plan.units;
    of_input.signals = plan.network.layers[0].units;
    Writer writer{*this, of_input, drive_jobs};
    add_layers(writer, true);
    send(from_input, of_input);
  }
  void send_to_input() {
    of_layers.units = plan.network.layers[0].units;
    of_layers.signals = plan.units;
    Writer writer{*this, of_layers, input_jobs};
    writer.add(plan.network.layers[0], 0, ends_at(0, false),
               [&](const CouplingEnd& end) { return begin_of_other(end); });
    send(to_input, of_layers);
  }

  std::vector<Product> products_;  // of the source and the target of each coupling
  std::deque<Array<T>> numbers_;
  std::deque<Array<unsigned char>> winners_;
};

}  // namespace equiprop::cuda
