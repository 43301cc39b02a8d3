// The RoIs of a call from XLA, and the directions in which they move.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "frame.h"
#include "pointwise.h"
#include "rows.h"

namespace roialign::xla {

/// The buffers of a call, in the order of `Inputs` in Python.
struct Operands {
  explicit Operands(const Frame& frame);

  std::span<const Buffer* const> features;
  const Buffer* grad_output;  // null: none
  const Buffer* rois;
  const Buffer* levels;  // null: assigned by size
  const Buffer* seed;    // null: that of the specification
  std::span<const Buffer* const> tangents, deciding;

  uint64_t seed_or(uint64_t other) const;
};

/// The columns of a row: the image, the numbers of the box, then the values of all bins, (offset x, offset y) and mask.
struct Columns {
  int64_t numbers;
  int64_t bins;
  bool has_offset, has_mask;

  int64_t offset() const { return 1 + numbers; }
  int64_t mask() const { return offset() + (has_offset ? 2 * bins : 0); }
  int64_t count() const { return mask() + (has_mask ? bins : 0); }
};

/// Rows without their images, taken apart.
struct Table {
  Table() = default;
  Table(const std::vector<double>& rows, int64_t count, const Columns& columns);

  /// The parts that the rows do not have are null.
  Geometry geometry(const Columns& columns) const {
    return {boxes.data(), columns.has_offset ? offset.data() : nullptr, columns.has_mask ? mask.data() : nullptr};
  }
  /// Memory for a gradient like this.
  Table like() const;

  std::vector<double> boxes, offset, mask;
};

/// Puts a gradient together as rows, with zeros for the images.
void write_rows(const Table& gradient, int64_t count, const Columns& columns, const Buffer& rows);

/// The RoIs of a call, which have been checked.
struct Regions {
  /// Throws std::invalid_argument for a row that is invalid, unless the attribute `invalid` says that its result is 0.
  Regions(const Frame& frame, const Operands& operands, int64_t numbers, int64_t images);

  Columns columns;
  std::vector<double> scales;
  int64_t count;
  std::vector<double> rows;  // as given, with image -1 for invalid ones
  std::vector<int64_t> images, levels;
  Table table;
  std::vector<Table> tangents;
};

}  // namespace roialign::xla
