#pragma once
// Which rows and points of a model's tables the decoder reads. A row that it does not read would be loaded, trained and exported, and
// change nothing: such a table is refused, as is one that lacks what the decoder cannot do without.
#include "plait/core/check.hpp"
#include "plait/model/decoder_traits.hpp"
#include "plait/plan/covers.hpp"

namespace plait::inline v0_1 {
namespace detail {

enum class decoder_part : std::uint8_t { always, heads, latent, sparse, dense };
enum class row_use : std::uint8_t { required, optional, frozen };  // frozen: optional, and not trained

struct decoder_row {
  const char* name;
  decoder_part part;
  row_use use = row_use::optional;
  const char* partner = nullptr;  // a row without which this one is not read
};

inline constexpr decoder_row decoder_rows[] = {
    {"model.embed_tokens.weight", decoder_part::always, row_use::required},
    {"model.layers.*.input_layernorm.weight", decoder_part::always, row_use::required},
    {"model.layers.*.input_layernorm.bias", decoder_part::always},
    {"model.layers.*.self_attn.q_proj.weight", decoder_part::always, row_use::required},
    {"model.layers.*.self_attn.q_proj.bias", decoder_part::heads},
    {"model.layers.*.self_attn.k_proj.weight", decoder_part::heads, row_use::required},
    {"model.layers.*.self_attn.k_proj.bias", decoder_part::heads},
    {"model.layers.*.self_attn.v_proj.weight", decoder_part::heads, row_use::required},
    {"model.layers.*.self_attn.v_proj.bias", decoder_part::heads},
    {"model.layers.*.self_attn.q_norm.weight", decoder_part::heads, row_use::optional, "model.layers.*.self_attn.k_norm.weight"},
    {"model.layers.*.self_attn.k_norm.weight", decoder_part::heads, row_use::optional, "model.layers.*.self_attn.q_norm.weight"},
    {"model.layers.*.self_attn.q_a_proj.weight", decoder_part::latent, row_use::required},
    {"model.layers.*.self_attn.q_a_proj.bias", decoder_part::latent},
    {"model.layers.*.self_attn.q_a_layernorm.weight", decoder_part::latent, row_use::required},
    {"model.layers.*.self_attn.q_b_proj.weight", decoder_part::latent, row_use::required},
    {"model.layers.*.self_attn.kv_a_proj_with_mqa.weight", decoder_part::latent, row_use::required},
    {"model.layers.*.self_attn.kv_a_proj_with_mqa.bias", decoder_part::latent},
    {"model.layers.*.self_attn.kv_a_layernorm.weight", decoder_part::latent, row_use::required},
    {"model.layers.*.self_attn.kv_b_proj.weight", decoder_part::latent, row_use::required},
    {"model.layers.*.self_attn.sinks", decoder_part::always},
    {"model.layers.*.self_attn.o_proj.weight", decoder_part::always, row_use::required},
    {"model.layers.*.self_attn.o_proj.bias", decoder_part::always},
    {"model.layers.*.post_attention_layernorm.weight", decoder_part::always, row_use::required},
    {"model.layers.*.post_attention_layernorm.bias", decoder_part::always},
    {"model.layers.*.mlp.gate.weight", decoder_part::sparse, row_use::required},
    {"model.layers.*.mlp.gate.bias", decoder_part::sparse},
    {"model.layers.*.mlp.gate.e_score_correction_bias", decoder_part::sparse, row_use::frozen},
    {"model.layers.*.mlp.experts.gate_up_proj", decoder_part::sparse, row_use::required},
    {"model.layers.*.mlp.experts.gate_up_proj_bias", decoder_part::sparse},
    {"model.layers.*.mlp.experts.down_proj", decoder_part::sparse, row_use::required},
    {"model.layers.*.mlp.experts.down_proj_bias", decoder_part::sparse},
    {"model.layers.*.mlp.shared_expert.gate_proj.weight", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.up_proj.weight"},
    {"model.layers.*.mlp.shared_expert.up_proj.weight", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.down_proj.weight"},
    {"model.layers.*.mlp.shared_expert.down_proj.weight", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.gate_proj.weight"},
    {"model.layers.*.mlp.shared_expert.gate_proj.bias", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.gate_proj.weight"},
    {"model.layers.*.mlp.shared_expert.up_proj.bias", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.up_proj.weight"},
    {"model.layers.*.mlp.shared_expert.down_proj.bias", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.down_proj.weight"},
    {"model.layers.*.mlp.shared_expert_gate.weight", decoder_part::sparse, row_use::optional, "model.layers.*.mlp.shared_expert.down_proj.weight"},
    {"model.layers.*.mlp.gate_proj.weight", decoder_part::dense, row_use::required},
    {"model.layers.*.mlp.gate_proj.bias", decoder_part::dense},
    {"model.layers.*.mlp.up_proj.weight", decoder_part::dense, row_use::required},
    {"model.layers.*.mlp.up_proj.bias", decoder_part::dense},
    {"model.layers.*.mlp.down_proj.weight", decoder_part::dense, row_use::required},
    {"model.layers.*.mlp.down_proj.bias", decoder_part::dense},
    {"model.norm.weight", decoder_part::always, row_use::required},
    {"model.norm.bias", decoder_part::always},
    {"lm_head.weight", decoder_part::always, row_use::required},
    {"lm_head.bias", decoder_part::always},
};

template <class Model>
consteval bool has_part(decoder_part part) {
  using traits = decoder_traits<Model>;
  return part == decoder_part::always || (part == decoder_part::heads && !traits::latent) || (part == decoder_part::latent && traits::latent) ||
         (part == decoder_part::sparse && traits::sparse_layers) || (part == decoder_part::dense && traits::dense_layers);
}

/// The first row of the parameter table that the decoder does not read, -1 if it reads all.
template <class Model>
consteval int unread_row() {
  for (int r = 0; r < parameter_count<Model>; ++r) {
    bool read = false;
    for (const decoder_row& known : decoder_rows)
      if (same_text(known.name, Model::parameters[r].name))
        read = has_part<Model>(known.part) && (known.partner == nullptr || find_row<Model>(known.partner) >= 0) &&
               (known.use == row_use::frozen) == !Model::parameters[r].trained;
    if (!read) return r;
  }
  const int norm = find_row<Model>("model.layers.*.self_attn.q_norm.weight");
  return norm >= 0 && !decoder_traits<Model>::query_key_norm && !decoder_traits<Model>::whole_query_key_norm ? norm : -1;
}
/// The first row, by its number in decoder_rows, that the decoder needs and the table does not have.
template <class Model>
consteval int missing_row() {
  int number = 0;
  for (const decoder_row& known : decoder_rows) {
    if (known.use == row_use::required && has_part<Model>(known.part) && find_row<Model>(known.name) < 0) return number;
    ++number;
  }
  return -1;
}
/// The first activation point that is not one of decoder_points, -1 if there is none; -2 if one of them is missing.
template <class Model>
consteval int strange_point() {
  int found[5] = {}, number = 0;
  for (const activation_point& point : Model::activations) {
    bool known = false;
    for (int p = 0; p < 5; ++p) {
      const activation_point& other = decoder_points[p];
      const bool same = same_text(point.name, other.name) && point.kind == other.kind && point.rank == other.rank && point.one_layout == other.one_layout;
      known = known || same, found[p] += same;
    }
    if (!known) return number;
    ++number;
  }
  return found[0] > 0 && found[1] > 0 && found[2] + found[3] > 0 && found[4] > 0 ? -1 : -2;
}
/// Gate and up lie one after the other or in turn, and the row says which.
template <class Model>
consteval bool gate_up_told_apart() {
  const int row = find_row<Model>("model.layers.*.mlp.experts.gate_up_proj");
  if (row < 0) return true;
  const parameter& up = Model::parameters[row];
  const int width = decoder_traits<Model>::transposed_experts ? 2 : 1;
  return (up.packed_dim == width && up.sections == 2) || (up.packed_dim < 0 && up.unit_dim == width && up.unit_size == 2);
}

template <int Number>
struct row_of_decoder {};

template <class Model>
struct decoder_verdict {
  static constexpr int unread = unread_row<Model>(), missing = missing_row<Model>(), point = strange_point<Model>();
  static constexpr bool told_apart = gate_up_told_apart<Model>();
  static constexpr bool clean = point == -1 && unread < 0 && missing < 0 && told_apart;
};

template <class Model, class V = decoder_verdict<Model>>
struct decoder_reported {  // one by one, as in plan/covers.hpp
  static_assert(sizeof(check::a_decoder_asks_about_its_points<V::point == -1, Model, activation_row<Model, V::point>>) > 0);
  static_assert(sizeof(check::a_decoder_reads_every_row<(V::point != -1 || V::unread < 0), Model, parameter_row<Model, V::unread>>) > 0);
  static_assert(sizeof(check::a_decoder_has_the_rows_it_needs<(V::point != -1 || V::unread >= 0 || V::missing < 0), Model, row_of_decoder<V::missing>>) > 0);
  static_assert(sizeof(check::gate_and_up_are_told_apart<V::told_apart, Model>) > 0);
};

/// Number of a point; 0 where the tables have been refused, so that what needs it is not reported as well.
template <class Model>
consteval int find_point(const char* name, layer_kind kind = layer_kind::any) {
  if constexpr (decoder_verdict<Model>::point == -1) return point_of<Model>(name, kind);
  else return 0;
}

}  // namespace detail

/// Does the decoder read all of Model's tables, and do they hold what it needs?
template <class Model>
inline constexpr bool fits_decoder = sizeof(detail::decoder_reported<Model>) > 0 && detail::decoder_verdict<Model>::clean;

}  // namespace plait::inline v0_1
