/// New objects when memory is short.
///
/// pybind11 uses the memory of a new object without a test for nullptr, and registers an object that Python constructs
/// after the block that translates exceptions. Either failing allocation, of a few dozen bytes, would end the process:
/// the first becomes std::bad_alloc here, and the second gets memory that was put aside.

#include <cstddef>
#include <map>
#include <memory>
#include <new>

#include "bindings.hpp"

namespace equiprop::bindings {
namespace {

using Initialize = void (*)(py::detail::instance*, const void*);
constexpr std::size_t kReserve = 4096;

/// The functions of pybind11 that register an object, by its type.
std::map<PyTypeObject*, Initialize>& originals() {
  static auto& all = *new std::map<PyTypeObject*, Initialize>;
  return all;
}

std::unique_ptr<char[]>& reserve() {
  static auto& block = *new std::unique_ptr<char[]>(new char[kReserve]);
  return block;
}

/// Rethrows the present exception if the object is registered: then its holder, a shared pointer, could not be
/// allocated and has deleted the object, which pybind11 would delete again.
void forget_if_registered(py::detail::instance* self, PyTypeObject* type) {
  py::detail::value_and_holder found = self->get_value_and_holder(py::detail::get_type_info(type));
  if (!found.instance_registered()) return;
  py::detail::deregister_instance(self, found.value_ptr(), found.type);
  found.set_instance_registered(false);
  found.value_ptr() = nullptr;
  throw;
}

/// Registers an object; if there is no memory for it, the reserve is freed, and the registration repeated.
void initialize(py::detail::instance* self, const void* holder) {
  PyTypeObject* type = Py_TYPE(self);
  while (!originals().contains(type)) type = type->tp_base;
  const Initialize original = originals().find(type)->second;
  try {
    original(self, holder);
  } catch (const std::bad_alloc&) {
    forget_if_registered(self, type);
    reserve().reset();
    original(self, holder);
    reserve().reset(new (std::nothrow) char[kReserve]);
  }
}

/// Allocates an object as the slot tp_alloc of its type does; throws std::bad_alloc if there is no memory.
PyObject* allocate(PyTypeObject* type, Py_ssize_t size) {
  PyObject* const made = PyType_GenericAlloc(type, size);
  if (made != nullptr) return made;
  PyErr_Clear();
  throw std::bad_alloc();
}

/// Makes an object for Python, which calls no function that throws.
PyObject* make_new(PyTypeObject* type, PyObject*, PyObject*) noexcept {
  try {
    return py::detail::make_new_instance(type);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

}  // namespace

void survive_failing_allocations(const py::module_& m) {
  reserve();
  for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(m.attr("__dict__"))) {
    if (py::isinstance<py::module_>(value))
      survive_failing_allocations(py::reinterpret_borrow<py::module_>(value));
    if (!py::isinstance<py::type>(value)) continue;
    auto* type = reinterpret_cast<PyTypeObject*>(value.ptr());
    py::detail::type_info* const info = py::detail::get_type_info(type);
    if (info == nullptr || info->init_instance == initialize) continue;
    type->tp_alloc = allocate;
    type->tp_new = make_new;
    originals()[type] = info->init_instance;
    info->init_instance = initialize;
  }
}

}  // namespace equiprop::bindings
