#pragma once
// What a plan costs, before anything runs: every parameter, every collective of a step, the memory of a rank. A pure function of
// the plan's value table, the model's numbers, the mesh and the shape of the batch. It walks a decoder's step with layouts in the
// place of tensors, through the typing functions, stages_of and held_indices that the ops themselves are built on.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "plait/model/decoder.hpp"
#include "plait/train/layout_text.hpp"
#include "plait/train/store_builder.hpp"

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

/// What a collective is for. A layer's activations are counted apart from all else.
enum class traffic : unsigned char { embedding, layer, head, loss, output, weights, gradients, step };

constexpr const char* name_of(traffic part) {
  switch (part) {
    case traffic::embedding: return "embedding";
    case traffic::layer: return "layer activations";
    case traffic::head: return "head";
    case traffic::loss: return "loss";
    case traffic::output: return "logits";
    case traffic::weights: return "FSDP weights and gradients";
    case traffic::gradients: return "gradients of replicated weights";
    case traffic::step: return "step";
  }
  return "?";
}

struct explained_parameter {
  std::string name;
  std::string unit;  // what it is gathered with
  int layer = -1;
  dtype compute_type = dtype::f32, master_type = dtype::f32;
  std::vector<std::int64_t> global, compute_local, storage_local;
  std::string compute, storage;  // layouts
  std::int64_t compute_bytes = 0, storage_bytes = 0, gradient_bytes = 0, optimizer_bytes = 0;
};

enum class rows_go : unsigned char { nowhere, to_experts, to_tokens };

/// One collective, as collective_record has it when it runs, and what it costs.
struct explained_collective {
  traffic part = traffic::step;
  std::string where;
  int layer = -1;
  collective_kind kind = collective_kind::all_reduce;
  bool maximum = false;
  std::uint32_t mask = 0;
  std::string axes;
  int ranks = 1;
  std::int64_t payload = 0;  // bytes of this rank's input, unpadded
  std::int64_t ring = 0;     // bytes that each rank sends under the ring algorithm
  bool backward = false;
  bool recomputed = false;   // a forward collective, repeated in backward
  /// Rows between the ranks of their tokens and those of their experts: how many, the tokens decide. payload and ring are then those of
  /// a balanced routing, `most` is what ring can be at most, and exchanged() says what they are for given counts.
  rows_go rows = rows_go::nowhere;
  std::int64_t row_bytes = 0, most = 0;
};

/// What an exchange of rows is on one member of its group: bytes of its input, and how many of them leave the rank.
struct exchanged_bytes {
  std::int64_t payload = 0, leaving = 0;
};
/// rows[i][j]: the rows that member i's tokens have for member j's experts.
inline exchanged_bytes exchanged(const explained_collective& e, const std::vector<std::vector<std::int64_t>>& rows, std::size_t member) {
  exchanged_bytes b;
  for (std::size_t m = 0; m < rows.size(); ++m) {
    const std::int64_t bytes = e.row_bytes * (e.rows == rows_go::to_experts ? rows[member][m] : rows[m][member]);
    b.payload += bytes;
    if (m != member) b.leaving += bytes;
  }
  return b;
}

/// Equal collectives of a step, of one layer or of several.
struct explained_group {
  explained_collective each;
  std::vector<int> layers;
  std::int64_t times = 0;
};

/// Activation collectives of one layer in one slice of the batch, by collective_kind.
struct layer_traffic {
  int layer = 0;
  layer_kind kind = layer_kind::sparse;
  int forward[6] = {}, backward[6] = {}, recomputed[6] = {};
};

/// Bytes on one rank, of what lives as long as the run and of gathered weights. Activations are not counted.
struct explained_memory {
  std::int64_t parameters = 0;  // master weights
  std::int64_t gradients = 0;   // accumulators
  std::int64_t moments = 0;
  std::int64_t gathered = 0;    // the most at one time: kept units and the two largest
  std::int64_t total() const { return parameters + gradients + moments + gathered; }
};

struct explanation {
  int rank = 0;
  std::int64_t slices = 1;  // forward and backward passes in the step
  std::vector<explained_parameter> parameters;
  std::vector<explained_collective> collectives;  // in the order in which they start
  std::vector<layer_traffic> layers;
  explained_memory memory;
};

namespace detail {

/// Nothing is stored: for building a parameter store of which only the shapes are wanted.
inline const backend& shapes_only() {
  static const backend table = [] {
    backend b{};
    b.name = "shapes";
    b.allocate = [](void*, std::size_t) -> void* { return nullptr; };
    b.release = [](void*, void*, std::size_t) {};
    b.fill = [](const execution&, view, double) {};
    return b;
  }();
  return table;
}

/// x's layout with a style's axis as the output slot wants it.
inline layout_value output_layout(const layout_value& x, int rank, const style_value& style) {
  std::uint32_t mask = 0;
  for (int i = 0; i < style.atoms; ++i) mask |= 1u << style.atom[i];
  layout_builder b(x.atoms);
  for (int c = 0; c < x.cuts; ++c)
    if (!(mask >> x.cut[c] & 1u)) b.place(x.cut[c], x.at[x.cut[c]]);
  for (int a = 0; a < x.atoms; ++a) {
    if (mask >> a & 1u) b.place(a, style.output.resolved(rank));
    else if (!x.at[a].cuts()) b.place(a, x.at[a]);
  }
  return b.value;
}

/// A decoder's step in layouts. It follows model/decoder.hpp, train/parameter_store.hpp and train/step.hpp call by call.
class step_walk {
 public:
  step_walk(const plan_table& t, const model_numbers& n, const context& c, const parameter_store& store, const explain_options& o,
            const std::vector<std::string>& names, explanation& out)
      : t_(t), n_(n), c_(c), store_(store), o_(o), names_(names), out_(out), present_(store.units.size()), started_(store.units.size()) {}

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
  /// A tensor without its elements.
  struct flow {
    layout_value layout{};
    int rank = 0;
    std::int64_t global[max_rank] = {};
    dtype type = dtype::f32;
    bool differentiable = true;
  };
  struct layer_flow {
    flow x;
    std::vector<flow> statistics;  // one or none
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
    return style.output_moves ? moved(y, output_layout(y.layout, y.rank, style)) : y;
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
    return t_.styles[v.rule].output_moves ? output_layout(y, h.rank, t_.styles[v.rule]) : y;
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

  // tape -----------------------------------------------------------------------------------------------------------
  using tape_type = std::vector<std::function<void()>>;

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
  layer_flow repeated(F f) {
    if (tape_ == nullptr) return f();
    tape_type* const outer = std::exchange(tape_, nullptr);
    layer_flow result = f();
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

  const plan_table& t_;
  const model_numbers& n_;
  const context& c_;
  const parameter_store& store_;
  const explain_options& o_;
  const std::vector<std::string>& names_;
  explanation& out_;
  std::int64_t rows_ = 0;
  place at_{};
  tape_type* tape_ = nullptr;
  bool in_backward_ = false, recomputing_ = false;
  std::vector<bool> present_, started_;
};

}  // namespace detail

/// Rows for printing: collectives that differ in nothing but the layer become one, with their number.
inline std::vector<explained_group> grouped(const std::vector<explained_collective>& collectives) {
  std::vector<explained_group> groups;
  const auto alike = [](const explained_collective& a, const explained_collective& b) {
    return a.part == b.part && a.where == b.where && a.kind == b.kind && a.maximum == b.maximum && a.mask == b.mask &&
           a.payload == b.payload && a.ring == b.ring && a.backward == b.backward && a.recomputed == b.recomputed && a.rows == b.rows &&
           a.most == b.most;
  };
  for (const explained_collective& e : collectives) {
    explained_group* group = nullptr;
    for (explained_group& g : groups)
      if (alike(g.each, e)) group = &g;
    if (group == nullptr) group = &groups.emplace_back(explained_group{e, {}, 0});
    ++group->times;
    std::size_t place = 0;
    while (place < group->layers.size() && group->layers[place] < e.layer) ++place;
    if (e.layer >= 0 && (place == group->layers.size() || group->layers[place] != e.layer))
      group->layers.insert(group->layers.begin() + static_cast<std::ptrdiff_t>(place), e.layer);
  }
  return groups;
}

/// What a step of a decoder under plan `t` does on `rank` of `mesh`. `axis_names`: the names of the mesh's atoms, in its order.
/// Throws plan_misfit where the plan does not fit the model or the mesh.
inline explanation explain(const plan_table& t, const model_numbers& n, const mesh_shape& mesh, const std::vector<std::string>& axis_names,
                           const explain_options& options, int rank = 0) {
  if (options.rows < 1 || options.columns < 1 || options.accumulation < 1 || rank < 0 || rank >= mesh.ranks())
    throw std::invalid_argument("plait: explain needs a batch of at least one token, at least one slice and a rank of the mesh");
  context c;
  c.ops = &detail::shapes_only();
  c.mesh = mesh;
  c.rank = rank;
  mesh.coordinates(rank, c.coordinate);
  parameter_store store;
  build_store(c, store, t, n);

  explanation out;
  out.rank = rank;
  for (const parameter_slot& s : store.slots) {
    explained_parameter p;
    p.name = s.name;
    p.unit = store.units[static_cast<std::size_t>(s.unit)].name;
    p.layer = s.layer;
    p.compute_type = s.compute_local.type;
    p.master_type = s.master.type;
    for (int d = 0; d < s.rank; ++d) {
      p.global.push_back(s.global[d]);
      p.compute_local.push_back(s.compute_local.extent[d]);
      p.storage_local.push_back(s.storage_local.extent[d]);
    }
    p.compute = text_of(s.compute, axis_names);
    p.storage = text_of(s.storage, axis_names, &s.compute);
    const auto bytes = [](const view& v) { return static_cast<std::int64_t>(v.bytes()); };
    p.compute_bytes = bytes(s.compute_local);
    p.storage_bytes = bytes(s.master);
    p.gradient_bytes = s.trained ? bytes(s.accumulated) : 0;
    p.optimizer_bytes = s.trained ? bytes(s.moment1) + bytes(s.moment2) : 0;
    out.memory.parameters += p.storage_bytes + (s.memory[4] != nullptr ? bytes(s.copy) : 0);
    out.memory.gradients += p.gradient_bytes;
    out.memory.moments += p.optimizer_bytes;
    out.parameters.push_back(std::move(p));
  }
  out.memory.gathered = store.gathered_bound();
  detail::step_walk(t, n, c, store, options, axis_names, out).run();

  for (std::size_t l = 0; l < n.sparse_layer.size(); ++l) {
    layer_traffic layer;
    layer.layer = static_cast<int>(l);
    layer.kind = n.sparse_layer[l] ? layer_kind::sparse : layer_kind::dense;
    out.layers.push_back(layer);
  }
  for (const explained_collective& e : out.collectives) {
    if (e.part != traffic::layer) continue;
    layer_traffic& layer = out.layers[static_cast<std::size_t>(e.layer)];
    ++(e.backward ? layer.backward : e.recomputed ? layer.recomputed : layer.forward)[static_cast<std::size_t>(e.kind)];
  }
  for (layer_traffic& layer : out.layers)
    for (std::size_t k = 0; k < 6; ++k)
      for (int* const count : {&layer.forward[k], &layer.backward[k], &layer.recomputed[k]}) *count /= static_cast<int>(out.slices);
  return out;
}

}  // namespace plait::inline v0_1
