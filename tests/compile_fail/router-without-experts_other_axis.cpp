// The router masks over ep = {inner, tp}; the experts are cut over tp only.
#include "plait/plait.hpp"

// Eight ranks. Attention: fsdp (outer x inner) times tp. Experts: ep (inner x tp), so that each of four ranks holds two of the
// eight experts, and efsdp (outer), whose two ranks hold the same ones.
struct outer : plait::axis<2> {};
struct inner : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<outer, inner, tp> {};
struct data : plait::axis_view<outer, inner> {};
struct ep : plait::axis_view<inner, tp> {};
struct efsdp : plait::axis_view<outer> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"layers.*.mlp.gate.weight", {8, 16}},
      {"layers.*.mlp.experts.gate_up_proj", {8, 32, 16}, plait::packed(1, 2)},
      {"layers.*.mlp.experts.down_proj", {8, 16, 16}},
  };
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp.gate", plait::ep_router<ep>>,
    plait::rule<"layers.*.mlp.experts", plait::grouped_gemm<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[router-without-experts\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.mlp.gate", plait::ep_router<ep>>,
    plait::rule<"layers.*.mlp.experts", plait::grouped_gemm<ep>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
