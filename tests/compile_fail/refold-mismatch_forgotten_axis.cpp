// The dense layers' ranks are outer x inner x tp; ep alone leaves outer out.
#include "plait/plait.hpp"

struct outer : plait::axis<2> {};
struct inner : plait::axis<2> {};
struct tp : plait::axis<2> {};
struct fsdp : plait::axis_view<outer, inner> {};
struct ep : plait::axis_view<inner, tp> {};
struct efsdp : plait::axis_view<outer> {};

#ifdef PLAIT_EXPECT_FAIL
constexpr bool same = plait::refold<plait::from<fsdp, tp>, plait::to<ep>>::legal;  // expected-error {{"plait\[refold-mismatch\]"}}
#else
constexpr bool same = plait::refold<plait::from<fsdp, tp>, plait::to<efsdp, ep>>::legal;
static_assert(same);
#endif
