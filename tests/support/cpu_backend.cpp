#include "support/cpu_backend.hpp"

#include "plait/cpu/backend.hpp"

const plait::backend& plait::test_backend() { return cpu_backend(); }
