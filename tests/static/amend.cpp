// amend<...>: replaced in place of the base's, added, taken away; units and precision kept; the last change wins.
#include "plait/plait.hpp"

namespace pl = plait;

struct dp : pl::axis<2> {};
struct tp : pl::axis<2> {};
struct node : pl::mesh<dp, tp> {};

struct model {
  static constexpr pl::parameter parameters[] = {
      {"layers.*.q_proj.weight", {16, 16}},
      {"layers.*.o_proj.weight", {16, 16}},
      {"layers.*.q_norm.weight", {16}},
  };
  static constexpr pl::activation_point activations[] = {{"layers.*", 3, pl::layer_kind::sparse}, {"layers.*", 3, pl::layer_kind::dense}};
};
struct smaller {
  static constexpr pl::parameter parameters[] = {{"layers.*.q_proj.weight", {16, 16}}, {"layers.*.o_proj.weight", {16, 16}}};
  static constexpr pl::activation_point activations[] = {{"layers.*", 3}};
};

struct base : pl::plan<node,
    pl::parameters<pl::rule<"layers.*.q_proj", pl::colwise<tp>>, pl::rule<"layers.*.o_proj", pl::rowwise<tp>>>,
    pl::activations<pl::activation<"layers.*", pl::on<tp, pl::Invariant>>>, pl::everywhere<pl::fsdp<dp>>, pl::bfloat16_precision> {
  static constexpr pl::fsdp_units units{.layer = pl::gathered::keep};
};
static_assert(pl::covers<base, smaller>);

using q_norm = pl::parameters<pl::rule<"layers.*.q_norm", pl::replicated<tp>>>;
struct larger : pl::amend<base, q_norm, pl::parameters<pl::rule<"layers.*.o_proj", pl::replicated<tp>>>,
    pl::activations<pl::activation<"layers.*", pl::only<pl::layer_kind::sparse>>,
                    pl::activation<"layers.*", pl::only<pl::layer_kind::dense>, pl::on<tp, pl::Invariant>>>> {};
static_assert(pl::covers<larger, model>);
static_assert(larger::rules == 3 && larger::points == 2);
static_assert(larger::units.layer == pl::gathered::keep);
static_assert(std::is_same_v<larger::precision, pl::bfloat16_precision>);
static_assert(std::is_same_v<pl::style_t<larger, model, 0>, pl::colwise<tp>>);
static_assert(std::is_same_v<pl::style_t<larger, model, 1>, pl::replicated<tp>>);
static_assert(!std::is_same_v<pl::activation_layout_t<larger, model, 0>, pl::activation_layout_t<larger, model, 1>>);

struct back : pl::amend<larger, pl::without<"layers.*.q_norm">, pl::activations<pl::activation<"layers.*">>> {};
static_assert(pl::covers<back, smaller>);
static_assert(back::rules == 2 && back::points == 1);

struct twice : pl::amend<base, q_norm, pl::parameters<pl::rule<"layers.*.q_norm", pl::sequence_parallel<tp>>>> {};
static_assert(twice::rules == 3);
static_assert(std::is_same_v<pl::style_t<twice, model, 2>, pl::sequence_parallel<tp>>);
