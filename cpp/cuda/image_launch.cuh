#pragma once
/// Launches of kernels on a network with images.

#include "image_memory.cuh"
#include "update.cuh"

namespace equiprop::cuda {

template <class T>
class ImageLauncher {
 public:
  using Layers = std::vector<int>;

  ImageLauncher(const NetworkFields& network, std::size_t most, const Cut& cut, cudaStream_t stream)
      : memory_(network, most, stream), cut_(cut), stream_(stream) {}

 protected:
  const ImagePlan<T>& plan() const { return memory_.plan; }
  template <class... Parameters, class... Arguments>
  void run(const char* what, void (*kernel)(Parameters...), const Shape& shape,
           const Arguments&... arguments) const {
    check(cuda::launch(kernel, shape, stream_, arguments...), what);
  }
  static Shape flat(std::size_t count) {
    return {dim3(static_cast<unsigned>((count + elementwise_threads - 1) / elementwise_threads)),
            elementwise_threads};
  }
  static Layers all_layers(const ImageView<T>& view) {
    Layers layers;
    for (int k = 0; k < view.layers; ++k) layers.push_back(k);
    return layers;
  }

  // ---- launches of jobs

  ImagePass<T> pass_of(const Array<ImageView<T>>& view, const T* signals, int samples) const {
    ImagePass<T> pass{};
    pass.view = view.data();
    pass.signals = signals;
    pass.samples = samples;
    return pass;
  }
  /// Runs the jobs that are computed before some layers.
  void run_before(const ImagePass<T>& pass, const ImageView<T>& view, const JobNumbers& before,
                  const Layers& layers) const {
    std::vector<int> jobs;
    for (const int k : layers) jobs.insert(jobs.end(), before[k].begin(), before[k].end());
    run_jobs("the products of images", pass, view, jobs);
  }
  void run_jobs(const char* what, ImagePass<T> pass, const ImageView<T>& view,
                const std::vector<int>& jobs) const {
    if (jobs.empty()) return;
    int channels = 0, pool = 1, tiles = 0;
    for (const int n : jobs) {
      channels = std::max(channels, view.job[n].channels);
      pool = std::max(pool, view.job[n].pool);
      tiles += ImageTile<T, 4, 4>::tiles(view.job[n], pass.samples);
    }
    constexpr int processors = 132, largest_pool_of_narrow = 5;
    const bool few = cut_.tile == 1 || (cut_.tile == 0 && tiles < processors);
    if (few && pool <= largest_pool_of_narrow)
      run_tiles<2, 2>(what, pass, view, jobs);
    else if (few || cut_.tile == 4 || (cut_.tile == 0 && channels <= 32))
      run_tiles<2, 4>(what, pass, view, jobs);
    else
      run_tiles<4, 4>(what, pass, view, jobs);
  }
  template <int M, int N>
  void run_tiles(const char* what, ImagePass<T>& pass, const ImageView<T>& view,
                 const std::vector<int>& jobs) const {
    using Tile = ImageTile<T, M, N>;
    int end = 0;
    for (const int n : jobs) {
      pass.job[pass.count] = n;
      pass.end[pass.count++] = end += Tile::tiles(view.job[n], pass.samples);
    }
    run(what, &image_pass<T, M, N>,
        Shape{dim3(static_cast<unsigned>(end)), image_threads, dim3(1), Tile::bytes()}, pass);
  }

  static Shape one_block() {
    return {dim3(1), image_threads, dim3(1), sizeof(int) * image_threads / warp};
  }
  static Shape block_for_each(int samples) {
    return {dim3(static_cast<unsigned>(samples)), image_threads, dim3(1),
            sizeof(T) * image_threads / warp};
  }

  ImageMemory<T> memory_;
  Cut cut_;
  cudaStream_t stream_;
};

}  // namespace equiprop::cuda
