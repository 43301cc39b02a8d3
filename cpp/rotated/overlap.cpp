// The area of the intersection is computed in the frame of the smaller box: its centre is the origin, and its sides are
// parallel to the axes, at +-a and +-b. There, the intersection has the height max(-b, min(b, top)) - max(-b, min(b,
// bottom)) at every x from -a to a, where top and bottom are the edges of the other box. So its area is a sum over the
// four edges of the other box, of the integral of max(-b, min(b, y)) along the edge from -a to a.
//
// Each edge is a separate term, which changes continuously with the boxes. No corner of the intersection is needed, and
// so no decision that rounding could make inconsistent, as for edges that nearly coincide. The four edges are computed
// at once, without branches.
#include "rotated/overlap.h"

#include <algorithm>
#include <cmath>

#include "rotated/edges.h"

namespace roialign {
namespace {

/// Shorter intervals count as points, because dividing by them could overflow.
constexpr double shortest = 1e-300;

struct Vector {
  double x, y;

  double dot(const Vector& other) const { return x * other.x + y * other.y; }
};

/// The larger of two boxes in the frame of the smaller one.
struct Frame {
  Frame(const RotatedBox& box, const RotatedBox& other) : a(0.5 * box.width), b(0.5 * box.height) {
    const Direction& axis = box.along;
    const double x = other.x - box.x, y = other.y - box.y;
    centre = {axis.cosine * x + axis.sine * y, axis.cosine * y - axis.sine * x};
    turned = Direction(axis.cosine * other.along.cosine + axis.sine * other.along.sine,
                       axis.cosine * other.along.sine - axis.sine * other.along.cosine);
    across = {0.5 * other.width * turned.cosine, 0.5 * other.width * turned.sine};
    down = {-0.5 * other.height * turned.sine, 0.5 * other.height * turned.cosine};
  }

  /// Whether a side of one of the boxes separates them.
  bool is_apart() const {
    if (std::abs(centre.x) >= a + std::abs(across.x) + std::abs(down.x)) return true;
    if (std::abs(centre.y) >= b + std::abs(across.y) + std::abs(down.y)) return true;
    for (const Vector& half : {across, down}) {  // multiplied by the length of `half`
      if (std::abs(centre.dot(half)) >= half.dot(half) + a * std::abs(half.x) + b * std::abs(half.y)) return true;
    }
    return false;
  }

  double a, b;
  Vector centre;
  Direction turned;     // of the larger box's width
  Vector across, down;  // half of its width and height
};

/// The edges of the larger box, from x towards y, cut to |x| <= a. Edges 0 and 2 have its width.
struct Parts {
  explicit Parts(const Frame& frame) {
    const double left = frame.centre.x - frame.across.x, right = frame.centre.x + frame.across.x;
    const double top = frame.centre.y - frame.across.y, bottom = frame.centre.y + frame.across.y;
    start_x = Edges(left - frame.down.x, right - frame.down.x, right + frame.down.x, left + frame.down.x);
    start_y = Edges(top - frame.down.y, bottom - frame.down.y, bottom + frame.down.y, top + frame.down.y);
    end_x = start_x.next();
    rise = start_y.next() - start_y;
    const Edges zero(0.0), one(1.0), b(frame.b), step = end_x - start_x;
    run = choose(size_of(step) < Edges(shortest), one, step);
    from_x = clamp(start_x, frame.a);
    to_x = clamp(end_x, frame.a);
    // From the nearer end, which is exact if nothing is cut off.
    from_y = start_y + share((from_x - start_x) / run) * rise;
    to_y = start_y.next() - share((end_x - to_x) / run) * rise;
    const Edges low = smaller(from_y, to_y), high = larger(from_y, to_y);
    is_level = high - low < Edges(shortest);
    length = choose(is_level, one, high - low);
    above = choose(is_level, beyond(low, frame.b), larger(high - larger(low, b), zero));
    below = choose(is_level, beyond(-low, frame.b), larger(smaller(high, -b) - low, zero));
    within = choose(is_level, one - above - below, larger(smaller(high, b) - larger(low, -b), zero));
  }

  double area(double b) const {
    const Edges middle = Edges(0.5) * (clamp(from_y, b) + clamp(to_y, b));
    const Edges mean = (within * middle + Edges(b) * (above - below)) / length;
    return -((to_x - from_x) * choose(is_level, middle, mean)).sum();
  }

  Edges start_x, start_y, end_x;
  Edges run, rise;  // of the whole edges; `run` is not 0
  Edges from_x, from_y, to_x, to_y;
  Edges above, below, within;  // how much of `length` is above b, below -b and between them
  Edges length;
  EdgeMask is_level;
};

/// The area, with rounding errors that would make it negative or larger than a box removed.
double shared_area(const Frame& frame, const Parts& parts, double largest) {
  return std::min(std::max(parts.area(frame.b), 0.0), largest);
}

bool is_smaller(const RotatedBox& one, const RotatedBox& other) { return one.area() < other.area(); }

/// The derivatives of the area of an intersection. If the boundary of a region moves, its area grows by the integral of
/// the outward velocity over the boundary.
class AreaGradient {
 public:
  AreaGradient(const Frame& frame, const Parts& parts) : frame_(frame) {
    frame_width_ = -0.5 * (chord(parts, -frame.a) + chord(parts, frame.a));
    frame_height_ = -0.5 * ((parts.to_x - parts.from_x) * (parts.above - parts.below) / parts.length).sum();
    move_edges(parts);
  }

  std::array<double, 5> of_larger(const RotatedBox& smaller) const {
    const Vector shift = on_map(smaller);
    return {shift.x, shift.y, width_, height_, turn_};
  }

  /// If both boxes move together, the area stays as it is.
  std::array<double, 5> of_smaller(const RotatedBox& smaller) const {
    const Vector shift = on_map(smaller);
    const double turn = -(turn_ + shift_.y * frame_.centre.x - shift_.x * frame_.centre.y);
    return {-shift.x, -shift.y, frame_width_, frame_height_, turn};
  }

 private:
  /// The length of the line at an x inside both boxes, with a sign. An edge bounds it where it crosses the line.
  double chord(const Parts& parts, double line) const {
    const Edges crossings = beyond(parts.end_x, line) - beyond(parts.start_x, line);
    const Edges y = parts.start_y + share((Edges(line) - parts.start_x) / parts.run) * parts.rise;
    return (crossings * clamp(y, frame_.b)).sum();
  }

  /// The parts of the larger box's edges that are inside the smaller one. An edge on a side counts as half.
  void move_edges(const Parts& parts) {
    const Edges zero(0.0), one(1.0), half(0.5);
    const Edges whole_x = parts.to_x - parts.from_x, whole_y = parts.to_y - parts.from_y;
    const Edges slope = whole_x / choose(size_of(whole_y) < Edges(shortest), one, whole_y);
    const Edges first_y = clamp(parts.from_y, frame_.b), last_y = clamp(parts.to_y, frame_.b);
    const Edges first_x = parts.from_x + (first_y - parts.from_y) * slope;
    const Edges last_x = parts.to_x + (last_y - parts.to_y) * slope;
    const Edges if_upright = one - beyond(size_of(parts.start_x), frame_.a);
    const Edges if_slanted = choose(whole_x == zero, zero, one);
    const Edges if_crossing = choose(parts.within > zero, one, zero);
    const Edges weight = choose(parts.start_x == parts.end_x, if_upright, if_slanted) *
                         choose(parts.is_level, parts.within, if_crossing);
    const Edges step_x = weight * (last_x - first_x), step_y = weight * (last_y - first_y);
    const Edges middle_x = half * (first_x + last_x) - Edges(frame_.centre.x);
    const Edges middle_y = half * (first_y + last_y) - Edges(frame_.centre.y);
    shift_ = {step_y.sum(), -step_x.sum()};
    turn_ = -(middle_x * step_x + middle_y * step_y).sum();
    // The lengths of the edges, along their directions.
    const Direction& turned = frame_.turned;
    height_ = 0.5 * ((step_x[0] - step_x[2]) * turned.cosine + (step_y[0] - step_y[2]) * turned.sine);
    width_ = 0.5 * ((step_y[1] - step_y[3]) * turned.cosine - (step_x[1] - step_x[3]) * turned.sine);
  }

  Vector on_map(const RotatedBox& smaller) const {
    const Direction& axis = smaller.along;
    return {axis.cosine * shift_.x - axis.sine * shift_.y, axis.sine * shift_.x + axis.cosine * shift_.y};
  }

  const Frame& frame_;
  Vector shift_;  // of the larger box, in the frame
  double width_, height_, turn_, frame_width_, frame_height_;
};

}  // namespace

double overlap(const RotatedBox& first, const RotatedBox& second) {
  if (is_smaller(second, first)) return overlap(second, first);
  const Frame frame(first, second);
  if (frame.is_apart()) return 0.0;
  const double shared = shared_area(frame, Parts(frame), first.area());
  return shared > 0.0 ? shared / (first.area() + second.area() - shared) : 0.0;
}

OverlapGradient overlap_gradient(const RotatedBox& first, const RotatedBox& second) {
  if (is_smaller(second, first)) {
    const OverlapGradient swapped = overlap_gradient(second, first);
    return {swapped.second, swapped.first};
  }
  OverlapGradient gradient;
  const Frame frame(first, second);
  if (frame.is_apart()) return gradient;
  const Parts parts(frame);
  const double shared = shared_area(frame, parts, first.area());
  if (shared == 0.0) return gradient;
  const double whole = first.area() + second.area() - shared, quotient = shared / whole;
  const AreaGradient area(frame, parts);
  const auto of_quotient = [&](std::array<double, 5> moved, const RotatedBox& box) {
    for (double& number : moved) number *= (1.0 + quotient) / whole;
    moved[2] -= quotient * box.height / whole;
    moved[3] -= quotient * box.width / whole;
    return moved;
  };
  gradient.first = of_quotient(area.of_smaller(first), first);
  gradient.second = of_quotient(area.of_larger(first), second);
  return gradient;
}

}  // namespace roialign
