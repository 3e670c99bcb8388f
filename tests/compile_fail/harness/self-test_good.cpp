#include "self_test.hpp"
#ifdef PLAIT_EXPECT_FAIL
int length() { return length_of(1L); }  // expected-error {{"plait\[self-test\]: .* use char"}}
#else
int length() { return length_of('c'); }
#endif
