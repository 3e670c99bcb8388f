// The parser behind plait/io, for all targets.
#include "plait/io/implementation.hpp"
