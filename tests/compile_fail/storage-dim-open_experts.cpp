// Experts over data ranks whose number the compiler does not know: by their number or, where there are more ranks, by another dim.
#include "plait/plait.hpp"

struct dp : plait::axis<plait::dyn> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {{"layers.*.mlp.experts.down_proj", {8, 16, 32}}};
};

#ifdef PLAIT_EXPECT_FAIL
using storage = plait::fsdp<dp>;
#else
using storage = plait::fsdp<dp, 1>;
#endif
struct my_plan : plait::plan<node, plait::parameters<plait::rule<"layers.*.mlp.experts.down_proj", plait::moe_down_rowwise<tp>, storage>>> {};
static_assert(plait::covers<my_plan, model>);
using stored = plait::stored_t<my_plan, model, "layers.*.mlp.experts.down_proj", float>;
static_assert(stored::rank == 3);  // expected-error {{"plait\[storage-dim-open\]"}}
