#include "self_test.hpp"
#ifdef PLAIT_EXPECT_FAIL
int length() { return length_of(1L); }  // expected-error {{"plait\[self-test\]"}}
int more() { return length_of(1) + length_of(2.0) + length_of(3.0F) + length_of(4U); }
#else
int length() { return length_of('c'); }
#endif
