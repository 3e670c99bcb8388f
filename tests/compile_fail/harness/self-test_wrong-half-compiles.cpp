#include "self_test.hpp"
#ifdef PLAIT_EXPECT_FAIL
int length() { return length_of('d'); }  // expected-error {{"plait\[self-test\]"}}
#else
int length() { return length_of('c'); }
#endif
