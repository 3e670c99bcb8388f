#pragma once
// Ops on layouts in the place of tensors: each goes through the typing function, the stages and the held indices that the op itself is
// built on, writes down the collectives that it would start, and leaves those of its backward on a tape.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "plait/model/decoder_traits.hpp"
#include "plait/runtime/op_exchange.hpp"
#include "plait/train/explanation.hpp"
#include "plait/train/layout_text.hpp"
#include "plait/train/store_builder.hpp"
#include "plait/typing/contraction.hpp"
#include "plait/typing/elementwise.hpp"

namespace plait::inline v0_1::detail {

/// x's layout with a style's axis as the output slot wants it. `sizes`: the mesh's static ones.
inline layout_value output_layout(const layout_value& x, int rank, const style_value& style, const int* sizes) {
  std::uint32_t axes = 0;
  for (int i = 0; i < style.atoms; ++i) axes |= 1u << style.atom[i];
  return with_placement(x, axes, style.output.resolved(rank), sizes);
}

class step_log {
 protected:
  step_log(const plan_table& t, const model_numbers& n, const context& c, const std::vector<std::string>& names, explanation& out)
      : t_(t), n_(n), c_(c), names_(names), out_(out) {}

  /// A tensor without its elements.
  struct flow {
    layout_value layout{};
    int rank = 0;
    std::int64_t global[max_rank] = {};
    dtype type = dtype::f32;
    bool differentiable = true;
  };
  /// Where collectives are being started now.
  struct place {
    const char* where = "";
    int layer = -1;
    traffic part = traffic::step;
  };
  template <class F>
  auto within(place p, F f) {
    const place before = std::exchange(at_, p);
    auto result = f();
    at_ = before;
    return result;
  }

  void emit(collective_kind kind, bool maximum, std::uint32_t mask, std::int64_t payload, std::int64_t whole) {
    explained_collective e;
    e.part = at_.part;
    e.where = at_.where;
    e.layer = at_.layer;
    e.kind = kind;
    e.maximum = maximum;
    e.mask = mask;
    e.axes = axes_text(mask, names_);
    e.ranks = c_.mesh.group_size(mask);
    e.payload = payload;
    e.ring = ceil_chunk((kind == collective_kind::all_reduce ? 2 : 1) * (e.ranks - 1) * whole, e.ranks);
    e.backward = in_backward_;
    e.recomputed = recomputing_;
    out_.collectives.push_back(std::move(e));
  }
  /// Rows of `tokens` (their layout is theirs by token) as they go from one layout to the other; counted first on the way there.
  layout_value exchange(const flow& tokens, const layout_value& from, const layout_value& to) {
    const std::uint32_t mask = runtime::exchange_mask(c_, from, to);
    if (mask == 0) return to;
    if (to_experts(mask, from)) {
      const std::int64_t bytes = (n_.extent(decoder_dims::experts) + c_.mesh.group_size(mask)) * static_cast<std::int64_t>(size_of(dtype::i32));
      emit(collective_kind::all_to_all, false, mask, bytes, bytes);
    }
    emit_exchange(tokens, mask, from);
    if (tape_ != nullptr)
      tape_->push_back([this, tokens, mask, back = grad_of(to), at = at_] { within(at, [&] { return emit_exchange(tokens, mask, back), 0; }); });
    return to;
  }
  static bool to_experts(std::uint32_t mask, const layout_value& from) {
    int axis = 0;
    while ((mask >> axis & 1u) == 0) ++axis;
    return from.at[axis].by_token();
  }
  void emit_exchange(const flow& tokens, std::uint32_t mask, const layout_value& from) {
    const bool leaving = to_experts(mask, from);
    const std::int64_t width = tokens.global[tokens.rank - 1], n = c_.mesh.group_size(mask);
    view like;
    like.rank = tokens.rank;
    const auto rows_of = [&](const int* at) { return volume(holdings(tokens.layout, like, tokens.global, c_.mesh, at), tokens.rank) / width * n_.chosen(at_.layer); };
    const std::int64_t own = rows_of(c_.coordinate), row_bytes = width * static_cast<std::int64_t>(size_of(tokens.type));
    std::int64_t all = 0;
    for (int m = 0; m < n; ++m) {
      int at[max_atoms];
      member_coordinates(c_, mask, m, at);
      all += rows_of(at);
    }
    const std::int64_t balanced = row_bytes * (leaving ? own : ceil_chunk(all, n));
    emit(collective_kind::all_to_all, false, mask, balanced, balanced);
    explained_collective& e = out_.collectives.back();
    e.rows = leaving ? rows_go::to_experts : rows_go::to_tokens;
    e.row_bytes = row_bytes;
    e.most = row_bytes * (leaving ? own : all - own);
  }
  void emit_stages(const flow& x, const layout_value& from, const layout_value& to) {
    view like;
    like.rank = x.rank;
    const auto bytes = [&](const layout_value& layout) {
      return volume(holdings(layout, like, x.global, c_.mesh, c_.coordinate), x.rank) * static_cast<std::int64_t>(size_of(x.type));
    };
    const stage_list stages = stages_of(from, to, c_.mesh);
    for (int i = 0; i < stages.count; ++i) {
      const stage& s = stages.at[static_cast<std::size_t>(i)];
      if (!communicates(s.kind)) continue;
      const std::int64_t before = bytes(s.before);
      switch (s.kind) {
        case move::all_gather: emit(collective_kind::all_gather, false, s.mask, before, bytes(s.after)); break;
        case move::reduce_scatter: emit(collective_kind::reduce_scatter, false, s.mask, before, before); break;
        case move::all_to_all: emit(collective_kind::all_to_all, false, s.mask, before, before); break;
        default: emit(collective_kind::all_reduce, s.kind == move::all_reduce_max, s.mask, before, before);
      }
    }
  }

  // ops ------------------------------------------------------------------------------------------------------------
  flow moved(flow x, const layout_value& to) {
    const layout_value from = x.layout;
    emit_stages(x, from, to);
    if (tape_ != nullptr && x.differentiable)
      tape_->push_back([this, x, from, to, at = at_] {
        within(at, [&] { return emit_stages(x, grad_of(to), grad_of(from)), 0; });
      });
    x.layout = to;
    return x;
  }
  static layout_value fitting(const typed& t, const char* what) {
    if (!t.ok()) throw plan_misfit(std::string("plait[placement-mismatch]: ") + what + ": the layouts that the plan brings together here do not fit");
    return t.out;
  }
  const resolved_parameter& weight(int row, int layer) const { return t_.at(row, layer); }
  flow leave(flow y, int row, int layer) {
    const style_value& style = t_.styles[weight(row, layer).rule];
    return style.output_moves ? moved(y, output_layout(y.layout, y.rank, style, t_.sizes)) : y;
  }
  flow project(flow x, const char* name, int layer) {
    const int row = require(name);
    x.layout = fitting(typing::linear(x.layout, x.rank, weight(row, layer).compute), name);
    x.global[x.rank - 1] = n_.extent(t_.rows[row].extent[0]);
    return leave(x, row, layer);
  }
  flow normalise(flow x, const char* name, int layer) {
    const int row = require(name);
    x.layout = fitting(typing::row_norm(x.layout, x.rank, weight(row, layer).compute), name);
    return leave(x, row, layer);
  }
  int row_named(const char* name) const {
    for (int r = 0; r < t_.row_count; ++r)
      if (same_text(t_.rows[r].name, name)) return r;
    return -1;
  }
  int require(const char* name) const {
    const int row = row_named(name);
    if (row < 0) throw plan_misfit(std::string("plait: the parameter table has no ") + name + "; explain knows decoders only");
    return row;
  }
  const layout_value& point(const char* name, layer_kind kind, int layer) const {
    for (int p = 0; p < t_.point_count; ++p)
      if (same_text(t_.points[p].name, name) && t_.points[p].kind == kind) return t_.point_layout(p, layer);
    throw plan_misfit(std::string("plait: the activation table has no ") + name + "; explain knows decoders only");
  }

  using tape_type = std::vector<std::function<void()>>;
  // tape -----------------------------------------------------------------------------------------------------------
  void backward(tape_type& recorded) {
    tape_type* const keep = std::exchange(tape_, nullptr);
    const bool was = std::exchange(in_backward_, true);
    while (!recorded.empty()) {
      const std::function<void()> last = std::move(recorded.back());
      recorded.pop_back();
      last();
    }
    in_backward_ = was;
    tape_ = keep;
  }
  /// recompute(f): the second run counts as forward.
  template <class F>
  auto repeated(F f) {
    if (tape_ == nullptr) return f();
    tape_type* const outer = std::exchange(tape_, nullptr);
    auto result = f();
    tape_ = outer;
    tape_->push_back([this, f, at = at_] {
      tape_type inner;
      within(at, [&] {
        tape_ = &inner;
        const bool was = std::exchange(in_backward_, false);
        recomputing_ = true;
        f();
        recomputing_ = false;
        in_backward_ = was;
        tape_ = nullptr;
        return backward(inner), 0;
      });
    });
    return result;
  }

  const plan_table& t_;
  const model_numbers& n_;
  const context& c_;
  const std::vector<std::string>& names_;
  explanation& out_;
  place at_{};
  tape_type* tape_ = nullptr;
  bool in_backward_ = false, recomputing_ = false;
};

}  // namespace plait::inline v0_1::detail
