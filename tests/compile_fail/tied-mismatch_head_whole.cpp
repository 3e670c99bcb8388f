// The table cut, the head whole (a combined plan that lost its lm_head entry).
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"embed_tokens.weight", {32, 16}},
      {"lm_head.weight", {32, 16}},
  };
  static constexpr plait::tie ties[] = {{"lm_head.weight", "embed_tokens.weight"}};
};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"embed_tokens", plait::vocabulary<tp>>,
    plait::rule<"lm_head", plait::replicated<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[tied-mismatch\]"}}
#else
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"embed_tokens", plait::replicated<tp>>,
    plait::rule<"lm_head", plait::replicated<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
