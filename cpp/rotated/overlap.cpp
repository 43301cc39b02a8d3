// The area of the intersection is computed in the frame of the smaller box: its centre is the origin, and its sides are
// parallel to the axes, at +-a and +-b. There, the intersection has the height max(-b, min(b, top)) - max(-b, min(b,
// bottom)) at every x from -a to a, where top and bottom are the edges of the other box. So its area is a sum over the
// four edges of the other box, of the integral of max(-b, min(b, y)) along the edge from -a to a.
//
// Each edge is a separate term, which changes continuously with the boxes. No corner of the intersection is needed, and
// so no decision that rounding could make inconsistent, as for edges that nearly coincide.
#include "rotated/overlap.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace roialign {
namespace {

struct Vector {
  double x, y;

  Vector operator+(const Vector& other) const { return {x + other.x, y + other.y}; }
  Vector operator-(const Vector& other) const { return {x - other.x, y - other.y}; }
};

double dot(const Vector& one, const Vector& other) { return one.x * other.x + one.y * other.y; }

double clamp(double value, double half) { return std::min(std::max(value, -half), half); }

/// Two boxes in the frame of the first.
struct Frame {
  Frame(const RotatedBox& box, const RotatedBox& other) : a(0.5 * box.width), b(0.5 * box.height) {
    const Direction& axis = box.along;
    const double x = other.x - box.x, y = other.y - box.y;
    centre = {axis.cosine * x + axis.sine * y, axis.cosine * y - axis.sine * x};
    const Direction turned(axis.cosine * other.along.cosine + axis.sine * other.along.sine,
                           axis.cosine * other.along.sine - axis.sine * other.along.cosine);
    along_width = {0.5 * other.width * turned.cosine, 0.5 * other.width * turned.sine};
    along_height = {-0.5 * other.height * turned.sine, 0.5 * other.height * turned.cosine};
  }

  /// Whether a side of one of the boxes separates them.
  bool is_apart() const {
    if (std::abs(centre.x) >= a + std::abs(along_width.x) + std::abs(along_height.x)) return true;
    if (std::abs(centre.y) >= b + std::abs(along_width.y) + std::abs(along_height.y)) return true;
    for (const Vector& half : {along_width, along_height}) {  // multiplied by the length of `half`
      if (std::abs(dot(centre, half)) >= dot(half, half) + a * std::abs(half.x) + b * std::abs(half.y)) return true;
    }
    return false;
  }

  /// The corners of the other box, from x towards y. Edge i goes from corner i to the next. Edges 0 and 2 have its
  /// width.
  std::array<Vector, 5> corners() const {
    const Vector left = centre - along_width, right = centre + along_width;
    const Vector first = left - along_height;
    return {first, right - along_height, right + along_height, left + along_height, first};
  }

  double a, b;
  Vector centre, along_width, along_height;  // of the other box; the last two are half as long as its sides
};

/// The part of an edge with |x| <= a.
struct Part {
  Part(const Vector& start, const Vector& end, double a) : start(start), end(end) {
    const Vector step = end - start;
    const double from = clamp(start.x, a), to = clamp(end.x, a);
    is_inside = from != to || (start.x == end.x && std::abs(start.x) <= a);
    if (!is_inside) return;
    // From the nearer end, which is exact if nothing is cut off.
    if (from != start.x) this->start = {from, start.y + (from - start.x) / step.x * step.y};
    if (to != end.x) this->end = {to, end.y + (to - end.x) / step.x * step.y};
  }

  Vector start, end;
  bool is_inside;
};

/// How much of the interval between two heights is below -b, from -b to b and above b. The sum is 1.
struct Shares {
  Shares(double start, double end, double b) {
    const double low = std::min(start, end), high = std::max(start, end), length = high - low;
    if (length < 1e-300) {  // on a line, so that a half counts on either side
      above = low > b ? 1.0 : low == b ? 0.5 : 0.0;
      below = low < -b ? 1.0 : low == -b ? 0.5 : 0.0;
      within = 1.0 - above - below;
    } else {
      above = std::max(high - std::max(low, b), 0.0) / length;
      below = std::max(std::min(high, -b) - low, 0.0) / length;
      within = std::max(std::min(high, b) - std::max(low, -b), 0.0) / length;
    }
  }

  double below, within, above;
};

double intersection(const Frame& frame) {
  const auto corners = frame.corners();
  double area = 0.0;
  for (int edge = 0; edge < 4; ++edge) {
    const Part part(corners[edge], corners[edge + 1], frame.a);
    if (!part.is_inside) continue;
    const Shares shares(part.start.y, part.end.y, frame.b);
    const double middle = 0.5 * (clamp(part.start.y, frame.b) + clamp(part.end.y, frame.b));
    const double mean = shares.within * middle + frame.b * (shares.above - shares.below);
    area -= (part.end.x - part.start.x) * mean;
  }
  return area;
}

/// The intersection, with rounding errors that would make it negative or larger than a box removed.
double shared_area(const Frame& frame, double smaller, double larger) {
  if (frame.is_apart()) return 0.0;
  return std::min(std::max(intersection(frame), 0.0), std::min(smaller, larger));
}

double ratio(double shared, double smaller, double larger) {
  const double all = smaller + larger - shared;
  return all > 0.0 ? shared / all : 0.0;
}

bool is_smaller(const RotatedBox& one, const RotatedBox& other) { return one.area() < other.area(); }

/// The derivatives of the area of an intersection. If the boundary of a region moves, its area grows by the integral of
/// the outward velocity over the boundary.
class AreaGradient {
 public:
  explicit AreaGradient(const Frame& frame) : frame_(frame) {
    const auto corners = frame.corners();
    for (int edge = 0; edge < 4; ++edge) {
      move_frame_width(corners[edge], corners[edge + 1]);
      const Part part(corners[edge], corners[edge + 1], frame.a);
      if (!part.is_inside) continue;
      const Shares shares(part.start.y, part.end.y, frame.b);
      move_frame_height(part, shares);
      move_edge(part, shares, edge);
    }
  }

  std::array<double, 5> of_other(const RotatedBox& frame_box) const {
    return {shift_x(frame_box), shift_y(frame_box), width_, height_, turn_};
  }

  /// If both boxes move together, the area stays as it is.
  std::array<double, 5> of_frame_box(const RotatedBox& box) const {
    const double turn = -(turn_ + shift_.y * frame_.centre.x - shift_.x * frame_.centre.y);
    return {-shift_x(box), -shift_y(box), frame_width_, frame_height_, turn};
  }

 private:
  /// The length of the frame's sides at x = -a and x = a inside the other box. An edge bounds it where it crosses them,
  /// which counts by half on either side of a line.
  void move_frame_width(const Vector& start, const Vector& end) {
    const auto beyond = [](double x, double line) { return x > line ? 1.0 : x == line ? 0.5 : 0.0; };
    for (const double line : {-frame_.a, frame_.a}) {
      const double crossings = beyond(end.x, line) - beyond(start.x, line);
      if (crossings == 0.0) continue;
      const double y = start.y + (line - start.x) / (end.x - start.x) * (end.y - start.y);
      frame_width_ -= 0.5 * crossings * clamp(y, frame_.b);
    }
  }

  /// The same for y = -b and y = b, where the edge is beyond them.
  void move_frame_height(const Part& part, const Shares& shares) {
    frame_height_ -= 0.5 * (part.end.x - part.start.x) * (shares.above - shares.below);
  }

  /// The part of an edge of the other box that is inside the frame's box.
  void move_edge(const Part& part, const Shares& shares, int edge) {
    if (shares.within == 0.0) return;
    const Vector whole = part.end - part.start;
    const bool on_side = whole.x == 0.0 && std::abs(part.start.x) == frame_.a;
    const double weight = on_side ? 0.5 : 1.0;
    const double flat = whole.y == 0.0 ? shares.within : 1.0;  // a half if it lies on a side
    const Vector start = at_height(part, part.start), end = at_height(part, part.end);
    const Vector step = {weight * flat * (end.x - start.x), weight * flat * (end.y - start.y)};
    const Vector middle = {0.5 * (start.x + end.x), 0.5 * (start.y + end.y)};
    shift_ = shift_ + Vector{step.y, -step.x};
    turn_ -= dot(middle - frame_.centre, step);
    (edge % 2 == 0 ? height_ : width_) += 0.5 * std::hypot(step.x, step.y);
  }

  /// An end of the part of an edge, moved along the edge to |y| <= b.
  Vector at_height(const Part& part, const Vector& point) const {
    const double y = clamp(point.y, frame_.b);
    if (y == point.y) return point;
    const Vector whole = part.end - part.start;
    return {point.x + (y - point.y) / whole.y * whole.x, y};
  }

  double shift_x(const RotatedBox& box) const { return box.along.cosine * shift_.x - box.along.sine * shift_.y; }
  double shift_y(const RotatedBox& box) const { return box.along.sine * shift_.x + box.along.cosine * shift_.y; }

  const Frame& frame_;
  Vector shift_{0.0, 0.0};  // of the other box, in the frame
  double width_ = 0.0, height_ = 0.0, turn_ = 0.0, frame_width_ = 0.0, frame_height_ = 0.0;
};

}  // namespace

double overlap(const RotatedBox& first, const RotatedBox& second) {
  if (is_smaller(second, first)) return overlap(second, first);
  return ratio(shared_area(Frame(first, second), first.area(), second.area()), first.area(), second.area());
}

OverlapGradient overlap_gradient(const RotatedBox& first, const RotatedBox& second) {
  if (is_smaller(second, first)) {
    const OverlapGradient swapped = overlap_gradient(second, first);
    return {swapped.second, swapped.first};
  }
  OverlapGradient gradient;
  const Frame frame(first, second);
  const double shared = shared_area(frame, first.area(), second.area());
  if (shared == 0.0) return gradient;
  const double all = first.area() + second.area() - shared, quotient = shared / all;
  const AreaGradient area(frame);
  const auto of_quotient = [&](std::array<double, 5> moved, const RotatedBox& box) {
    for (double& number : moved) number *= (1.0 + quotient) / all;
    moved[2] -= quotient * box.height / all;
    moved[3] -= quotient * box.width / all;
    return moved;
  };
  gradient.first = of_quotient(area.of_frame_box(first), first);
  gradient.second = of_quotient(area.of_other(first), second);
  return gradient;
}

}  // namespace roialign
