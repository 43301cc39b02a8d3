// One number for each of the four edges of a box, in two vectors that every instruction set has.
#pragma once

namespace roialign {

struct Edges {
  using Two = double __attribute__((vector_size(16)));

  Edges() = default;
  Edges(const Two& first, const Two& last) : first(first), last(last) {}
  explicit Edges(double value) : first{value, value}, last{value, value} {}
  Edges(double zeroth, double one, double two, double three) : first{zeroth, one}, last{two, three} {}

  double operator[](int edge) const { return edge < 2 ? first[edge] : last[edge - 2]; }
  double sum() const { return (first[0] + first[1]) + (last[0] + last[1]); }
  /// The number of each edge's successor.
  Edges next() const { return {first[1], last[0], last[1], first[0]}; }
  Edges operator-() const { return {-first, -last}; }

  Two first, last;
};

/// Whether something holds for each edge.
struct EdgeMask {
  using Two = decltype(Edges::Two{} < Edges::Two{});
  Two first, last;
};

inline Edges operator+(const Edges& a, const Edges& b) { return {a.first + b.first, a.last + b.last}; }
inline Edges operator-(const Edges& a, const Edges& b) { return {a.first - b.first, a.last - b.last}; }
inline Edges operator*(const Edges& a, const Edges& b) { return {a.first * b.first, a.last * b.last}; }
inline Edges operator/(const Edges& a, const Edges& b) { return {a.first / b.first, a.last / b.last}; }
inline EdgeMask operator<(const Edges& a, const Edges& b) { return {a.first < b.first, a.last < b.last}; }
inline EdgeMask operator>(const Edges& a, const Edges& b) { return b < a; }
inline EdgeMask operator==(const Edges& a, const Edges& b) { return {a.first == b.first, a.last == b.last}; }

inline Edges choose(const EdgeMask& mask, const Edges& yes, const Edges& no) {
  return {mask.first ? yes.first : no.first, mask.last ? yes.last : no.last};
}
inline Edges larger(const Edges& a, const Edges& b) { return choose(a > b, a, b); }
inline Edges smaller(const Edges& a, const Edges& b) { return choose(a < b, a, b); }
inline Edges size_of(const Edges& values) { return larger(values, -values); }
/// The nearest numbers from -half to half.
inline Edges clamp(const Edges& values, double half) { return smaller(larger(values, Edges(-half)), Edges(half)); }
/// The nearest numbers from 0 to 1.
inline Edges share(const Edges& values) { return smaller(larger(values, Edges(0.0)), Edges(1.0)); }
/// 1 for numbers above a limit, 0 for those below, and a half on it.
inline Edges beyond(const Edges& values, double limit) {
  return choose(values > Edges(limit), Edges(1.0), choose(values == Edges(limit), Edges(0.5), Edges(0.0)));
}

}  // namespace roialign
