// Philox-4x32-10 (Salmon et al., SC 2011): a generator that is a pure function of a counter and a key. Every backend
// draws the same points in any order.
#pragma once

#include <array>
#include <cstdint>

namespace roialign {

inline std::array<uint32_t, 4> philox_4x32(std::array<uint32_t, 4> counter, uint64_t seed) {
  auto key_0 = static_cast<uint32_t>(seed);
  auto key_1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product_0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product_1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product_1 >> 32) ^ counter[1] ^ key_0, static_cast<uint32_t>(product_1),
               static_cast<uint32_t>(product_0 >> 32) ^ counter[3] ^ key_1, static_cast<uint32_t>(product_0)};
    key_0 += 0x9E3779B9U;
    key_1 += 0xBB67AE85U;
  }
  return counter;
}

/// The random numbers of sampling: one number in (0, 1) for each point of each bin, axis and RoI.
struct Generator {
  uint64_t seed;
  int64_t axis;
  int64_t row;

  double uniform(int64_t sample, int64_t bin) const {
    const auto word = philox_4x32({static_cast<uint32_t>(sample), static_cast<uint32_t>(bin),
                                   static_cast<uint32_t>(axis), static_cast<uint32_t>(row)},
                                  seed)[0];
    return (static_cast<double>(word) + 0.5) * 0x1p-32;
  }
};

}  // namespace roialign
