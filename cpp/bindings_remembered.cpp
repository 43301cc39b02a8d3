// Results of a function of settings, which most programs call again and again with the same ones.
#include <algorithm>
#include <cstring>
#include <vector>

#include "bindings.h"

namespace nb = nanobind;

namespace roialign {
namespace {

template <class... Types>
bool is_one_of(PyTypeObject* type, const Types&... types) {
  return ((type == &types) || ...);
}

/// Whether two values that cannot change are the same. True, 1 and 1.0 are not, nor are 0.0 and -0.0.
bool are_same(nb::handle one, nb::handle other) {
  if (one.is(other)) return true;
  PyTypeObject* const type = Py_TYPE(one.ptr());
  if (Py_TYPE(other.ptr()) != type) return false;
  if (type == &PyFloat_Type) {
    const double values[] = {PyFloat_AsDouble(one.ptr()), PyFloat_AsDouble(other.ptr())};
    return std::memcmp(&values[0], &values[1], sizeof(double)) == 0;
  }
  if (type == &PyTuple_Type) {
    const auto items = nb::borrow<nb::tuple>(one), others = nb::borrow<nb::tuple>(other);
    bool are_equal = items.size() == others.size();
    for (size_t index = 0; are_equal && index < items.size(); ++index) {
      are_equal = are_same(items[index], others[index]);
    }
    return are_equal;
  }
  return is_one_of(type, PyLong_Type, PyUnicode_Type) && one.equal(other);
}

using Tuple = nb::typed<nb::tuple, nb::object, nb::ellipsis>;

/// A function of one tuple, and its latest results.
class Remembered {
 public:
  /// Values of the types `fixed` cannot change, and are compared by identity.
  Remembered(nb::object function, const Tuple& fixed) : function_(std::move(function)), fixed_(fixed) {
    entries_.reserve(capacity);
  }

  nb::object operator()(const Tuple& settings) {
    const auto known =
        std::ranges::find_if(entries_, [&](const Entry& entry) { return are_same(entry.settings, settings); });
    if (known != entries_.end()) {
      std::rotate(entries_.begin(), known, known + 1);
      return entries_.front().result;
    }
    nb::object result = function_(settings);
    if (cannot_change(settings)) {
      Entry dropped;  // is destroyed last, since that can run any code
      if (entries_.size() == capacity) {
        dropped = std::move(entries_.back());
        entries_.pop_back();
      }
      entries_.insert(entries_.begin(), {settings, result});
    }
    return result;
  }

 private:
  struct Entry {
    nb::object settings;
    nb::object result;
  };

  static constexpr size_t capacity = 64;

  bool cannot_change(nb::handle value) const {
    PyTypeObject* const type = Py_TYPE(value.ptr());
    if (type == &PyTuple_Type) {
      for (const nb::handle item : nb::borrow<nb::tuple>(value)) {
        if (!cannot_change(item)) return false;
      }
      return true;
    }
    if (value.is_none() || is_one_of(type, PyBool_Type, PyLong_Type, PyFloat_Type, PyUnicode_Type)) return true;
    for (const nb::handle fixed : fixed_) {
      if (fixed.ptr() == reinterpret_cast<PyObject*>(type)) return true;
    }
    return false;
  }

  nb::object function_;
  Tuple fixed_;
  std::vector<Entry> entries_;  // the latest first
};

}  // namespace

void bind_remembered(nb::module_& m) {
  nb::class_<Remembered>(m, "Remembered")
      .def(nb::init<nb::object, const Tuple&>(), nb::arg("function"), nb::arg("fixed"))
      .def("__call__", &Remembered::operator(), nb::arg("settings"));
}

}  // namespace roialign
