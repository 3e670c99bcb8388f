// Both groups count four ranks, but not the same ones: sizes prove nothing.
#include "plait/plait.hpp"

struct outer : plait::axis<2> {};
struct inner : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct fsdp : plait::axis_view<outer, inner> {};
struct ep : plait::axis_view<inner, tp> {};
struct efsdp : plait::axis_view<outer> {};

#ifdef PLAIT_EXPECT_FAIL
constexpr bool same = plait::refold<plait::from<fsdp>, plait::to<ep>>::legal;  // expected-error {{"plait\[refold-mismatch\]"}}
#else
constexpr bool same = plait::refold<plait::from<inner, tp>, plait::to<ep>>::legal;
static_assert(same);
#endif
