#include "regions.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace roialign::xla {
namespace {

std::string written(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

/// Checks rows, and marks invalid ones with image -1 if their result is to be zero.
class Checks {
 public:
  Checks(const Frame& frame, const Columns& columns, int64_t images)
      : columns_(columns), images_(images), zero_(frame.flag("zero_if_invalid")), argument_(frame.text("argument")) {}

  void check(std::span<double> row, int64_t number) const {
    const std::span<double> box = row.subspan(1, static_cast<size_t>(columns_.numbers));
    const auto after = row.begin() + columns_.offset();
    const std::span<double> offset(after, row.begin() + columns_.mask());
    const bool has_image = is_image(row[0], images_);
    if (has_image && std::ranges::all_of(box, is_coordinate) && std::ranges::all_of(offset, is_coordinate)) return;
    if (!zero_) throw std::invalid_argument(describe(row[0], has_image, box, offset, number));
    std::fill(row.begin(), row.begin() + columns_.mask(), 0.0);
    row[0] = -1.0;
  }

 private:
  std::string describe(double image, bool has_image, std::span<const double> box, std::span<const double> offset,
                       int64_t number) const {
    const std::string place = "row " + std::to_string(number) + " of ";
    if (!has_image) {
      return place + argument_ + ": expected an integer batch index 0 <= index < " + std::to_string(images_) +
             ", got " + written(image);
    }
    const auto wrong = std::ranges::find_if_not(box, is_coordinate);
    if (wrong == box.end()) {
      const double value = *std::ranges::find_if_not(offset, is_coordinate);
      return place + "offset: expected finite numbers up to 1e+100, got " + written(value);
    }
    std::string coordinates;
    for (const double value : box) coordinates += (coordinates.empty() ? "" : ", ") + written(value);
    return place + argument_ + ": expected finite coordinates, got (" + coordinates + ")";
  }

  const Columns& columns_;
  int64_t images_;
  bool zero_;
  std::string argument_;
};

std::vector<int64_t> checked_levels(const Buffer& given, int64_t count, size_t levels) {
  std::vector<int64_t> found = integers_of(given, count);
  for (size_t row = 0; row < found.size(); ++row) {
    if (found[row] < 0 || found[row] >= static_cast<int64_t>(levels)) {
      throw std::invalid_argument("levels[" + std::to_string(row) + "]: expected 0 <= level < " +
                                  std::to_string(levels) + ", got " + std::to_string(found[row]));
    }
  }
  return found;
}

}  // namespace

Operands::Operands(const Frame& frame) {
  std::span<const Buffer* const> left = frame.arguments();
  const auto take = [&](int64_t count) {
    const auto taken = left.first(static_cast<size_t>(count));
    left = left.subspan(static_cast<size_t>(count));
    return taken;
  };
  const auto take_if = [&](bool is_given) { return is_given ? take(1)[0] : nullptr; };
  features = take(frame.integer("features"));
  grad_output = take_if(frame.flag("has_grad_output"));
  rois = take(1)[0];
  levels = take_if(frame.flag("has_levels"));
  seed = take_if(frame.flag("has_seed"));
  tangents = take(frame.integer("tangents"));
  deciding = take(frame.integer("deciding"));
}

uint64_t Operands::seed_or(uint64_t other) const {
  if (seed == nullptr) return other;
  const std::vector<int64_t> halves = integers_of(*seed, 2);
  return static_cast<uint64_t>(halves[0]) << 32 | static_cast<uint64_t>(halves[1]);
}

Table::Table(const std::vector<double>& rows, int64_t count, const Columns& columns) {
  const auto copy = [&](int64_t first, int64_t end, std::vector<double>& to) {
    for (int64_t row = 0; row < count; ++row) {
      const auto begin = rows.begin() + row * columns.count();
      to.insert(to.end(), begin + first, begin + end);
    }
  };
  copy(1, columns.offset(), boxes);
  if (columns.has_offset) copy(columns.offset(), columns.mask(), offset);
  if (columns.has_mask) copy(columns.mask(), columns.count(), mask);
}

Table Table::like() const {
  Table table;
  table.boxes.resize(boxes.size());
  table.offset.resize(offset.size());
  table.mask.resize(mask.size());
  return table;
}

void write_rows(const Table& gradient, int64_t count, const Columns& columns, const Buffer& rows) {
  const auto write = [&](const std::vector<double>& from, int64_t first, int64_t end) {
    auto value = from.begin();
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t column = first; column < end; ++column) set_number(rows, row * columns.count() + column, *value++);
    }
  };
  write(std::vector<double>(static_cast<size_t>(count)), 0, 1);
  write(gradient.boxes, 1, columns.offset());
  if (columns.has_offset) write(gradient.offset, columns.offset(), columns.mask());
  if (columns.has_mask) write(gradient.mask, columns.mask(), columns.count());
}

Regions::Regions(const Frame& frame, const Operands& operands, int64_t numbers, int64_t images_of_map)
    : columns{numbers, frame.integer("bins_y") * frame.integer("bins_x"), frame.flag("has_offset"),
              frame.flag("has_mask")},
      scales(frame.numbers("scales")),
      count(operands.rois->sizes[0]),
      rows(numbers_of(*operands.rois, count, columns.count())) {
  const Checks checks(frame, columns, images_of_map);
  const Levels pyramid{scales, frame.numbers("smallest_areas")};
  const auto length = static_cast<size_t>(columns.count());
  for (int64_t row = 0; row < count; ++row) {
    const std::span<double> values(rows.data() + static_cast<size_t>(row) * length, length);
    checks.check(values, row);
    images.push_back(static_cast<int64_t>(values[0]));
    if (operands.levels == nullptr) levels.push_back(pyramid.level_of(&values[1], numbers == 5));
  }
  if (operands.levels != nullptr) levels = checked_levels(*operands.levels, count, scales.size());
  table = Table(rows, count, columns);
  for (const Buffer* tangent : operands.tangents)
    tangents.emplace_back(numbers_of(*tangent, count, columns.count()), count, columns);
}

}  // namespace roialign::xla
