#pragma once
// A whole-layout move as stages: at most one local and one collective stage per kind of move, over the group that the axes moving so
// span together. A stage is possible where the axes that move are the innermost cuts of their dims before and after it, since
// only then does the group hold all that its ranks need; the order of stages is searched for.
#include <array>

#include "plait/placement/redistribution.hpp"
#include "plait/tensor/layout_value.hpp"

namespace plait::inline v0_1::detail {

struct stage {
  move kind = move::none;
  std::uint32_t mask = 0;
  layout_value before{}, after{};
};

struct stage_list {
  int count = 0;
  std::array<stage, 8> at{};
};

/// Layout in which the atoms of `done` already lie as in `to`, the others as in `from`; what has moved cuts innermost.
constexpr layout_value between(const layout_value& from, const layout_value& to, std::uint32_t done) {
  layout_builder b(from.atoms);
  const auto moved = [&](int a) { return (done >> a & 1u) != 0 && !(from.at[a] == to.at[a]); };
  for (int c = 0; c < from.cuts; ++c)
    if (!moved(from.cut[c])) b.place(from.cut[c], from.at[from.cut[c]]);
  for (int c = 0; c < to.cuts; ++c)
    if (moved(to.cut[c])) b.place(to.cut[c], to.at[to.cut[c]]);
  for (int a = 0; a < from.atoms; ++a) {
    const placement_value p = (done >> a & 1u) ? to.at[a] : from.at[a];
    if (!p.cuts()) b.place(a, p);
  }
  return b.value;
}

/// -1 if the axes in `mask` may move from `x` to `y` in one stage: within each dim they cut inside the axes that stay, and those
/// that stay keep their order. Otherwise an axis in the way. Axes with one rank (size[a] == 1; null: none) cut nothing.
constexpr int in_the_way(const layout_value& x, const layout_value& y, std::uint32_t mask, const int* size) {
  const auto cuts = [&](int a) { return size == nullptr || size[a] != 1; };
  for (const layout_value* side : {&x, &y}) {
    bool moved_outside = false;
    for (int c = 0; c < side->cuts; ++c) {
      const int a = side->cut[c];
      if (c > 0 && side->at[side->cut[c - 1]].dim != side->at[a].dim) moved_outside = false;
      if (!cuts(a)) continue;
      const bool moves = (mask >> a & 1u) != 0;
      if (moved_outside && !moves) return a;
      moved_outside = moved_outside || moves;
    }
  }
  int j = 0;
  const auto stays = [&](const layout_value& v, int c) { return cuts(v.cut[c]) && (mask >> v.cut[c] & 1u) == 0; };
  for (int i = 0; i < x.cuts; ++i) {
    if (!stays(x, i)) continue;
    while (j < y.cuts && !stays(y, j)) ++j;
    if (j == y.cuts || x.cut[i] != y.cut[j]) return x.cut[i];
    ++j;
  }
  return -1;
}

class stage_planner {
 public:
  constexpr stage_planner(const layout_value& from, const layout_value& to, const int* size) : from_(from), to_(to), size_(size) {
    std::uint32_t gathered_dims = 0, cut_dims = 0;
    for (int a = 0; a < from.atoms; ++a) {
      const move m = from.at[a] == to.at[a] ? move::none : redistribution(from.at[a], to.at[a]).kind;
      if (m == move::illegal) legal_ = false;
      if (m == move::forget || m == move::claim) relabels_ = true;
      if (m == move::illegal || m == move::none || m == move::identity || m == move::forget || m == move::claim ||
          (size != nullptr && size[a] == 1)) {
        free_ |= 1u << a;
        continue;
      }
      of_kind_[static_cast<int>(m)] |= 1u << a;
      if (m == move::all_gather) gathered_dims |= 1u << from.at[a].dim;
      if (m == move::slice || m == move::reduce_scatter) cut_dims |= 1u << to.at[a].dim;
    }
    // Reductions come before gathers (fewer bytes), unless a gathered dim is one that another axis is about to cut.
    const bool gather_first = (gathered_dims & cut_dims) != 0;
    if (gather_first) want(move::all_gather);
    for (const move m : {move::slice, move::reduce_scatter, move::all_reduce, move::all_reduce_max, move::all_to_all}) want(m);
    if (!gather_first) want(move::all_gather);
    want(move::root);
    want(move::pad);
    want(move::exchange);
  }
  constexpr bool legal() const { return legal_; }
  /// Is there a plan? One kind of move needs no search, given that nothing is in its way from start to end.
  constexpr bool possible() const {
    if (count_ <= 1 && !relabels_) return true;
    stage_list list;
    return plan(list);
  }
  /// The first order, by preference, in which every stage is possible; false if there is none.
  constexpr bool plan(stage_list& out) const {
    out.count = 0;
    return extend(out, between(from_, to_, free_), free_);
  }

 private:
  constexpr void want(move m) {
    if (of_kind_[static_cast<int>(m)] != 0) wanted_[count_++] = m;
  }
  constexpr bool extend(stage_list& out, const layout_value& now, std::uint32_t done) const {
    if (out.count == count_) return true;
    for (int w = 0; w < count_; ++w) {
      const std::uint32_t mask = of_kind_[static_cast<int>(wanted_[w])];
      if ((done & mask) != 0) continue;
      const layout_value next = between(from_, to_, done | mask);
      if (in_the_way(now, next, mask, size_) >= 0) continue;
      out.at[static_cast<std::size_t>(out.count++)] = {wanted_[w], mask, now, next};
      if (extend(out, next, done | mask)) return true;
      --out.count;
    }
    return false;
  }

  const layout_value& from_;
  const layout_value& to_;
  const int* size_;
  bool legal_ = true, relabels_ = false;
  std::uint32_t of_kind_[static_cast<int>(move::illegal) + 1] = {};
  std::uint32_t free_ = 0;
  move wanted_[max_atoms] = {};  // each kind that it holds moves an atom at least
  int count_ = 0;
};

/// Can x become target, and can the gradient come back? Given that nothing is in the way from start to end.
constexpr bool stages_exist(const layout_value& x, const layout_value& target) {
  if (!stage_planner(x, target, nullptr).possible()) return false;
  const layout_value from = grad_of(target), to = grad_of(x);
  const stage_planner back(from, to, nullptr);
  return !back.legal() || back.possible();  // a maximum has no adjoint
}

}  // namespace plait::inline v0_1::detail
