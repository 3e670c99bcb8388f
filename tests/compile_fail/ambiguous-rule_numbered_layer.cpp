// Two rules name layer 3. The control: one rule that names layer 3 beats `*` there, and only there.
#include "plait/plait.hpp"

struct dp : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct node : plait::mesh<dp, tp> {};

struct model {
  static constexpr plait::parameter parameters[] = {
      {"layers.*.q_proj.weight", {16, 16}, plait::unit(0, 4)},
      {"layers.*.o_proj.weight", {16, 16}, plait::unit(1, 4)},
  };
};

template <class Three>
struct with : plait::plan<node, plait::parameters<
    plait::rule<"layers.*.q_proj", plait::colwise<tp>>,
    plait::rule<"layers.*.o_proj", plait::rowwise<tp>>,
    plait::rule<"layers.3.o_proj", plait::replicated<tp>>,
    Three>> {};
#ifdef PLAIT_EXPECT_FAIL
using my_plan = with<plait::rule<"layers.3.o_proj", plait::rowwise<tp>>>;
static_assert(plait::covers<my_plan, model>);  // expected-error {{"plait\[ambiguous-rule\]"}}
#else
using my_plan = with<plait::rule<"layers.4.o_proj", plait::replicated<tp>>>;
static_assert(plait::covers<my_plan, model>);
template <int Layer>
using o_style = plait::style_t<my_plan, model, plait::row_of<model>("layers.*.o_proj.weight"), Layer>;
static_assert(std::is_same_v<o_style<3>, plait::replicated<tp>> && std::is_same_v<o_style<4>, plait::replicated<tp>>);
static_assert(std::is_same_v<o_style<-1>, plait::rowwise<tp>> && std::is_same_v<o_style<5>, plait::rowwise<tp>>);
#endif
