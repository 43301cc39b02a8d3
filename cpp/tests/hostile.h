// Arrays and coordinates that are likely to reveal errors.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>

#include "memory.h"

namespace roialign {

inline constexpr int64_t item_size[] = {8, 4, 2, 2};

/// An array on the heap with memory of the exact size, seen as [N, C, H, W] in one of three layouts.
class Array {
 public:
  enum Layout { nchw, nhwc, reversed };

  Array(ScalarType type, std::array<int64_t, 4> size, Layout layout) : type_(type) {
    const int64_t item = item_size[static_cast<int>(type)];
    const auto [n, c, h, w] = size;
    bytes_ = n * c * h * w * item;
    memory_ = std::make_unique<std::byte[]>(std::max<int64_t>(bytes_, 1));
    view = {memory_.get(), size, {c * h * w * item, h * w * item, w * item, item}};
    if (layout == nhwc) view.stride = {h * w * c * item, item, w * c * item, c * item};
    if (layout == reversed && bytes_ > 0) {  // every axis backwards
      view.data += bytes_ - item;
      for (int64_t& stride : view.stride) stride = -stride;
    }
  }

  /// Small numbers in any type: a byte pattern whose exponent stays low.
  void fill(std::mt19937_64& random) {
    std::uniform_real_distribution<double> values(-2.0, 2.0);
    for (int64_t at = 0; at < bytes_; at += item_size[static_cast<int>(type_)]) {
      const double value = values(random);
      const auto single = static_cast<float>(value);
      uint32_t bits;
      std::memcpy(&bits, &single, sizeof(bits));
      const auto brain = static_cast<uint16_t>(bits >> 16);
      const uint16_t half = static_cast<uint16_t>(0x3800 | (random() & 0x83ff));  // +-0.5 .. 1
      switch (type_) {
        case ScalarType::float64:
          std::memcpy(memory_.get() + at, &value, 8);
          break;
        case ScalarType::float32:
          std::memcpy(memory_.get() + at, &single, 4);
          break;
        case ScalarType::float16:
          std::memcpy(memory_.get() + at, &half, 2);
          break;
        case ScalarType::bfloat16:
          std::memcpy(memory_.get() + at, &brain, 2);
          break;
      }
    }
  }

  bool is_finite() const {
    for (int64_t at = 0; at < bytes_; at += item_size[static_cast<int>(type_)]) {
      uint64_t bits = 0;
      std::memcpy(&bits, memory_.get() + at, item_size[static_cast<int>(type_)]);
      constexpr uint64_t exponent[] = {0x7ff0000000000000, 0x7f800000, 0x7c00, 0x7f80};
      const uint64_t mask = exponent[static_cast<int>(type_)];
      if ((bits & mask) == mask) return false;
    }
    return true;
  }

  View view;

 private:
  ScalarType type_;
  int64_t bytes_;
  std::unique_ptr<std::byte[]> memory_;
};

inline double hostile_coordinate(std::mt19937_64& random, int64_t size) {
  constexpr double extremes[] = {0.0, -1.0, 1e-300, 1e-12, -1e-12, 0.5, 1e5, -1e5, 1e9, 1e15, -1e15, 1e100, -1e100};
  if (random() % 2) return std::uniform_real_distribution<double>(-2.0, static_cast<double>(size) + 2.0)(random);
  if (random() % 2) return static_cast<double>(static_cast<int64_t>(random() % (size + 3)) - 1);
  return extremes[random() % std::size(extremes)];
}

/// Calls all functions of the pointwise family. Returns false if a result that should be finite is not.
bool run_pointwise(uint64_t seed);

/// The same for the functions of rotated boxes, whose overlaps should be from 0 to 1.
bool run_rotated(uint64_t seed);

}  // namespace roialign
