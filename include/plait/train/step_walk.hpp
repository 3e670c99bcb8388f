#pragma once
// A decoder's step in layouts: what explain walks. It follows model/decoder.hpp, train/parameter_store.hpp and train/step.hpp call by
// call.
#include <string>
#include <utility>
#include <vector>

#include "plait/model/decoder.hpp"
#include "plait/train/step_log.hpp"

namespace plait::inline v0_1 {

struct explain_options {
  std::int64_t rows = 1, columns = 1;  // of the batch: B, S
  std::int64_t accumulation = 1;
  recomputation recompute = recomputation::none;
  bool train = true;           // backward, gradients and their norm too
  bool loss = true;            // cross entropy and, with sparse layers, the balancing statistics
  bool balance_weighs = true;  // the balancing loss has a weight other than 0
  bool logits = false;         // the logits are wanted whole on every rank
  bool prefetch = true;        // as parameter_store::prefetch; it changes the order alone
};

namespace detail {

class step_walk : step_log {
 public:
  step_walk(const plan_table& t, const model_numbers& n, const context& c, const parameter_store& store, const explain_options& o,
            const std::vector<std::string>& names, explanation& out)
      : step_log(t, n, c, names, out), store_(store), o_(o), present_(store.units.size()), started_(store.units.size()) {}

  void run() {
    const std::int64_t per_slice = o_.train ? ceil_chunk(o_.rows, o_.accumulation) : o_.rows;
    out_.slices = 0;
    for (std::int64_t first = 0; first < o_.rows; first += per_slice) {
      rows_ = first + per_slice < o_.rows ? per_slice : o_.rows - first;
      slice();
      ++out_.slices;
    }
    if (!o_.train) return;
    synchronise_gradients();
    scalar("gradient_norm");
    scalar("");  // faults of any rank
  }

 private:
  struct layer_flow {
    flow x;
    std::vector<flow> statistics;  // one or none
  };

  // model ----------------------------------------------------------------------------------------------------------
  void slice() {
    tape_type recorded;
    tape_ = o_.train ? &recorded : nullptr;
    flow x = embed();
    std::vector<flow> statistics;
    const int layers = static_cast<int>(n_.sparse_layer.size());
    for (int l = 0; l < layers; ++l) {
      enter_unit(l + 1, l + 2);
      layer_flow out = run_layer(x, l);
      leave_unit(l + 1, l);
      x = out.x;
      if (!out.statistics.empty()) statistics = out.statistics;
    }
    const flow logits = head(x, layers + 1);
    if (o_.loss) loss(logits, statistics);
    if (o_.logits) {
      tape_type* const keep = std::exchange(tape_, nullptr);
      within({"output", -1, traffic::output}, [&] { return moved(logits, uniform(t_.atoms, t_.sizes, Invariant::value)); });
      tape_ = keep;
    }
    if (o_.train) backward(recorded);
    tape_ = nullptr;
    present_.assign(present_.size(), false);
  }
  flow embed() {
    return within({"embed_tokens", -1, traffic::embedding}, [&] {
      enter_unit(0, 1);
      const int row = require("model.embed_tokens.weight");
      flow x;
      x.rank = 3;
      x.type = t_.types.compute;
      x.global[0] = rows_;
      x.global[1] = o_.columns;
      x.global[2] = n_.extent(t_.rows[row].extent[1]);
      x.layout = fitting(typing::embedding(point("lm_head", layer_kind::any, -1), 2, weight(row, -1).compute), "embed_tokens");
      x = leave(x, row, -1);
      if (!n_.tied) leave_unit(0, -1);
      return x;
    });
  }
  flow attend(const flow& x, int l) {
    return within({"self_attn", l, traffic::layer}, [&] {
      const flow h = moved(normalise(x, "model.layers.*.input_layernorm.weight", l), point("model.layers.*.self_attn", layer_kind::any, l));
      const bool latent = row_named("model.layers.*.self_attn.kv_b_proj.weight") >= 0;
      flow a = latent ? latent_attention(h, l) : attention(h, l);
      a.layout = fitting(typing::merge_last(a.layout, a.rank), "self_attn");
      a.rank = 3;
      a.global[2] = n_.extent(t_.rows[require("model.layers.*.self_attn.o_proj.weight")].extent[1]);
      return sum(x, project(a, "model.layers.*.self_attn.o_proj.weight", l));
    });
  }
  flow latent_attention(const flow& h, int l) {
    const int low = row_named("model.layers.*.self_attn.q_a_proj.weight");
    flow q = h;
    if (low >= 0 && n_.has(t_.rows[low])) {
      q = normalise(project(h, "model.layers.*.self_attn.q_a_proj.weight", l), "model.layers.*.self_attn.q_a_layernorm.weight", l);
      q = heads(project(q, "model.layers.*.self_attn.q_b_proj.weight", l), decoder_dims::head_dim);
    } else {
      q = heads(project(h, "model.layers.*.self_attn.q_proj.weight", l), decoder_dims::head_dim);
    }
    flow latent = project(h, "model.layers.*.self_attn.kv_a_proj_with_mqa.weight", l);
    latent.layout = fitting(typing::split_columns(latent.layout, latent.rank), "self_attn.kv_a_proj_with_mqa");
    latent.global[2] = n_.extent(decoder_dims::latent_rank);
    const flow normed = normalise(latent, "model.layers.*.self_attn.kv_a_layernorm.weight", l);
    const flow k = heads(project(normed, "model.layers.*.self_attn.kv_b_proj.weight", l), decoder_dims::expanded_head);
    fitting(typing::repeat_heads(latent.layout, 4, k.layout), "self_attn: the rotary key");
    q.layout = fitting(typing::attention(q.layout, k.layout), "self_attn");
    return q;
  }
  flow attention(const flow& h, int l) {
    const int norm = row_named("model.layers.*.self_attn.q_norm.weight");
    const bool per_head = norm >= 0 && t_.rows[norm].extent[0] == decoder_dims::head_dim;
    flow q = project(h, "model.layers.*.self_attn.q_proj.weight", l);
    if (norm >= 0 && !per_head) q = moved(normalise(q, "model.layers.*.self_attn.q_norm.weight", l), layout_of_values(h, l));
    flow k = project(h, "model.layers.*.self_attn.k_proj.weight", l);
    if (norm >= 0 && !per_head) k = moved(normalise(k, "model.layers.*.self_attn.k_norm.weight", l), layout_of_values(h, l));
    const flow v = project(h, "model.layers.*.self_attn.v_proj.weight", l);
    q = heads(q, decoder_dims::head_dim);
    k = as_queries(heads(k, decoder_dims::head_dim), "model.layers.*.self_attn.k_proj.weight", q, l);
    as_queries(heads(v, decoder_dims::head_dim), "model.layers.*.self_attn.v_proj.weight", q, l);
    if (per_head) {
      q = normalise(q, "model.layers.*.self_attn.q_norm.weight", l);
      k = normalise(k, "model.layers.*.self_attn.k_norm.weight", l);
    }
    q.layout = fitting(typing::attention(q.layout, k.layout), "self_attn");
    return q;
  }
  flow as_queries(flow x, const char* name, const flow& q, int l) const {
    if (t_.styles[weight(require(name), l).rule].repeats_heads) x.layout = fitting(typing::repeat_heads(x.layout, x.rank, q.layout), name);
    return x;
  }
  /// Of v before it is split into heads.
  layout_value layout_of_values(const flow& h, int l) const {
    const resolved_parameter& v = weight(require("model.layers.*.self_attn.v_proj.weight"), l);
    const layout_value y = fitting(typing::linear(h.layout, h.rank, v.compute), "self_attn.v_proj");
    return t_.styles[v.rule].output_moves ? output_layout(y, h.rank, t_.styles[v.rule], t_.sizes) : y;
  }
  flow heads(flow x, int symbol) const {
    x.layout = fitting(typing::split_last(x.layout, x.rank), "self_attn");
    const std::int64_t head_dim = n_.extent(symbol);
    x.global[x.rank - 1] /= head_dim;
    x.global[x.rank++] = head_dim;
    return x;
  }
  static flow sum(const flow& x, const flow& y) {
    flow out = y;
    out.layout = fitting(typing::add(x.layout, y.layout), "the residual stream");
    return out;
  }
  flow dense_mlp(const flow& x, int l) {
    return within({"mlp", l, traffic::layer}, [&] {
      const flow h = moved(normalise(x, "model.layers.*.post_attention_layernorm.weight", l), point("model.layers.*.mlp", layer_kind::dense, l));
      flow gate = project(h, "model.layers.*.mlp.gate_proj.weight", l);
      const flow up = project(h, "model.layers.*.mlp.up_proj.weight", l);
      gate.layout = fitting(typing::elementwise(gate.layout, up.layout), "mlp");
      return sum(x, project(gate, "model.layers.*.mlp.down_proj.weight", l));
    });
  }
  layer_flow sparse_mlp(const flow& x, int l, bool recompute_experts) {
    return within({"mlp", l, traffic::layer}, [&] {
      const flow h = moved(normalise(x, "model.layers.*.post_attention_layernorm.weight", l), point("model.layers.*.mlp", layer_kind::sparse, l));
      layer_flow out = recompute_experts ? repeated([this, h, l] { return experts(h, l); }) : experts(h, l);
      out.x = sum(x, moved(out.x, point("model.layers.*", layer_kind::any, -1)));
      return out;
    });
  }
  flow shared_expert(const flow& h, int l) {
    flow gate = project(h, "model.layers.*.mlp.shared_expert.gate_proj.weight", l);
    const flow up = project(h, "model.layers.*.mlp.shared_expert.up_proj.weight", l);
    gate.layout = fitting(typing::elementwise(gate.layout, up.layout), "mlp.shared_expert");
    flow y = project(gate, "model.layers.*.mlp.shared_expert.down_proj.weight", l);
    if (row_named("model.layers.*.mlp.shared_expert_gate.weight") >= 0)
      y.layout = fitting(typing::row_gate(y.layout, y.rank, project(h, "model.layers.*.mlp.shared_expert_gate.weight", l).layout), "mlp.shared_expert_gate");
    return y;
  }
  layer_flow experts(const flow& h, int l) {
    const flow logits = project(h, "model.layers.*.mlp.gate.weight", l);
    const layout_value tokens = fitting(typing::row_local(logits.layout, logits.rank), "mlp.gate");
    const layout_value& up = weight(require("model.layers.*.mlp.experts.gate_up_proj"), l).compute;
    const layout_value& down = weight(require("model.layers.*.mlp.experts.down_proj"), l).compute;
    const parameter& up_row = t_.rows[require("model.layers.*.mlp.experts.gate_up_proj")];
    const int out_dim = lies_in_out(up_row) ? 2 : 1, in_dim = 3 - out_dim;
    layout_value rows = fitting(typing::dispatch(h.layout, h.rank, up), "mlp.experts");
    rows = exchange(h, rows, typing::with_experts(rows, up));
    rows = fitting(typing::grouped_linear(rows, up, out_dim, in_dim), "mlp.experts.gate_up_proj");
    rows = fitting(alternates(up_row) ? typing::paired_gate(rows, 2) : typing::packed_gate(rows, 2), "mlp.experts");
    rows = fitting(typing::grouped_linear(rows, down, out_dim, in_dim), "mlp.experts.down_proj");
    rows = exchange(h, rows, typing::with_tokens(rows, h.layout));
    layer_flow out;
    out.x = h;
    out.x.layout = fitting(typing::combine(rows, tokens, logits.rank), "mlp.experts");
    if (const int shared = row_named("model.layers.*.mlp.shared_expert.down_proj.weight"); shared >= 0 && n_.has(t_.rows[shared]))
      out.x = sum(out.x, shared_expert(h, l));
    flow statistics;
    statistics.rank = 2;
    statistics.type = statistic_of(h.type);
    statistics.global[0] = 2;
    statistics.global[1] = logits.global[logits.rank - 1];
    statistics.layout = shifted(fitting(typing::sum_leading(logits.layout, logits.rank, 1), "mlp.gate"), 1);
    statistics.differentiable = o_.loss && o_.balance_weighs;
    out.statistics.push_back(moved(statistics, uniform(t_.atoms, t_.sizes, Partial::value)));
    return out;
  }
  layer_flow run_layer(const flow& x, int l) {
    const auto layer = [this, x, l](bool recompute_experts) {
      const flow attended = attend(x, l);
      return n_.sparse_layer[static_cast<std::size_t>(l)] ? sparse_mlp(attended, l, recompute_experts) : layer_flow{dense_mlp(attended, l), {}};
    };
    if (o_.recompute == recomputation::layer) return repeated([layer] { return layer(false); });
    return layer(o_.recompute == recomputation::experts);
  }
  flow head(const flow& x, int unit) {
    return within({"lm_head", -1, traffic::head}, [&] {
      enter_unit(unit, -1);
      const flow h = moved(normalise(x, "model.norm.weight", -1), point("lm_head", layer_kind::any, -1));
      const flow y = project(h, "lm_head.weight", -1);
      leave_unit(unit, unit - 1);
      if (n_.tied) leave_unit(0, -1);
      return y;
    });
  }
  void loss(const flow& logits, const std::vector<flow>& statistics) {
    within({"loss", -1, traffic::loss}, [&] {
      flow maximum = logits;
      maximum.type = statistic_of(logits.type);
      maximum.rank = logits.rank - 1;
      maximum.layout = fitting(typing::max_last(logits.layout, logits.rank), "loss");
      maximum.differentiable = false;
      moved(maximum, reduced(maximum.layout));
      flow parts = logits;
      parts.type = maximum.type;
      parts.global[0] = 2;
      for (int d = 0; d + 1 < logits.rank; ++d) parts.global[d + 1] = logits.global[d];
      parts.layout = shifted(fitting(typing::sum_last(logits.layout, logits.rank), "loss"), 1);
      const flow summed = moved(parts, reduced(parts.layout));
      flow total;
      total.type = parts.type;
      total.rank = 1;
      total.global[0] = 1;
      total.layout = fitting(typing::sum_leading(summed.layout, summed.rank, 0), "loss");
      moved(total, uniform(t_.atoms, t_.sizes, Invariant::value));
      if (!statistics.empty())
        within({"balance", -1, traffic::loss}, [&] { return moved(statistics.front(), uniform(t_.atoms, t_.sizes, Invariant::value)); });
      return 0;
    });
  }

  // units ----------------------------------------------------------------------------------------------------------
  void enter_unit(int unit, int next) {
    gather(unit);
    if (o_.prefetch && next >= 0) start(next);
    if (tape_ != nullptr)
      tape_->push_back([this, unit] {
        each_group(unit, [&](std::uint32_t mask, std::int64_t, std::int64_t compute) {
          const std::int64_t bytes = compute * static_cast<std::int64_t>(size_of(t_.types.reduce));
          emit(collective_kind::reduce_scatter, false, mask, bytes, bytes);
        });
        present_[static_cast<std::size_t>(unit)] = false;
      });
  }
  void leave_unit(int unit, int previous) {
    if (tape_ == nullptr || store_.units[static_cast<std::size_t>(unit)].policy == gathered::free_after_forward)
      present_[static_cast<std::size_t>(unit)] = false;
    if (tape_ == nullptr) return;
    tape_->push_back([this, unit, previous] {
      gather(unit);
      if (o_.prefetch && previous >= 0) start(previous);
    });
  }
  void gather(int unit) {
    start(unit);
    started_[static_cast<std::size_t>(unit)] = false;
    present_[static_cast<std::size_t>(unit)] = true;
  }
  void start(int unit) {
    const std::size_t u = static_cast<std::size_t>(unit);
    if (present_[u] || started_[u]) return;
    started_[u] = true;
    each_group(unit, [&](std::uint32_t mask, std::int64_t stored, std::int64_t compute) {
      const std::int64_t element = static_cast<std::int64_t>(size_of(t_.types.compute));
      emit(collective_kind::all_gather, false, mask, stored * element, compute * element);
    });
  }
  /// visit(mask, elements stored here, elements when gathered) for every group of axes over which a unit is gathered.
  template <class Visit>
  void each_group(int unit, Visit visit) {
    const parameter_unit& u = store_.units[static_cast<std::size_t>(unit)];
    within({u.name, u.layer, traffic::weights}, [&] {
      std::vector<std::uint32_t> masks;
      const auto slot = [&](int i) -> const parameter_slot& { return store_.slots[static_cast<std::size_t>(i)]; };
      for (int i : u.slots) note_mask(masks, slot(i).gather_mask);
      for (const std::uint32_t mask : masks) {
        std::int64_t stored = 0, compute = 0;
        for (int i : u.slots)
          if (slot(i).gather_mask == mask) stored += slot(i).storage_local.size(), compute += slot(i).compute_local.size();
        visit(mask, stored, compute);
      }
      return 0;
    });
  }
  static void note_mask(std::vector<std::uint32_t>& masks, std::uint32_t mask) {
    bool known = mask == 0;
    for (const std::uint32_t m : masks) known = known || m == mask;
    if (!known) masks.push_back(mask);
  }

  // step -----------------------------------------------------------------------------------------------------------
  void synchronise_gradients() {
    within({"gradients", -1, traffic::gradients}, [&] {
      std::vector<std::uint32_t> masks;
      for (const parameter_slot& s : store_.slots) note_mask(masks, s.sync_mask);
      for (const std::uint32_t mask : masks) {
        std::int64_t bytes = 0;
        for (const parameter_slot& s : store_.slots)
          if (s.sync_mask == mask) bytes += static_cast<std::int64_t>(s.accumulated.bytes());
        emit(collective_kind::all_reduce, false, mask, bytes, bytes);
      }
      return 0;
    });
  }
  /// One number, summed over all ranks.
  void scalar(const char* where) {
    std::uint32_t mask = 0;
    for (int a = 0; a < c_.mesh.atoms; ++a)
      if (c_.mesh.size[a] > 1) mask |= 1u << a;
    constexpr std::int64_t bytes = sizeof(double);
    if (mask != 0) within({where, -1, traffic::step}, [&] { return emit(collective_kind::all_reduce, false, mask, bytes, bytes), 0; });
  }

  const parameter_store& store_;
  const explain_options& o_;
  std::int64_t rows_ = 0;
  std::vector<bool> present_, started_;
};

}  // namespace detail
}  // namespace plait::inline v0_1
