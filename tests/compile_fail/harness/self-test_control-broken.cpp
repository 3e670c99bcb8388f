#include "self_test.hpp"
#ifdef PLAIT_EXPECT_FAIL
int length() { return length_of(1L); }  // expected-error {{"plait\[self-test\]"}}
#else
int length() { return no_such_function('c'); }
#endif
