// Names and patterns: which rule rules which row.
#include "support.hpp"

using namespace core_test;

namespace {

constexpr int fit(const char* rule, const char* name, int number = -1) { return specificity(read_pattern(rule), read_pattern(name), number); }

constexpr int wrong_patterns() {
  int wrong = 0;
  const char* const weight = "model.layers.*.self_attn.q_proj.weight";
  // 4 the name by number, 3 the name, 2 its module by number, 1 its module, 0 not at all
  wrong += fit("model.layers.*.self_attn.q_proj.weight", weight) != 3;
  wrong += fit("model.layers.*.self_attn.q_proj", weight) != 1;
  wrong += fit("model.layers.7.self_attn.q_proj", weight, 7) != 2;
  wrong += fit("model.layers.7.self_attn.q_proj.weight", weight, 7) != 4;
  wrong += fit("model.layers.7.self_attn.q_proj.weight", weight, 8) != 0;
  wrong += fit("model.layers.7.self_attn.q_proj.weight", weight, -1) != 0;
  wrong += fit("model.layers.*.self_attn.q_proj", weight, 7) != 1;
  wrong += fit("model.layers.*.self_attn", weight) != 0;  // only the module one level up owns a parameter
  wrong += fit("model.layers.*.self_attn.k_proj", weight) != 0;
  wrong += fit("layers.*.self_attn.q_proj", weight) != 0;
  wrong += fit("*.self_attn.q_proj", weight) != 0;
  wrong += fit("model.*", weight) != 0;
  wrong += fit("", weight) != 0;
  wrong += fit("model.layers.*.self_attn.q_proj.weigh", weight) != 0;
  wrong += fit("model.layers.*.self_attn.q_proj.weight.x", weight) != 0;
  wrong += fit("model.layers.*.self_attn.q_projx", weight) != 0;
  // names without a layer
  wrong += fit("lm_head", "lm_head.weight") != 1 || fit("lm_head.weight", "lm_head.weight") != 3 || fit("lm_head", "lm_head") != 3;
  wrong += fit("model.norm", "model.norm.weight") != 1 || fit("model.norm", "model.norm2.weight") != 0;
  // a number is a whole segment
  wrong += fit("model.layers.12.x", "model.layers.*.x", 12) != 4;
  wrong += fit("model.layers.12.x", "model.layers.*.x", 1) != 0;
  wrong += fit("model.layers.1.x", "model.layers.*.x", 12) != 0;
  wrong += fit("model.layers2.x", "model.layers3.x") != 0;
  return wrong;
}

constexpr int wrong_reading() {
  int wrong = 0;
  wrong += read_pattern("a.12.b").number != 12 || read_pattern("a.*.b").number != -1 || read_pattern("a.b").number != -1;
  wrong += read_pattern("a.0.b").number != 0 || read_pattern("a.b2.c").number != -1;
  wrong += read_pattern("a.b2.c").numbers != 0 || read_pattern("a.12.b").numbers != 1 || read_pattern("a.*.b").numbers != 1 || read_pattern("a.*.b.0").numbers != 2;
  wrong += read_pattern("a.12.b").hash != read_pattern("a.*.b").hash;
  wrong += read_pattern("a.*.b.c").owner_hash != read_pattern("a.3.b").hash;
  wrong += read_pattern("a.b").hash == read_pattern("a.c").hash || read_pattern("ab").hash == read_pattern("a.b").hash;
  return wrong;
}

/// What best_rule picks among rules, as the plan's resolution calls it.
struct axis_of_rules : axis<2> {};
struct mesh_of_rules : mesh<axis_of_rules> {};
using any_style = replicated<axis_of_rules>;
struct rule_set : plan<mesh_of_rules, parameters<rule<"m.layers.*.a", any_style>, rule<"m.layers.3.a", any_style>, rule<"m.layers.*.a.weight", any_style>,
                                              rule<"m.layers.5.a.weight", any_style>, rule<"m.head", any_style>>> {};
struct twin_set : plan<mesh_of_rules, parameters<rule<"m.layers.*.a", any_style>, rule<"m.layers.*.a", any_style>, rule<"m.layers.3.a", any_style>>> {};

template <class Plan>
constexpr int best(const char* name, int number, bool expect_ambiguous) {
  bool ambiguous = false;
  const int b = detail::best_rule<Plan>(read_pattern(name), number, ambiguous);
  return ambiguous == expect_ambiguous ? b : -100;
}
constexpr int wrong_choices() {
  int wrong = 0;
  wrong += best<rule_set>("m.layers.*.a.weight", -1, false) != 2;  // the name beats its module
  wrong += best<rule_set>("m.layers.*.a.weight", 3, false) != 2;   // even when the module states the number
  wrong += best<rule_set>("m.layers.*.a.weight", 5, false) != 3;   // an exact number beats *
  wrong += best<rule_set>("m.layers.*.a.bias", 3, false) != 1;
  wrong += best<rule_set>("m.layers.*.a.bias", 4, false) != 0;
  wrong += best<rule_set>("m.head.weight", -1, false) != 4;
  wrong += best<rule_set>("m.norm.weight", -1, false) != -1;
  const int either = best<twin_set>("m.layers.*.a.weight", 4, true);
  wrong += either != 0 && either != 1;
  wrong += best<twin_set>("m.layers.*.a.weight", 3, false) != 2;  // the better rule ends the ambiguity
  return wrong;
}

// ---- a plan over a small model ----------------------------------------------------------------------------------------
struct fsdp_axis : axis<2> {};
struct tp : axis<4> {};
struct node : mesh<fsdp_axis, tp> {};
struct small {
  static constexpr parameter parameters[] = {
      {"embed.weight", {64, 16}},
      {"layers.*.up.weight", {32, 16}, packed(0, 2)},
      {"layers.*.up.bias", {32}, packed(0, 2)},
      {"layers.*.down.weight", {16, 16}},
      {"layers.*.norm.weight", {16}},
  };
  static constexpr activation_point activations[] = {{"layers.*", 3}};
};
struct table : plan<node,
    parameters<rule<"embed", vocabulary<tp>>, rule<"layers.*.up", packed_colwise<tp>>, rule<"layers.*.down", rowwise<tp>>,
               rule<"layers.2.down", replicated<tp>, no_fsdp>, rule<"layers.*.norm", replicated<tp>>>,
    activations<activation<"layers.*", on<fsdp_axis, Shard<0>>, on<tp, Invariant>>>, everywhere<fsdp<fsdp_axis>>> {};
static_assert(covers<table, small>);

constexpr int wrong_resolution() {
  int wrong = 0;
  using resolved = detail::resolved_table<table, small>;
  wrong += resolved::numbers.count != 1 || resolved::numbers.number[0] != 2;
  constexpr int up = row_of<small>("layers.*.up.weight"), bias = row_of<small>("layers.*.up.bias"), down = row_of<small>("layers.*.down.weight");
  wrong += !(resolved::at(up, 0).compute.at[1] == Q0) || !(resolved::at(bias, 0).compute.at[1] == Q0);
  wrong += !(resolved::at(down, 1).compute.at[1] == S1) || resolved::at(down, 1).rule != 2;
  wrong += !(resolved::at(down, 2).compute.at[1] == I) || resolved::at(down, 2).rule != 3;
  wrong += resolved::at(down, 2).storage.cuts != 0;  // no_fsdp
  // FSDP cuts inside what the style cut
  const layout_value stored = resolved::at(up, 0).storage;
  wrong += stored.cuts != 2 || stored.cut[0] != 1 || stored.cut[1] != 0 || !(stored.at[0] == S0);
  for (int r = 0; r < resolved::rows; ++r) wrong += resolved::at(r, 0).error != plan_error::none;
  using storage = storage_layout_t<table, small, down, -1>;
  wrong += !std::is_same_v<storage, layout<node, on<fsdp_axis, Shard<0>>, on<tp, Shard<1>>>>;
  wrong += !std::is_same_v<compute_layout_t<table, small, down, 2>, layout<node, on<tp, Invariant>>>;
  wrong += !std::is_same_v<activation_layout_t<table, small, 0>, layout<node, on<fsdp_axis, Shard<0>>, on<tp, Invariant>>>;
  return wrong;
}

/// Which dim FSDP cuts where the rule names none: the first that is even to within an eighth, if there is one.
struct many_experts {
  static constexpr parameter parameters[] = {
      {"layers.*.gate.weight", {8, 64}},           {"layers.*.gate_up", {8, 96, 64}, packed(1, 2)}, {"layers.*.down", {8, 64, 48}},
      {"layers.*.q.weight", {64, 64}, unit(0, 8)}, {"layers.*.norm.weight", {8}},                   {"layers.*.kept", {8, 64, 48}},
  };
};
struct data_16 : axis<16> {};
struct data_5 : axis<5> {};
struct tp_2 : axis<2> {};
template <class Data, class Node, class Up, class Down>
using expert_rules = plan<Node, parameters<rule<"layers.*.gate", replicated<tp_2>>, rule<"layers.*.gate_up", Up>, rule<"layers.*.down", Down>,
                                           rule<"layers.*.q", colwise<tp_2>>, rule<"layers.*.norm", replicated<tp_2>>, rule<"layers.*.kept", replicated<tp_2>, fsdp<Data, -1>>>,
                          activations<>, everywhere<fsdp<Data>>>;
struct node_16 : mesh<data_16, tp_2> {};
struct node_5 : mesh<data_5, tp_2> {};
struct tp_over_16 : expert_rules<data_16, node_16, moe_gate_up_colwise<tp_2>, moe_down_rowwise<tp_2>> {};
struct ep_over_16 : expert_rules<data_16, node_16, grouped_gemm<tp_2>, grouped_gemm<tp_2>> {};
struct tp_over_5 : expert_rules<data_5, node_5, moe_gate_up_colwise<tp_2>, moe_down_rowwise<tp_2>> {};
static_assert(covers<tp_over_16, many_experts> && covers<ep_over_16, many_experts> && covers<tp_over_5, many_experts>);

template <class Plan, int Row, class... Entries>
constexpr bool is_stored = std::is_same_v<storage_layout_t<Plan, many_experts, Row>, layout<typename Plan::mesh, Entries...>>;
template <class Placement>
using over_16 = on<data_16, Placement>;

constexpr int wrong_storage() {
  int wrong = 0;
  // Eight experts, sixteen ranks: dim 1, or dim 2 where tp cuts dim 1. A vector has one dim, a rule that names a dim is obeyed.
  wrong += !is_stored<tp_over_16, 0, over_16<Shard<1>>, on<tp_2, Invariant>>;
  wrong += !is_stored<tp_over_16, 1, on<tp_2, StridedShard<1, 2>>, over_16<Shard<2>>>;
  wrong += !is_stored<tp_over_16, 2, over_16<Shard<1>>, on<tp_2, Shard<2>>>;
  wrong += !is_stored<tp_over_16, 3, on<tp_2, Shard<0>>, over_16<Shard<0>>>;
  wrong += !is_stored<tp_over_16, 4, over_16<Shard<0>>, on<tp_2, Invariant>>;
  wrong += !is_stored<tp_over_16, 5, over_16<Shard<2>>, on<tp_2, Invariant>>;
  wrong += !is_stored<ep_over_16, 1, on<tp_2, Shard<0>>, over_16<Shard<1>>>;
  wrong += !is_stored<ep_over_16, 2, on<tp_2, Shard<0>>, over_16<Shard<1>>>;
  // Five ranks: by number the largest share is 2 of 1.6 experts; 64 rows are 13 of 12.8.
  wrong += !is_stored<tp_over_5, 2, on<data_5, Shard<1>>, on<tp_2, Shard<2>>>;
  wrong += !is_stored<tp_over_5, 3, on<tp_2, Shard<0>>, on<data_5, Shard<0>>>;

  const auto chosen = [](std::int64_t experts, std::int64_t rows, std::int64_t columns, int ranks, placement_value on_tp = Replicate::value, int tp_ranks = 2) {
    layout_builder compute(3), storage(3);  // two data axes, and tp of two ranks
    for (layout_builder* b : {&compute, &storage}) b->place(2, on_tp);
    for (const int a : {0, 1}) storage.place(a, S0);
    const int size[3] = {ranks, 2, tp_ranks};
    const std::int64_t extent[3] = {experts, rows, columns};
    return detail::even_dim(compute.value, storage.value, 3, extent, size);
  };
  wrong += chosen(8, 4096, 4096, 4) != 0;        // one each
  wrong += chosen(60, 4096, 4096, 32) != 0;      // four of 64 ranks have none, the others a fifteenth more than their share
  wrong += chosen(8, 4096, 4096, 32) != 1;
  wrong += chosen(8, 3000, 4096, 32) != 1;       // 47 of 46.9 rows will do
  wrong += chosen(8, 28, 4096, 32) != 2;         // 28 rows are no better
  wrong += chosen(8, 3, 2, 32) != 0;             // nor is anything else
  wrong += chosen(8, 4096, 4096, 32, S1) != 2;   // what tp cuts is left alone
  wrong += chosen(8, 4096, 4096, 32, S1, 1) != 1;  // one rank cuts nothing
  wrong += chosen(160, 4096, 4096, 32, S0) != 1; // 80 a rank of ep: two of 1.25
  wrong += chosen(8, -1, 4096, 32) != -1 || chosen(-1, 4096, 4096, 32) != -1 || chosen(8, 4096, 4096, dyn) != -1;
  wrong += chosen(8, 4096, -1, 32) != 1 || chosen(8, 4096, 4096, 32, S0, dyn) != -1 || chosen(64, 4096, 4096, 32, S1, dyn) != 0;
  return wrong;
}

/// Divisibility by units, sections and the sizes of all cutting axes; what is not known yet fits.
constexpr int wrong_units() {
  int wrong = 0;
  const parameter heads{"w", {symbol(0), 16}, unit(0, 8)}, gate{"w", {symbol(0), 4}, packed(0, 2)}, loose{"w", {symbol(0)}, uneven{}};
  const std::int64_t four_heads[4] = {32, 16}, unknown[4] = {-1, 16}, packed_24[4] = {24, 4}, odd[4] = {7};
  layout_builder b(2);
  b.place(1, S0);
  b.place(0, S0);
  const int four[2] = {1, 4}, eight[2] = {1, 8}, both[2] = {2, 2}, many[2] = {2, 4}, open[2] = {dyn, 4};
  wrong += !detail::divides(heads, four_heads, 8, b.value, four);
  wrong += detail::divides(heads, four_heads, 8, b.value, eight);
  wrong += !detail::divides(heads, four_heads, 8, b.value, both);
  wrong += detail::divides(heads, four_heads, 8, b.value, many);
  wrong += !detail::divides(heads, four_heads, 8, b.value, open) || !detail::divides(heads, unknown, 8, b.value, eight);
  wrong += detail::divides(gate, packed_24, 1, b.value, eight);   // 24 / (2 x 8)
  wrong += !detail::divides(gate, packed_24, 1, b.value, four);   // 24 / (2 x 4)
  wrong += !detail::divides(loose, odd, 1, b.value, eight);
  return wrong;
}

}  // namespace

TEST_CASE("pattern: how well a rule fits a name") {
  PLAIT_TWICE(wrong_patterns);
  PLAIT_TWICE(wrong_reading);
}
TEST_CASE("pattern: the most specific rule is chosen, twins are ambiguous") { PLAIT_TWICE(wrong_choices); }
TEST_CASE("plan: rules become layouts, an exact layer number beats *") { PLAIT_TWICE(wrong_resolution); }
TEST_CASE("plan: FSDP cuts the dim that shares a parameter out evenly") { PLAIT_TWICE(wrong_storage); }
TEST_CASE("plan: divisibility goes by units") { PLAIT_TWICE(wrong_units); }
