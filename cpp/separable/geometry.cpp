#include "separable/geometry.h"

namespace roialign {

std::vector<RoiGroup> group_by_place(const SeparableCall& call, std::span<const View> maps, int64_t most_pixels,
                                     int64_t channel_shares) {
  std::vector<RoiPlace> places(call.rois);
  for (int64_t row = 0; row < call.rois; ++row) {
    const View& map = maps[call.levels[row]];
    const RoiAxis y(call, map, row, 0, 1), x(call, map, row, 1, 1);
    const MappedAxis& rows = y.sampling().roi;
    const double middle = std::clamp(rows.start + 0.5 * rows.length, -1.0, static_cast<double>(map.size[2]));
    places[row] = {call.levels[row], image_of(call, row), row, y.pixels(), x.pixels(), middle, x.sampling().roi.start};
  }
  // The preparation of a group takes memory, and there must be work for all threads.
  const int64_t items = call.team.threads == 1 ? 1 : 2 * call.team.threads;
  const auto most_rois = static_cast<size_t>(std::clamp<int64_t>(call.rois * channel_shares / items, 16, 1024));
  return group_by_place(std::move(places), maps, most_pixels, most_rois);
}

}  // namespace roialign
