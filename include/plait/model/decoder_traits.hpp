#pragma once
// What a decoder does that not all do, read off its model's parameter table: a part is there if and only if its weights are, so table
// and forward pass cannot disagree. Only what weights do not show is stated by the model itself.
#include "plait/model/decoder_table.hpp"

namespace plait::inline v0_1 {
namespace detail {
/// Number of the row of that name, -1 if there is none.
template <class Model>
consteval int find_row(const char* name) {
  for (int r = 0; r < parameter_count<Model>; ++r)
    if (same_text(Model::parameters[r].name, name)) return r;
  return -1;
}
template <class Model>
consteval bool has_layers(layer_kind kind) {
  for (const activation_point& point : Model::activations)
    if (point.kind == kind) return true;
  return false;
}
template <class Model>
consteval int first_extent(const char* name) {
  for (const parameter& row : Model::parameters)
    if (same_text(row.name, name)) return row.extent[0];
  return 0;
}
/// The experts' up projection: are its inputs dim 1, do gate and up alternate?
constexpr bool lies_in_out(const parameter& up) { return up.extent[1] == decoder_dims::hidden; }
constexpr bool alternates(const parameter& up) { return up.sections == 1; }
template <class Model>
consteval parameter expert_up() {
  const int row = find_row<Model>("model.layers.*.mlp.experts.gate_up_proj");
  return row < 0 ? parameter("", {0, 0, 0}, packed(1, 2)) : Model::parameters[row];
}
}  // namespace detail

template <class Model>
struct decoder_traits {
  static constexpr bool dense_layers = detail::has_layers<Model>(layer_kind::dense);
  static constexpr bool sparse_layers = detail::has_layers<Model>(layer_kind::sparse);
  /// Rows of the parameter table, -1 where there is none.
  static constexpr int query = detail::find_row<Model>("model.layers.*.self_attn.q_proj.weight"),
                       key = detail::find_row<Model>("model.layers.*.self_attn.k_proj.weight"),
                       value = detail::find_row<Model>("model.layers.*.self_attn.v_proj.weight");
  static constexpr int query_bias = detail::find_row<Model>("model.layers.*.self_attn.q_proj.bias"),
                       key_bias = detail::find_row<Model>("model.layers.*.self_attn.k_proj.bias"),
                       value_bias = detail::find_row<Model>("model.layers.*.self_attn.v_proj.bias"),
                       query_norm = detail::find_row<Model>("model.layers.*.self_attn.q_norm.weight"),
                       key_norm = detail::find_row<Model>("model.layers.*.self_attn.k_norm.weight");
  /// Keys and values come from a latent that all heads share (model/latent_attention.hpp).
  static constexpr bool latent = detail::find_row<Model>("model.layers.*.self_attn.kv_b_proj.weight") >= 0;
  static constexpr int output_bias = detail::find_row<Model>("model.layers.*.self_attn.o_proj.bias");
  /// RMSNorm of each head's queries and keys, before the rotary embedding or after it,
  static constexpr bool query_key_norm = detail::first_extent<Model>("model.layers.*.self_attn.q_norm.weight") == decoder_dims::head_dim;
  static constexpr bool normalises_rotated = requires { Model::normalises_rotated; };
  /// or of the queries of all heads together.
  static constexpr bool whole_query_key_norm =
      detail::first_extent<Model>("model.layers.*.self_attn.q_norm.weight") == decoder_dims::query_width;
  /// Queries, keys and values are clamped, where the configuration gives a limit, once they are normalised.
  static constexpr bool clamps_heads = requires { Model::clamps_heads; };
  /// Of dense layers' MLPs, of the shared expert's, the latter's last added when all sums are whole, and of the logits.
  static constexpr int gate_bias = detail::find_row<Model>("model.layers.*.mlp.gate_proj.bias"),
                       up_bias = detail::find_row<Model>("model.layers.*.mlp.up_proj.bias"),
                       down_bias = detail::find_row<Model>("model.layers.*.mlp.down_proj.bias"),
                       shared_gate_bias = detail::find_row<Model>("model.layers.*.mlp.shared_expert.gate_proj.bias"),
                       shared_up_bias = detail::find_row<Model>("model.layers.*.mlp.shared_expert.up_proj.bias"),
                       shared_down_bias = detail::find_row<Model>("model.layers.*.mlp.shared_expert.down_proj.bias"),
                       head_bias = detail::find_row<Model>("lm_head.bias");
  /// Numbers added to the experts' scores for the choice alone, not trained.
  static constexpr int choice_correction = detail::find_row<Model>("model.layers.*.mlp.gate.e_score_correction_bias");
  /// One logit a head more in attention's softmax.
  static constexpr int sinks = detail::find_row<Model>("model.layers.*.self_attn.sinks");
  static constexpr int router_bias = detail::find_row<Model>("model.layers.*.mlp.gate.bias");
  /// Experts' weights that lie as [E, in, out], gate and up in turn instead of one after the other, a bias an expert.
  static constexpr bool transposed_experts = detail::lies_in_out(detail::expert_up<Model>());
  static constexpr bool paired_gate = detail::alternates(detail::expert_up<Model>());
  static constexpr int expert_up_bias = detail::find_row<Model>("model.layers.*.mlp.experts.gate_up_proj_bias"),
                       expert_down_bias = detail::find_row<Model>("model.layers.*.mlp.experts.down_proj_bias");
  /// An expert that every token visits, and a gate that weights its output.
  static constexpr int shared_expert_row = detail::find_row<Model>("model.layers.*.mlp.shared_expert.down_proj.weight");
  static constexpr bool shared_expert = shared_expert_row >= 0;
  static constexpr bool shared_expert_gate = detail::find_row<Model>("model.layers.*.mlp.shared_expert_gate.weight") >= 0;
};

}  // namespace plait::inline v0_1
