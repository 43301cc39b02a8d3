// The operators as foreign functions of XLA, and so of JAX.
#pragma once

#include <span>

#include "interface.h"

namespace roialign::xla {

struct NamedHandler {
  const char* name;
  Handler* handler;
};

/// The three gradients of both families of operators.
std::span<const NamedHandler> handlers();

}  // namespace roialign::xla
