#pragma once
/// The functions in which the kernels are written. They mean the same on a GPU and in the emulator of the tests.
///
/// Kernels use these CUDA built-ins only: threadIdx, blockIdx, gridDim, blockDim, __syncthreads(), __syncwarp(),
/// __shfl_xor_sync(), __ballot_sync(), atomicMax() of integers, and cudaGraphSetConditional(). They use no <<<>>> and no
/// static __shared__ arrays. A fused a * b + c is written fused(a, b, c), and
/// everything is compiled without contraction. So a sum has the same bits on a GPU and in the emulator, for any number of
/// blocks in a cluster, and for any other samples in the batch.

#include <cuda_runtime.h>

#include <cstddef>

#if !defined(EQUIPROP_EMULATED)
#include <cooperative_groups.h>
#endif

namespace equiprop::cuda {

/// Arguments of a launch.
struct Shape {
  dim3 grid, block;
  dim3 cluster{
      1, 1, 1};  ///< blocks that can read one another's shared memory; more than one from sm_90 on
  std::size_t shared = 0;  ///< bytes of shared memory of a block
};

/// Inlines a lambda function, so that no array that it captures is moved to memory.
#define EQUIPROP_INLINED __attribute__((always_inline))

/// Returns a * b + c, rounded once.
///@{
__device__ __forceinline__ float fused(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
__device__ __forceinline__ double fused(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
///@}
/// Returns false for infinity and NaN.
template <class T>
__device__ __forceinline__ bool is_finite(T v) {
  return v - v == T(0);
}
/// Returns the larger number; a NaN counts as larger than any number.
template <class T>
__device__ __forceinline__ T larger(T a, T b) {
  return b > a || b != b ? b : a;
}

#if defined(EQUIPROP_EMULATED)

/// Returns the shared memory of the block, aligned to 16 bytes.
template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulated::self->home->memory.get());
}
inline unsigned cluster_rank() {
  return emulated::self->home->rank;
}
inline unsigned cluster_size() {
  return static_cast<unsigned>(emulated::self->home->cluster->blocks.size());
}
/// Waits for all threads of the cluster; afterwards all of them read what any of them wrote to shared memory.
inline void cluster_sync() {
  emulated::count_barrier();
  emulated::wait(*emulated::self->home->cluster->all);
}
/// Returns the same place in the shared memory of another block of the cluster.
template <class T>
T* of_rank(T* place, unsigned rank) {
  auto* mine = reinterpret_cast<char*>(emulated::self->home->memory.get());
  auto* other = reinterpret_cast<char*>(emulated::self->home->cluster->blocks[rank]->memory.get());
  return reinterpret_cast<T*>(other + (reinterpret_cast<char*>(place) - mine));
}

/// Launches a kernel on a stream, or adds it to the graph that is captured.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), const Shape& shape, cudaStream_t,
                   const Arguments&... arguments) {
  return emulated::submit([=] {
    emulated::launch(shape.grid, shape.block, shape.cluster, shape.shared,
                     [&] { kernel(Parameters(arguments)...); });
  });
}

#else

template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char equiprop_shared[];
  return reinterpret_cast<T*>(equiprop_shared);
}

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ unsigned cluster_rank() {
  return cooperative_groups::this_cluster().block_rank();
}
__device__ __forceinline__ unsigned cluster_size() {
  return cooperative_groups::this_cluster().num_blocks();
}
__device__ __forceinline__ void cluster_sync() {
  cooperative_groups::this_cluster().sync();
}
template <class T>
__device__ __forceinline__ T* of_rank(T* place, unsigned rank) {
  return cooperative_groups::this_cluster().map_shared_rank(place, rank);
}
#else  // before sm_90 a cluster is one block
__device__ __forceinline__ unsigned cluster_rank() {
  return 0;
}
__device__ __forceinline__ unsigned cluster_size() {
  return 1;
}
__device__ __forceinline__ void cluster_sync() {
  __syncthreads();
}
template <class T>
__device__ __forceinline__ T* of_rank(T* place, unsigned) {
  return place;
}
#endif

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), const Shape& shape, cudaStream_t stream,
                   const Arguments&... arguments) {
  constexpr std::size_t without_asking = 48 * 1024;
  if (shape.shared > without_asking) {
    const auto error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            static_cast<int>(shape.shared));
    if (error != cudaSuccess) return error;
  }
  const unsigned blocks = shape.cluster.x * shape.cluster.y * shape.cluster.z;
  if (blocks > 8) {  // more than every device of its kind must offer
    const auto error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = shape.cluster.x;
  attribute.val.clusterDim.y = shape.cluster.y;
  attribute.val.clusterDim.z = shape.cluster.z;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = blocks > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

#endif

}  // namespace equiprop::cuda
