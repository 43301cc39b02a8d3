// The foreign functions of XLA in the Python module, as capsules that JAX registers.
#include "bindings.h"
#include "xla/handlers.h"

namespace nb = nanobind;

namespace roialign {

void bind_xla(nb::module_& m) {
  m.def("xla_handlers", [] {
    nb::typed<nb::dict, nb::str, nb::object> capsules;
    for (const xla::NamedHandler& named : xla::handlers()) {
      capsules[named.name] = nb::capsule(reinterpret_cast<void*>(named.handler));
    }
    return capsules;
  });
}

}  // namespace roialign
