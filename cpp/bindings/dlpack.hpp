#pragma once
/// Arrays of a CUDA device for Python: the structures of DLPack (https://dmlc.github.io/dlpack, version 1), and the copies
/// that they need.

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>

#include "arrays.hpp"
#include "equiprop/cuda/device_memory.hpp"

namespace equiprop::bindings::dlpack {

struct Version {
  std::uint32_t major, minor;
};
struct Device {
  std::int32_t type, number;
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t dimensions;
  DataType type;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};
/// The structure in a capsule "dltensor".
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};
/// The structure in a capsule "dltensor_versioned".
struct VersionedManaged {
  Version version;
  void* context;
  void (*deleter)(VersionedManaged*);
  std::uint64_t flags;
  Tensor tensor;
};

template <class M>
constexpr bool is_versioned = std::is_same_v<M, VersionedManaged>;
template <class M>
constexpr const char* name_of = is_versioned<M> ? "dltensor_versioned" : "dltensor";
template <class M>
constexpr const char* used_name_of = is_versioned<M> ? "used_dltensor_versioned" : "used_dltensor";

/// Takes the structure out of a capsule, and returns (address, shape, strides in numbers or None, (code, bits, lanes),
/// (device type, device number), owner). The memory is that of the producer until the owner is deleted.
template <class M>
py::tuple take(const py::capsule& capsule) {
  auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule.ptr(), name_of<M>));
  if (managed == nullptr || PyCapsule_SetName(capsule.ptr(), used_name_of<M>) != 0)
    throw py::error_already_set();
  const py::capsule owner(managed, [](void* given) {
    auto* owned = static_cast<M*>(given);
    if (owned->deleter != nullptr) owned->deleter(owned);
  });
  if constexpr (is_versioned<M>)
    require(managed->version.major == 1, "cuda", "DLPack has version 1.", managed->version.major);
  const Tensor& tensor = managed->tensor;
  const auto numbers = [&](const std::int64_t* first) {
    return std::vector<std::int64_t>(first, first + tensor.dimensions);
  };
  py::object strides = py::none();
  if (tensor.strides != nullptr) strides = py::cast(numbers(tensor.strides));
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
  return py::make_tuple(address, numbers(tensor.shape), strides,
                        py::make_tuple(tensor.type.code, tensor.type.bits, tensor.type.lanes),
                        py::make_tuple(tensor.device.type, tensor.device.number), owner);
}
inline py::tuple take_any(const py::capsule& capsule) {
  return PyCapsule_IsValid(capsule.ptr(), name_of<VersionedManaged>) != 0
             ? take<VersionedManaged>(capsule)
             : take<Managed>(capsule);
}

/// A structure with its shape and strides, and the object that owns the memory.
template <class M>
struct Given {
  M managed{};
  std::vector<std::int64_t> shape, strides;
  py::object owner;
};

template <class M>
void end(M* managed) {
  const py::gil_scoped_acquire lock;
  delete static_cast<Given<M>*>(managed->context);
}

/// Returns a capsule with a C-contiguous array of the device, whose memory `owner` keeps.
template <class M>
py::capsule give(std::uintptr_t address, const std::vector<std::int64_t>& shape, DataType type,
                 int device, py::object owner) {
  auto given = std::make_unique<Given<M>>();
  given->shape = given->strides = shape;
  std::int64_t stride = 1;
  for (std::size_t k = shape.size(); k-- > 0; stride *= shape[k]) given->strides[k] = stride;
  given->owner = std::move(owner);
  M& managed = given->managed;
  if constexpr (is_versioned<M>) managed.version = {1, 0};
  managed.context = given.get();
  managed.deleter = &end<M>;
  constexpr int cuda = 2;
  managed.tensor = {reinterpret_cast<void*>(address),
                    {cuda, device},
                    static_cast<std::int32_t>(shape.size()),
                    type,
                    given->shape.data(),
                    given->strides.data(),
                    0};
  PyObject* capsule = PyCapsule_New(&managed, name_of<M>, [](PyObject* unused) {
    if (PyCapsule_IsValid(unused, name_of<M>) == 0) return;  // a consumer has taken it
    auto* left = static_cast<M*>(PyCapsule_GetPointer(unused, name_of<M>));
    left->deleter(left);
  });
  if (capsule == nullptr) throw py::error_already_set();
  given.release();
  return py::reinterpret_steal<py::capsule>(capsule);
}

inline py::capsule give_any(std::uintptr_t address, const std::vector<std::int64_t>& shape,
                            int code, int bits, py::object owner, bool versioned) {
  const DataType type{static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), 1};
  const int device = cuda::present_device();
  return versioned ? give<VersionedManaged>(address, shape, type, device, std::move(owner))
                   : give<Managed>(address, shape, type, device, std::move(owner));
}

/// Copies an array of the host to new memory of the device; returns its address and its owner.
inline py::tuple to_device(const py::array& array) {
  require((array.flags() & py::array::c_style) != 0, "cuda", "The array is C-contiguous.",
          "another one");
  const auto bytes = static_cast<std::size_t>(array.nbytes());
  auto memory = std::make_unique<cuda::DeviceMemory>(bytes);
  cuda::copy(memory->data(), array.data(), bytes);
  const auto address = reinterpret_cast<std::uintptr_t>(memory->data());
  const py::capsule owner(memory.release(),
                          [](void* given) { delete static_cast<cuda::DeviceMemory*>(given); });
  return py::make_tuple(address, owner);
}
/// Copies the memory of the device at an address into an array of the host.
inline void to_host(std::uintptr_t address, py::array& array) {
  require((array.flags() & py::array::c_style) != 0, "cuda", "The array is C-contiguous.",
          "another one");
  cuda::copy(array.mutable_data(), reinterpret_cast<const void*>(address),
             static_cast<std::size_t>(array.nbytes()));
}

inline void bind(py::module_& m) {
  m.def("from_dlpack", &take_any, py::arg("capsule"));
  m.def("to_dlpack", &give_any, py::arg("address"), py::arg("shape"), py::arg("code"),
        py::arg("bits"), py::arg("owner"), py::arg("versioned"));
  m.def("to_device", &to_device, py::arg("array"));
  m.def("to_host", &to_host, py::arg("address"), py::arg("array").noconvert());
  m.def("present_device", &cuda::present_device);
  m.def("device_of", [](std::uintptr_t address) {
    return cuda::device_of(reinterpret_cast<const void*>(address));
  });
}

}  // namespace equiprop::bindings::dlpack
