#include "equiprop/base/files.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings.hpp"
#include "equiprop/base/error.hpp"
#include "equiprop/base/safetensors.hpp"
#include "equiprop/model/checkpoint.hpp"

namespace equiprop::bindings {
namespace {

/// Raises the OSError subclass that Python has for the errno, for example FileNotFoundError, with the message of the
/// FileError.
void translate_file_error(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const FileError& refusal) {
    const py::handle os_error(PyExc_OSError);
    const py::object kind = py::type::of(os_error(refusal.code().value(), ""));
    const py::object exception = kind(refusal.what());
    exception.attr("errno") = refusal.code().value();
    PyErr_SetObject(kind.ptr(), exception.ptr());
  }
}

/// Returns NumPy's name of a type, for example "f4".
py::dtype dtype_of(TensorType type) {
  const auto kind = static_cast<char>(code_of(type).front() - 'A' + 'a');
  return py::dtype(kind + std::to_string(bytes_of(type)));
}

TensorType type_of(const py::dtype& dtype) {
  const auto kind = static_cast<char>(dtype.kind() - 'a' + 'A');
  const auto type = tensor_type(kind + std::to_string(8 * dtype.itemsize()));
  if (!type || dtype.byteorder() == '>')
    throw py::type_error("Tensors are of native 16- to 64-bit floats or 8- to 64-bit integers.");
  return *type;
}

py::tuple read(const std::string& path) {
  const SafetensorsFile file(path_of(path));
  py::dict tensors;
  for (const auto& [name, entry] : file.tensors()) {
    py::array array(dtype_of(entry.type), entry.shape);
    auto* const to = static_cast<std::byte*>(array.mutable_data());
    {
      const py::gil_scoped_release release;
      file.read(entry, to);
    }
    tensors[py::str(name)] = array;
  }
  return py::make_tuple(tensors, file.metadata());
}

/// Writes arrays to a file. The arrays must be in C order.
void write(const std::string& path, const std::map<std::string, py::array>& tensors,
           const std::map<std::string, std::string>& metadata) {
  std::map<std::string, TensorView> views;
  for (const auto& [name, array] : tensors)
    views[name] = {
        type_of(array.dtype()),
        {array.shape(), array.shape() + array.ndim()},
        {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.nbytes())}};
  const py::gil_scoped_release release;
  write_safetensors(path_of(path), views, metadata);
}

/// Writes bytes to a file; `where` is the function that error messages name.
void write_bytes(const std::string& path, const py::bytes& content, const std::string& where) {
  const std::string_view text = content;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  const py::gil_scoped_release release;
  write_file(path_of(path), {&bytes, 1}, where);
}

}  // namespace

void bind_files(py::module_& m) {
  py::register_exception_translator(&translate_file_error);
  m.attr("MAX_HEADER_BYTES") = max_header_bytes;
  m.def("read_safetensors", &read);
  m.def("write_safetensors", &write);
  m.def("write_file", &write_bytes);
  m.def("move_file", [](const std::string& from, const std::string& to, const std::string& where) {
    move_file(path_of(from), path_of(to), where);
  });
  m.def("remove_leftovers", [](const std::string& folder) { remove_leftovers(path_of(folder)); });
  m.def("load", [](const std::string& path) {
    const py::gil_scoped_release release;
    return load_as_saved(path_of(path));
  });
  m.def("network_of", &network_of);
}

}  // namespace equiprop::bindings
