#include "self_test.hpp"
#ifdef PLAIT_EXPECT_FAIL
int length() { return length_of(1L); }
#else
int length() { return length_of('c'); }
#endif
