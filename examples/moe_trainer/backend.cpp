// The CPU backend, instantiated once, and the JSON parser behind plait/io.
#include "plait/cpu/backend.hpp"

#include "plait/io/implementation.hpp"
#include "session.hpp"

const plait::backend& trainer::backend() { return plait::cpu_backend(); }
