// A tie to a name that the table does not have would tie nothing.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

#ifdef PLAIT_EXPECT_FAIL
struct model {
  static constexpr plait::parameter parameters[] = {
      {"embed_tokens.weight", {32, 16}},
      {"lm_head.weight", {32, 16}},
  };
  static constexpr plait::tie ties[] = {{"lm_head.weight", "embed_tokens"}};
};
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"embed_tokens", plait::vocabulary<tp>>,
    plait::rule<"lm_head", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[tied-rows\]"}}
#else
struct model {
  static constexpr plait::parameter parameters[] = {
      {"embed_tokens.weight", {32, 16}},
      {"lm_head.weight", {32, 16}},
  };
  static constexpr plait::tie ties[] = {{"lm_head.weight", "embed_tokens.weight"}};
};
struct my_plan : plait::plan<node, plait::parameters<
    plait::rule<"embed_tokens", plait::vocabulary<tp>>,
    plait::rule<"lm_head", plait::colwise<tp>>>> {};
static_assert(plait::covers<my_plan, model>);
#endif
