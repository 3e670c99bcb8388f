#pragma once
// What the numeric tests share: whole tensors, the pieces that ranks hold of them (cut here by explicit lists of indices, not by
// the library), and the way back from pieces to the tensor they denote.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "plait/comm/rank_threads.hpp"
#include "support/cpu_backend.hpp"
#include "plait/runtime/bfloat16.hpp"
#include "plait/runtime/transfer.hpp"

namespace numeric {

using namespace plait;
using i64 = std::int64_t;

inline constexpr placement_value R = Replicate::value, I = Invariant::value, P = Partial::value, M = PartialMax::value, V = Ragged::value;
inline constexpr placement_value S(int d) { return {placement_kind::shard, static_cast<std::int8_t>(d), 1}; }
inline constexpr placement_value Q(int d, int sections) {
  return {placement_kind::strided_shard, static_cast<std::int8_t>(d), static_cast<std::int8_t>(sections)};
}

inline std::string text(placement_value p) {
  std::string s = name_of(p.kind);
  if (p.cuts()) s += "<" + std::to_string(p.dim) + (p.sections > 1 ? "," + std::to_string(p.sections) : "") + ">";
  return s;
}
inline std::string text(const layout_value& l) {
  std::string s = "{";
  for (int a = 0; a < l.atoms; ++a) s += (a > 0 ? " " : "") + text(l.at[a]);
  s += " cuts";
  for (int c = 0; c < l.cuts; ++c) s += " " + std::to_string(static_cast<int>(l.cut[c]));
  return s + "}";
}

/// A whole tensor.
struct whole {
  std::vector<i64> extent;
  std::vector<double> value;

  whole() = default;
  explicit whole(std::vector<i64> e) : extent(std::move(e)), value(static_cast<std::size_t>(count()), 0.0) {}
  i64 count() const {
    i64 n = 1;
    for (const i64 e : extent) n *= e;
    return n;
  }
  int rank() const { return static_cast<int>(extent.size()); }
};
inline whole integers(std::vector<i64> extent, std::uint32_t seed, int low = -4, int high = 4) {
  whole w(std::move(extent));
  std::mt19937 random(seed);
  for (double& v : w.value) v = low + static_cast<int>(random() % static_cast<std::uint32_t>(high - low + 1));
  return w;
}
inline whole reals(std::vector<i64> extent, std::uint32_t seed, double scale = 1.0) {
  whole w(std::move(extent));
  std::mt19937 random(seed);
  for (double& v : w.value) v = scale * (static_cast<double>(random()) / 2147483648.0 - 1.0);
  return w;
}

/// Index lists, cut by definition: sections of ceil(size / sections), pieces of ceil(section / parts).
using list = std::vector<i64>;
inline list cut_list(const list& held, int sections, int part, int parts) {
  list out;
  const std::size_t size = held.size(), n = static_cast<std::size_t>(sections), per = (size + n - 1) / n;
  for (std::size_t s = 0; s < n; ++s) {
    const std::size_t low = std::min(s * per, size), high = std::min(low + per, size), q = static_cast<std::size_t>(parts);
    const std::size_t chunk = (high - low + q - 1) / q;
    for (std::size_t i = std::min(low + static_cast<std::size_t>(part) * chunk, high);
         i < std::min(low + (static_cast<std::size_t>(part) + 1) * chunk, high); ++i)
      out.push_back(held[i]);
  }
  return out;
}
inline std::vector<list> lists_of(const layout_value& layout, const std::vector<i64>& extent, const mesh_shape& mesh, int rank) {
  int at[max_atoms] = {};
  mesh.coordinates(rank, at);
  std::vector<list> lists;
  for (std::size_t d = 0; d < extent.size(); ++d) {
    list held;
    for (i64 i = 0; i < extent[d]; ++i) held.push_back(i);
    for (int c = 0; c < layout.cuts; ++c) {
      const int a = layout.cut[c];
      if (layout.at[a].dim == static_cast<int>(d)) held = cut_list(held, layout.at[a].sections, at[a], mesh.size[a]);
    }
    lists.push_back(std::move(held));
  }
  return lists;
}
/// Flat positions in the whole tensor of a piece's elements, in the piece's memory order.
inline std::vector<std::size_t> positions(const std::vector<list>& lists, const std::vector<i64>& extent) {
  std::vector<std::size_t> out{0};
  for (std::size_t d = 0; d < extent.size(); ++d) {
    std::vector<std::size_t> next;
    next.reserve(out.size() * lists[d].size());
    for (const std::size_t before : out)
      for (const i64 i : lists[d]) next.push_back(before * static_cast<std::size_t>(extent[d]) + static_cast<std::size_t>(i));
    out = std::move(next);
  }
  return out;
}

inline std::uint32_t hash(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint64_t x = (static_cast<std::uint64_t>(a) << 32) ^ (static_cast<std::uint64_t>(b) << 16) ^ c;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return static_cast<std::uint32_t>(x >> 32);
}

/// What rank `rank` holds of `w`. Pending sums are split into small integer addends, pending maxima hold lower values elsewhere.
inline std::vector<double> piece(const whole& w, const layout_value& layout, const mesh_shape& mesh, int rank, std::uint32_t seed) {
  int at[max_atoms] = {};
  mesh.coordinates(rank, at);
  int members = 1, member = 0, highest = 1, high = 0;
  for (int a = 0; a < mesh.atoms; ++a) {
    if (layout.at[a].kind == placement_kind::partial) members *= mesh.size[a], member = member * mesh.size[a] + at[a];
    if (layout.at[a].kind == placement_kind::partial_max) highest *= mesh.size[a], high = high * mesh.size[a] + at[a];
  }
  std::vector<double> out;
  for (const std::size_t p : positions(lists_of(layout, w.extent, mesh, rank), w.extent)) {
    const std::uint32_t flat = static_cast<std::uint32_t>(p);
    const auto addend = [&](int m) { return static_cast<double>(hash(seed, flat, static_cast<std::uint32_t>(m)) % 7u) - 3.0; };
    double v = w.value[p];
    if (members > 1 && member + 1 < members) v = addend(member);
    else
      for (int m = 0; m + 1 < members; ++m) v -= addend(m);
    if (highest > 1 && static_cast<int>(hash(seed, flat, 99u) % static_cast<std::uint32_t>(highest)) != high) v -= 1.0 + hash(seed, flat, static_cast<std::uint32_t>(high)) % 5u;
    out.push_back(v);
  }
  return out;
}

inline double element(const view& v, i64 i) {
  switch (v.type) {
    case dtype::f32: return static_cast<double>(v.as<float>()[i]);
    case dtype::f64: return v.as<double>()[i];
    case dtype::i32: return v.as<std::int32_t>()[i];
    case dtype::i64: return static_cast<double>(v.as<std::int64_t>()[i]);
    case dtype::u8: return v.as<std::uint8_t>()[i];
    case dtype::bf16: return static_cast<double>(static_cast<float>(v.as<bfloat16>()[i]));
  }
  return std::numeric_limits<double>::quiet_NaN();
}
inline void set_element(const view& v, i64 i, double x) {
  switch (v.type) {
    case dtype::f32: v.as<float>()[i] = static_cast<float>(x); break;
    case dtype::f64: v.as<double>()[i] = x; break;
    case dtype::i32: v.as<std::int32_t>()[i] = static_cast<std::int32_t>(x); break;
    case dtype::i64: v.as<std::int64_t>()[i] = static_cast<i64>(x); break;
    case dtype::u8: v.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(x); break;
    case dtype::bf16: v.as<bfloat16>()[i] = bfloat16(static_cast<float>(x)); break;
  }
}
inline std::vector<double> read(const view& v) {
  std::vector<double> out;
  for (i64 i = 0; i < v.size(); ++i) out.push_back(element(v, i));
  return out;
}

/// This rank's array of `w` under `layout`.
inline array make(context& c, const whole& w, const layout_value& layout, dtype type, std::uint32_t seed, bool tracked) {
  const std::vector<list> lists = lists_of(layout, w.extent, c.mesh, c.rank);
  std::int64_t local[max_rank] = {}, global[max_rank] = {};
  for (std::size_t d = 0; d < w.extent.size(); ++d) local[d] = static_cast<i64>(lists[d].size()), global[d] = w.extent[d];
  array a = detail::make_array(c, type, w.rank(), local, global, layout);
  const std::vector<double> values = piece(w, layout, c.mesh, c.rank, seed);
  for (std::size_t i = 0; i < values.size(); ++i) set_element(a.local, static_cast<i64>(i), values[i]);
  if (tracked) detail::track(a);
  return a;
}
/// Puts a cotangent into y's slot: this rank's piece of `g` under the gradient's layout.
inline void seed_gradient(context& c, const array& y, const whole& g, std::uint32_t seed) {
  array piece_of_g = make(c, g, grad_of(y.layout), y.type(), seed, false);
  detail::contribute(c, y.gradient, piece_of_g.local, piece_of_g.memory);
}
inline void run_backward(context& c, tape& t) {
  c.recording = nullptr;
  c.in_backward = true;
  t.backward(c);
  c.in_backward = false;
  c.recording = &t;
}
/// A gradient that nothing reached is zero.
inline std::vector<double> gradient_of(const array& x) {
  if (x.gradient->filled) return read(x.gradient->local);
  return std::vector<double>(static_cast<std::size_t>(x.local.size()), 0.0);
}

/// What all ranks hold, and the tensor it denotes. `problem` names the first thing that is wrong with it.
struct denoted {
  whole w;
  std::string problem;
};
inline bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// `close`: how far copies may differ, relative to the largest element or to 1, whichever is more (0: not at all). Inputs are of
/// size 1, and a gradient may be nothing but the rounding of a sum that is zero.
inline denoted denote(const std::vector<std::vector<double>>& held, const layout_value& layout, const std::vector<i64>& extent, const mesh_shape& mesh,
                      double close = 0) {
  denoted out{whole(extent), {}};
  std::vector<bool> covered(out.w.value.size(), false);
  double largest = 1;
  for (const auto& h : held)
    for (const double v : h) largest = std::max(largest, std::abs(v));
  bool maximum = false;
  for (int a = 0; a < mesh.atoms; ++a) maximum = maximum || layout.at[a].kind == placement_kind::partial_max;
  for (int r = 0; r < mesh.ranks(); ++r) {
    int at[max_atoms] = {};
    mesh.coordinates(r, at);
    const std::vector<double>& mine = held[static_cast<std::size_t>(r)];
    bool copy = false;
    for (int a = 0; a < mesh.atoms; ++a)
      if ((layout.at[a].kind == placement_kind::replicate || layout.at[a].kind == placement_kind::invariant) && at[a] != 0) copy = true, at[a] = 0;
    if (copy) {
      const std::vector<double>& first = held[static_cast<std::size_t>(mesh.rank_of(at))];
      if (first.size() != mine.size()) out.problem = "copies differ in size";
      else
        for (std::size_t i = 0; i < mine.size(); ++i)
          if (!(mine[i] == first[i] || std::abs(mine[i] - first[i]) <= close * largest)) out.problem = "copies differ";
      continue;
    }
    const std::vector<std::size_t> where = positions(lists_of(layout, extent, mesh, r), extent);
    if (where.size() != mine.size()) {
      out.problem = "rank " + std::to_string(r) + " holds " + std::to_string(mine.size()) + " elements, not " + std::to_string(where.size());
      continue;
    }
    for (std::size_t i = 0; i < mine.size(); ++i) {
      double& v = out.w.value[where[i]];
      v = maximum && covered[where[i]] ? std::max(v, mine[i]) : (maximum ? mine[i] : v + mine[i]);
      covered[where[i]] = true;
    }
  }
  for (const bool c : covered)
    if (!c && out.problem.empty()) out.problem = "an element is held nowhere";
  return out;
}
/// -1, or the first element that differs by more than that.
inline i64 first_difference(const whole& a, const whole& b, double close = 0) {
  double largest = 1;
  for (const double v : a.value) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < a.value.size(); ++i)
    if (!(a.value[i] == b.value[i] || std::abs(a.value[i] - b.value[i]) <= close * largest)) return static_cast<i64>(i);
  return a.value.size() == b.value.size() ? -1 : static_cast<i64>(a.value.size());
}

inline mesh_shape mesh_of(std::initializer_list<int> sizes) {
  mesh_shape m;
  for (const int s : sizes) m.size[m.atoms++] = s;
  return m;
}
inline layout_value layout_of(std::initializer_list<placement_value> at, std::initializer_list<int> order = {}) {
  layout_builder b(static_cast<int>(at.size()));
  if (order.size() == 0) {
    int a = 0;
    for (const placement_value p : at) b.place(a++, p);
  } else {
    for (const int a : order) b.place(a, at.begin()[a]);
  }
  return b.value;
}

/// Fresh memory is full of NaN while this lives.
struct poisoned {
  poisoned() { poison_allocations() = true; }
  ~poisoned() { poison_allocations() = false; }
};

}  // namespace numeric
