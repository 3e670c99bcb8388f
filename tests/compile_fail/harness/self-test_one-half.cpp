#include "self_test.hpp"
int length() { return length_of(1L); }  // expected-error {{"plait\[self-test\]"}}
