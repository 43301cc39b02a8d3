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

bool are_same(nb::handle one, nb::handle other);

template <class Sequence>
bool have_same_items(const Sequence& items, const Sequence& others) {
  bool are_equal = items.size() == others.size();
  for (size_t index = 0; are_equal && index < items.size(); ++index) are_equal = are_same(items[index], others[index]);
  return are_equal;
}

/// Whether two settings are the same. True, 1 and 1.0 are not, nor are 0.0 and -0.0.
bool are_same(nb::handle one, nb::handle other) {
  if (one.is(other)) return true;
  PyTypeObject* const type = Py_TYPE(one.ptr());
  if (Py_TYPE(other.ptr()) != type) return false;
  if (type == &PyFloat_Type) {
    const double values[] = {PyFloat_AsDouble(one.ptr()), PyFloat_AsDouble(other.ptr())};
    return std::memcmp(&values[0], &values[1], sizeof(double)) == 0;
  }
  if (type == &PyTuple_Type) return have_same_items(nb::borrow<nb::tuple>(one), nb::borrow<nb::tuple>(other));
  if (type == &PyList_Type) return have_same_items(nb::borrow<nb::list>(one), nb::borrow<nb::list>(other));
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
    if (nb::object kept = kept_form(settings)) {
      Entry dropped;  // is destroyed last, since that can run any code
      if (entries_.size() == capacity) {
        dropped = std::move(entries_.back());
        entries_.pop_back();
      }
      entries_.insert(entries_.begin(), {std::move(kept), result});
    }
    return result;
  }

 private:
  struct Entry {
    nb::object settings;
    nb::object result;
  };

  static constexpr size_t capacity = 64;

  /// Returns settings that nobody can change: a copy of a list. Returns nothing for values of other types.
  nb::object kept_form(nb::handle value) const {
    PyTypeObject* const type = Py_TYPE(value.ptr());
    if (is_one_of(type, PyTuple_Type, PyList_Type)) {
      nb::list items;
      for (const nb::handle item : value) {
        nb::object kept = kept_form(item);
        if (!kept) return {};
        items.append(kept);
      }
      return type == &PyList_Type ? nb::object(items) : nb::object(nb::tuple(items));
    }
    const bool is_fixed = std::any_of(fixed_.begin(), fixed_.end(), [&](nb::handle fixed) {
      return fixed.ptr() == reinterpret_cast<PyObject*>(type);
    });
    const bool is_value = is_one_of(type, PyBool_Type, PyLong_Type, PyFloat_Type, PyUnicode_Type) || value.is_none();
    return is_fixed || is_value ? nb::borrow(value) : nb::object();
  }

  nb::object function_;
  Tuple fixed_;
  std::vector<Entry> entries_;  // the latest first
};

}  // namespace

void bind_remembered(nb::module_& m) {
  nb::class_<Remembered>(m, "Remembered")
      .def(nb::init<nb::object, const Tuple&>(), nb::arg("function"), nb::arg("fixed"))
      .def("__call__", &Remembered::operator(), nb::arg("settings"), nb::lock_self());
}

}  // namespace roialign
