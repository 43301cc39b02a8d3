// The arguments of plain calls, read from arrays of NumPy or tensors.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "bindings.h"
#include "memory.h"
#include "rows.h"

namespace roialign {

using Arrays = nanobind::typed<nanobind::tuple, nanobind::object, nanobind::ellipsis>;
using Torch = Arrays;

/// What the core needs of torch: how to read tensors and, for calls that are not small, how to make them and which
/// threads to use.
struct Tensors {
  explicit Tensors(const Torch& given)
      : exchange(given[0]),
        is_neg(given[1]),
        requires_grad(given[2]),
        new_empty_strided(given[3]),
        empty(given[4]),
        team_for(given[5]),
        small_elements(nanobind::cast<int64_t>(given[6])) {}

  nanobind::object exchange;                                  // `__dlpack_c_exchange_api__` of the type
  nanobind::object is_neg, requires_grad, new_empty_strided;  // methods, which take the tensor
  nanobind::object empty;     // of (shape, whether it is channels-last, a tensor like it)
  nanobind::object team_for;  // the Team for a call that reads and writes so many elements
  int64_t small_elements;
};

/// Reads arrays of NumPy, or the tensors of a call.
struct Reader {
  const Tensors* tensors = nullptr;
  bool with_gradients = true;  // whether tensors may require gradients
  bool is_checked = false;     // whether the tensors are known to have no lazy negation

  /// Returns nothing for arrays that the core cannot read.
  std::optional<Array> operator()(nanobind::handle array) const;
};

/// Reads one array of rows with their images, or a tuple with one array of boxes per image. Returns nothing if there
/// are no RoIs, or not all are as they should be.
std::optional<Rows> rows_of(nanobind::handle rois, int64_t numbers, const Levels& levels, int64_t images,
                            const Reader& read);

/// The maps of all levels, which are alike.
struct Maps {
  ScalarType type{};
  std::vector<View> views;
};

bool are_alike(const Maps& one, const Maps& other);

/// Returns nothing unless all maps have the same images, channels and type.
std::optional<Maps> maps_of(const nanobind::tuple& features, bool channels_last, const Reader& read);

/// The axes of a map or a result as [N, C, H, W].
View nchw(const Array& array, bool channels_last);

/// Whether an array may be a map or a result: it has four axes and values.
bool is_pooled(const std::optional<Array>& array);

}  // namespace roialign
