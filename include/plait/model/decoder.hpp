#pragma once
// A decoder-only transformer with dense or mixture-of-experts layers, or both, written once in typed ops. Its weights' layouts, the
// regions' layouts and the output moves all come from the plan; nothing here names a collective. What does not fit does not
// compile.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "plait/io/model_config.hpp"
#include "plait/model/batch.hpp"
#include "plait/model/decoder_output.hpp"
#include "plait/model/decoder_rows.hpp"
#include "plait/model/decoder_tables.hpp"
#include "plait/model/latent_attention.hpp"
#include "plait/model/repeated_heads.hpp"
#include "plait/ops/constant.hpp"
#include "plait/ops/exchange.hpp"
#include "plait/ops/expert_bias.hpp"
#include "plait/ops/loss.hpp"
#include "plait/ops/recompute.hpp"
#include "plait/ops/row_gate.hpp"
#include "plait/ops/sequence.hpp"
#include "plait/plan/covers.hpp"
#include "plait/tensor/uniform_layout.hpp"
#include "plait/train/parameter_store.hpp"

namespace plait::inline v0_1 {

template <class Plan, class Model>
class decoder {
  static consteval int row(const char* name) { return std::max(0, detail::find_row<Model>(name)); }  // one that is missing is reported below

 public:
  static_assert((fits_decoder<Model> && covers<Plan, Model>) || true);  // for their sentences, without one of its own after them
  static constexpr bool accepted = detail::decoder_verdict<Model>::clean && detail::verdict<Plan, Model>::clean;
  using mesh = typename Plan::mesh;
  using element = typename Plan::precision::compute;
  using stat = statistic_t<element>;
  template <int Rank>
  using any_extents = std::conditional_t<Rank == 1, extents<dyn>, std::conditional_t<Rank == 2, extents<dyn, dyn>, extents<dyn, dyn, dyn>>>;
  using numbers = detail::resolved_table<Plan, Model>;
  using traits = decoder_traits<Model>;

  template <int Point, int Number>
  using at_point = activation_layout_t<Plan, Model, Point, Number>;
  static constexpr int stream_point = detail::find_point<Model>("model.layers.*");
  static constexpr int attention_point = detail::find_point<Model>("model.layers.*.self_attn");
  using stream_layout = at_point<stream_point, -1>;
  using rows_layout = at_point<detail::find_point<Model>("lm_head"), -1>;
  using stream = tensor<element, extents<dyn, dyn, dyn>, stream_layout>;
  using partial_statistics = tensor<stat, extents<2, dyn>, uniform_layout_t<mesh, Partial>>;
  using whole_statistics = tensor<stat, extents<2, dyn>, uniform_layout_t<mesh, Invariant>>;
  using scalar = tensor<stat, extents<1>, uniform_layout_t<mesh, Invariant>>;
  struct layer_statistics {
    std::optional<partial_statistics> sum;
  };
  struct layer_result : layer_output<stream, partial_statistics> {};  // a name of its own, which is what compilers print
  struct tables : decoder_tables<rows_layout, stat> {  // likewise
    using decoder_tables<rows_layout, stat>::decoder_tables;
  };

  decoder(const io::model_config& config, parameter_store& store, decoder_options options = {})
      : config_(&config), store_(&store), options_(options) {}

  /// Forward over this rank's part of `input`. With a scale, the loss too; with c.recording, ready for backward(c, *loss).
  /// With a cache, `input` holds the tokens after those cached, all of which are attended to, and logits are [B, 1, V], those of the
  /// last position; there is then neither loss nor backward.
  auto forward(context& c, const batch& input, const loss_scale* scale, decoder_cache* cache = nullptr) {
    if constexpr (!accepted) {
      return decoder_output<stream, scalar, whole_statistics>{};  // the assertions above have said why
    } else {
      // Named here first, so that what compilers print of an error in a layer leads straight to the caller of forward.
      static_cast<void>(&decoder::template attend<-1>);
      if constexpr (traits::dense_layers) static_cast<void>(&decoder::template dense_mlp<-1>);
      if constexpr (traits::sparse_layers) static_cast<void>(&decoder::template sparse_mlp<-1>);
      if (cache != nullptr) cache->begin(c, config_->layers, scale != nullptr);
      const tables t(c, input, *config_, cache);
      stream x = embed_tokens(c, input);
      layer_statistics all;
      for (int l = 0; l < config_->layers; ++l) {
        c.layer = l;
        store_->enter_unit(c, l + 1, l + 2);
        layer_result out = run_layer(c, x, l, t);
        store_->leave_unit(c, l + 1, l);
        x = out.x;
        if (!out.statistics) continue;
        all.sum = all.sum ? partial_statistics(add(c, *all.sum, *out.statistics)) : *out.statistics;
      }
      c.layer = -1;
      return finish(c, x, t, all, scale);
    }
  }

 private:
  /// A layer's parameter under Rules: Plan, or the plan derived from it with repeated heads.
  template <int Row, int Number = -1, class Rules = Plan>
  auto weight(int layer) const {
    using T = tensor<element, any_extents<Model::parameters[Row].rank>, compute_layout_t<Rules, Model, Row, Number>>;
    parameter_slot& slot = store_->slot(Row, layer);
    if (!(slot.compute == T::layout_type::value)) throw std::logic_error("plait: the parameter store was built from another plan than the model's");
    return styled<style_t<Rules, Model, Row, Number>, T>(T(store_->compute_array(slot)));
  }

  static constexpr int attention_norm = detail::find_row<Model>("model.layers.*.input_layernorm.weight"),
                       attention_norm_bias = detail::find_row<Model>("model.layers.*.input_layernorm.bias"),
                       mlp_norm = detail::find_row<Model>("model.layers.*.post_attention_layernorm.weight"),
                       mlp_norm_bias = detail::find_row<Model>("model.layers.*.post_attention_layernorm.bias");

  template <class Style, class T>
  static T plain(const styled<Style, T>& w) {
    return w;
  }

  /// A row that is not trained: in the statistics' type, without a gradient.
  template <int Row, int Number = -1>
  auto untrained(int layer) const {
    static_assert(!Model::parameters[Row].trained);
    using T = tensor<stat, any_extents<Model::parameters[Row].rank>, compute_layout_t<Plan, Model, Row, Number>>;
    return T(store_->compute_array(store_->slot(Row, layer)));
  }

  /// The ids without padding, whose row of the embedding is not trained.
  template <class Ids>
  Ids learning_ids(context& c, const batch& in, const Ids& ids) const {
    if (config_->padding < 0 || c.recording == nullptr) return ids;
    std::vector<std::int64_t> kept(in.ids);
    std::replace(kept.begin(), kept.end(), config_->padding, std::int64_t{-1});
    const std::int64_t two[2] = {in.rows, in.columns};
    return constant<typename Ids::layout_type, std::int64_t, typename Ids::extents_type>(c, kept.data(), two);
  }

  stream embed_tokens(context& c, const batch& in) {
    named_scope scope(c, "embed_tokens");
    c.layer = -1;
    store_->enter_unit(c, 0, 1);
    const std::int64_t two[2] = {in.rows, in.columns};
    const auto ids = constant<rows_layout, std::int64_t, extents<dyn, dyn>>(c, in.ids.data(), two);
    const stream x = embed(c, ids, learning_ids(c, in, ids), weight<row("model.embed_tokens.weight")>(-1));
    if (!config_->tied) store_->leave_unit(c, 0, -1);
    return times(c, x, config_->embedding_multiplier);
  }

  /// factor * x, and x itself where the factor is 1.
  template <class X>
  static X times(context& c, const X& x, double factor) {
    return factor == 1 ? x : plait::scale(c, x, factor);
  }

  /// Entered tokens -> [B, S, heads * d] by the row Weight, plus the bias in row Bias if there is one (-1: none).
  template <int Number, int Weight, int Bias, class Rules = Plan, class H>
  auto projected(context& c, const H& h, int l) {
    if constexpr (Bias >= 0)
      if (store_->find(Bias, l) >= 0) return project(c, h, weight<Weight, Number, Rules>(l), weight<Bias, Number, Rules>(l));
    return project(c, h, weight<Weight, Number, Rules>(l));
  }
  /// The stream under the norm in row Weight: LayerNorm where there is a row Bias, else RMSNorm.
  template <int Number, int Weight, int Bias>
  auto normed(context& c, const stream& x, int l) const {
    if constexpr (Bias >= 0) return normalise(c, x, weight<Weight, Number>(l), weight<Bias, Number>(l), config_->rms_epsilon);
    else return normalise(c, x, weight<Weight, Number>(l), config_->rms_epsilon);
  }
  /// The same for queries and keys; normalised over all heads together they come whole and are then cut as Heads says.
  template <int Number, int Weight, int Bias, int Norm, class Heads, class H>
  auto projected(context& c, const H& h, int l) {
    const auto x = projected<Number, Weight, Bias>(c, h, l);
    if constexpr (traits::whole_query_key_norm) return redistribute<Heads>(c, normalise(c, x, weight<Norm, Number>(l), config_->rms_epsilon));
    else return x;
  }

  /// Keys or values [B, S, heads, d] under Rules: cut by head, or whole and then those that this rank's queries, laid out As, need.
  template <class As, class Rules, int Number, int Weight, int Bias, class H>
  auto key_heads(context& c, const H& h, int l) {
    const auto x = split_heads(c, projected<Number, Weight, Bias, Rules>(c, h, l), config_->head_dim);
    if constexpr (requires { style_t<Rules, Model, Weight, Number>::repeats_heads; })
      return plait::repeat_heads<As>(c, x, repeated_heads(As::value, c.mesh, config_->kv_heads));
    else return x;
  }
  template <class As, int Number, int Weight, int Bias, class H>
  auto key_heads(context& c, const H& h, int l) {
    if constexpr (offers_repeated_heads<Plan, Model>)
      if (options_.repeat_heads) return key_heads<As, repeated_heads_plan<Plan, Model>, Number, Weight, Bias>(c, h, l);
    return key_heads<As, Plan, Number, Weight, Bias>(c, h, l);
  }

  /// What latent attention asks for.
  template <int Number>
  struct layer_weights {
    decoder* self;
    int layer;
    template <int Row>
    auto at() const {
      return self->template weight<Row, Number>(layer);
    }
    template <int Weight, int Bias, class H>
    auto projected(context& c, const H& h) const {
      return self->template projected<Number, Weight, Bias>(c, h, layer);
    }
  };

  /// Entered tokens -> rotated queries and keys, and values.
  template <int Number, class H>
  auto heads_of(context& c, const H& h, int l, const tables& t) {
    const double eps = config_->rms_epsilon;
    constexpr int bq = traits::query_bias, bk = traits::key_bias, bv = traits::value_bias, nq = traits::query_norm, nk = traits::key_norm;
    constexpr int q_row = traits::query, k_row = traits::key, v_row = traits::value;
    using heads = typename decltype(this->template projected<Number, v_row, bv>(c, h, l))::layout_type;
    auto q = split_heads(c, projected<Number, q_row, bq, nq, heads>(c, h, l), config_->head_dim);
    using as_queries = typename decltype(q)::layout_type;
    auto k = [&] {
      if constexpr (traits::whole_query_key_norm) return split_heads(c, projected<Number, k_row, bk, nk, heads>(c, h, l), config_->head_dim);
      else return key_heads<as_queries, Number, k_row, bk>(c, h, l);
    }();
    auto v = key_heads<as_queries, Number, v_row, bv>(c, h, l);
    if constexpr (traits::clamps_heads)
      if (const double limit = config_->head_limit; limit > 0) q = clamp(c, q, limit), k = clamp(c, k, limit), v = clamp(c, v, limit);
    if constexpr (traits::normalises_rotated) t.rotate(c, q, k, l);
    if constexpr (traits::query_key_norm)
      if (store_->find(nq, l) >= 0) {
        q = normalise(c, q, weight<nq, Number>(l), eps);
        k = normalise(c, k, weight<nk, Number>(l), eps);
      }
    if constexpr (!traits::normalises_rotated) t.rotate(c, q, k, l);
    return attention_heads<decltype(q), decltype(k), std::decay_t<decltype(v)>>{q, k, v};
  }

  template <int Number>
  stream attend(context& c, const stream& x, int l, const tables& t) {
    named_scope scope(c, "self_attn");
    const auto h = enter<at_point<attention_point, Number>>(c, normed<Number, attention_norm, attention_norm_bias>(c, x, l));
    const auto heads = [&] {
      if constexpr (traits::latent) return latent_heads<Model>(c, h, layer_weights<Number>{this, l}, *config_, t.cosine, t.sine);
      else return heads_of<Number>(c, h, l, t);
    }();
    const double scale = config_->attention_scale != 0 ? config_->attention_scale : 1.0 / std::sqrt(static_cast<double>(config_->head_dim));
    const auto a = [&] {
      if constexpr (traits::sinks >= 0) return t.attend(c, heads.q, heads.k, heads.v, l, scale, weight<traits::sinks, Number>(l));
      else return t.attend(c, heads.q, heads.k, heads.v, l, scale);
    }();
    const auto o = projected<Number, row("model.layers.*.self_attn.o_proj.weight"), traits::output_bias>(c, merge_heads(c, a), l);
    return add(c, x, times(c, o, config_->residual_multiplier));
  }

  template <int Number>
  stream dense_mlp(context& c, const stream& x, int l) {
    named_scope scope(c, "mlp");
    const auto h = enter<at_point<detail::find_point<Model>("model.layers.*.mlp", layer_kind::dense), Number>>(c, normed<Number, mlp_norm, mlp_norm_bias>(c, x, l));
    const auto gate = projected<Number, row("model.layers.*.mlp.gate_proj.weight"), traits::gate_bias>(c, h, l);
    const auto up = projected<Number, row("model.layers.*.mlp.up_proj.weight"), traits::up_bias>(c, h, l);
    const auto y = projected<Number, row("model.layers.*.mlp.down_proj.weight"), traits::down_bias>(c, swiglu(c, gate, up), l);
    return add(c, x, times(c, y, config_->residual_multiplier));
  }

  /// The expert that every token visits, on the ranks among which its weights are cut: a pending sum there, like the routed experts'.
  template <int Number, class H>
  auto shared_expert(context& c, const H& h, int l) {
    const auto gate = projected<Number, row("model.layers.*.mlp.shared_expert.gate_proj.weight"), traits::shared_gate_bias>(c, h, l);
    const auto up = projected<Number, row("model.layers.*.mlp.shared_expert.up_proj.weight"), traits::shared_up_bias>(c, h, l);
    const auto y = project(c, swiglu(c, gate, up), weight<row("model.layers.*.mlp.shared_expert.down_proj.weight"), Number>(l));
    if constexpr (traits::shared_expert_gate)
      return gate_rows(c, y, project(c, h, weight<row("model.layers.*.mlp.shared_expert_gate.weight"), Number>(l)));
    else return y;
  }
  /// Rows of experts plus their experts' bias, if there is one.
  template <int Number, int Bias, class Rows>
  auto with_expert_bias(context& c, const Rows& rows, int l) {
    if constexpr (Bias >= 0) return bias_experts(c, rows, pending_with(c, weight<Bias, Number>(l), rows));
    else return rows;
  }

  /// Entered tokens -> experts' output as it comes (a pending sum where experts or their insides are cut), and statistics.
  template <int Number, class H>
  auto experts(context& c, const H& h, int l, const tables& t) {
    const auto logits = projected<Number, row("model.layers.*.mlp.gate.weight"), traits::router_bias>(c, h, l);
    const auto routed = [&] {
      if constexpr (traits::choice_correction >= 0)
        return route(c, logits, untrained<traits::choice_correction, Number>(l), config_->chosen(l), config_->router);
      else return route(c, logits, config_->chosen(l), config_->router);
    }();
    // The balancing loss is of the softmax router of the same logits, as transformers' is, whatever chose the experts.
    const bool balanced_apart = config_->aux_weight() != 0 && (traits::choice_correction >= 0 || config_->router.scoring == router_scoring::sigmoid);
    const auto balanced = balanced_apart ? route(c, logits, config_->chosen(l), {}) : routed;
    const auto up = weight<row("model.layers.*.mlp.experts.gate_up_proj"), Number>(l);
    const auto down = weight<row("model.layers.*.mlp.experts.down_proj"), Number>(l);
    constexpr bool transposed = traits::transposed_experts;
    const auto rows = to_experts(c, dispatch(c, h, routed, up, config_->weighs_inputs));
    const auto risen = with_expert_bias<Number, traits::expert_up_bias>(c, project_experts<transposed>(c, rows, up), l);
    const auto gated_rows = gated<traits::paired_gate>(c, risen, config_->gate);
    const auto fallen = with_expert_bias<Number, traits::expert_down_bias>(c, project_experts<transposed>(c, gated_rows, down), l);
    auto y = combine(c, to_tokens(c, fallen), routed, h);
    if constexpr (traits::shared_expert)
      if (store_->find(traits::shared_expert_row, l) >= 0) y = add(c, y, shared_expert<Number>(c, h, l));
    const std::int64_t two[2] = {t.input->rows, t.input->columns};
    const auto valid = constant<typename H::layout_type, std::uint8_t, extents<dyn, dyn>>(c, t.input->valid.data(), two);
    // Where the tokens are whole on the experts' ranks, one copy of their statistics joins the pending sum.
    partial_statistics counted = redistribute<typename partial_statistics::layout_type>(c, router_statistics(c, balanced, valid));
    return layer_output<decltype(y), partial_statistics>{y, counted};
  }

  template <int Number>
  layer_result sparse_mlp(context& c, const stream& x, int l, const tables& t, bool recompute_experts) {
    named_scope scope(c, "mlp");
    const auto h = enter<at_point<detail::find_point<Model>("model.layers.*.mlp", layer_kind::sparse), Number>>(c, normed<Number, mlp_norm, mlp_norm_bias>(c, x, l));
    using computed = decltype(this->template experts<Number>(c, h, l, t));  // here first, for short messages
    // By value: a recomputed body outlives this call.
    const auto body = [this, l, t](context& b, const auto& entered) -> computed { return this->template experts<Number>(b, entered, l, t); };
    auto out = recompute_experts ? recompute(c, body, h) : body(c, h);
    stream y = redistribute<stream_layout>(c, out.x);
    if constexpr (traits::shared_down_bias >= 0)
      if (store_->find(traits::shared_down_bias, l) >= 0) y = bias_add(c, y, plain(weight<traits::shared_down_bias, Number>(l)));
    return layer_result{{add(c, x, times(c, y, config_->residual_multiplier)), out.statistics}};
  }

  template <layer_kind Kind, int Number>
  layer_result layer(context& c, const stream& x, int l, const tables& t, bool recompute_experts) {
    const stream attended = attend<Number>(c, x, l, t);
    if constexpr (Kind == layer_kind::dense) return layer_result{{dense_mlp<Number>(c, attended, l), std::nullopt}};
    else return sparse_mlp<Number>(c, attended, l, t, recompute_experts);
  }

  template <layer_kind Kind, int Column>
  static layer_result run(decoder& self, context& c, const stream& x, int l, const tables& t) {
    constexpr int number = Column == 0 ? -1 : numbers::numbers.number[Column == 0 ? 0 : Column - 1];
    if (self.options_.recompute != recomputation::layer)
      return self.template layer<Kind, number>(c, x, l, t, self.options_.recompute == recomputation::experts);
    return recompute(c, [&self, l, t](context& b, const stream& again) { return self.template layer<Kind, number>(b, again, l, t, false); }, x);
  }
  using runner = layer_result (*)(decoder&, context&, const stream&, int, const tables&);
  template <std::size_t... Columns>
  static runner pick(bool sparse, int column, std::index_sequence<Columns...>) {
    if constexpr (traits::dense_layers) {
      static constexpr runner dense_ones[] = {&run<layer_kind::dense, static_cast<int>(Columns)>...};
      if (!sparse) return dense_ones[column];
    }
    if constexpr (traits::sparse_layers) {
      static constexpr runner sparse_ones[] = {&run<layer_kind::sparse, static_cast<int>(Columns)>...};
      if (sparse) return sparse_ones[column];
    }
    throw std::logic_error("plait: the model's table has no layers of the kind that its configuration asks for");
  }
  layer_result run_layer(context& c, const stream& x, int l, const tables& t) {
    const bool sparse = config_->sparse_layer[static_cast<std::size_t>(l)];
    return pick(sparse, numbers::column(l), std::make_index_sequence<static_cast<std::size_t>(numbers::numbers.count) + 1>{})(*this, c, x, l, t);
  }

  auto finish(context& c, const stream& x, const tables& t, const layer_statistics& all, const loss_scale* scale) {
    const int head = static_cast<int>(config_->layers) + 1;
    auto logits = [&] {
      named_scope scope(c, "lm_head");
      store_->enter_unit(c, head, -1);
      const auto h = enter<rows_layout>(c, normed<-1, row("model.norm.weight"), detail::find_row<Model>("model.norm.bias")>(c, x, -1));
      auto y = projected<-1, row("lm_head.weight"), traits::head_bias>(c, t.cache == nullptr ? h : last_position(c, h), -1);
      store_->leave_unit(c, head, head - 1);
      if (config_->tied) store_->leave_unit(c, 0, -1);
      return times(c, y, 1.0 / config_->logits_divisor);
    }();
    decoder_output<decltype(logits), scalar, whole_statistics> out{logits, {}, {}, {}};
    if (scale == nullptr) return out;
    named_scope scope(c, "loss");
    const std::int64_t two[2] = {t.input->rows, t.input->columns};
    const auto labels = constant<rows_layout, std::int64_t, extents<dyn, dyn>>(c, t.input->labels.data(), two);
    const auto maximum = row_maximum(c, logits);
    const auto shared = redistribute<reduced_layout_t<typename decltype(maximum)::layout_type>>(c, maximum);
    const auto parts = cross_entropy_parts(c, logits, shared, labels);
    const auto summed = redistribute<reduced_layout_t<typename decltype(parts)::layout_type>>(c, parts);
    const auto loss = cross_entropy_sum(c, summed, labels, scale->tokens > 0 ? 1.0 / scale->tokens : 0.0);
    scalar total = redistribute<typename scalar::layout_type>(c, loss);
    if constexpr (traits::sparse_layers) {
      if (all.sum) {
        named_scope balance_scope(c, "balance");
        const partial_statistics pending = scale->aux_weight != 0 ? *all.sum : stop_gradient(*all.sum);
        out.statistics = redistribute<typename whole_statistics::layout_type>(c, pending);
        out.aux_loss = scalar(balance(c, *out.statistics, scale->routed_rows));
        if (scale->aux_weight != 0) total = add(c, total, plait::scale(c, *out.aux_loss, scale->aux_weight));
      }
    }
    out.loss = total;
    return out;
  }

  const io::model_config* config_;
  parameter_store* store_;
  decoder_options options_;
};

}  // namespace plait::inline v0_1
