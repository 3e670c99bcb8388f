#include "self_test.hpp"
#ifdef PLAIT_EXPECT_FAIL
int before() { return no_such_name; }
int length() { return length_of(1L); }  // expected-error {{"plait\[self-test\]"}}
#else
int length() { return length_of('c'); }
#endif
