// A rule is taken away by a name that the base does not have.
#include "plait/plait.hpp"

struct tp : plait::axis<2> {};
struct node : plait::mesh<tp> {};

struct base : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.q_norm", plait::replicated<tp>>>> {};

#ifdef PLAIT_EXPECT_FAIL
struct my_plan : plait::amend<base, plait::without<"layers.*.q_nrom">> {};  // expected-error {{"plait\[amendment-in-vain\]"}}
#else
struct my_plan : plait::amend<base, plait::without<"layers.*.q_norm">> {};
#endif
