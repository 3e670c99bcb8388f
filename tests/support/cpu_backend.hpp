#pragma once
// The CPU backend for tests, compiled once: its kernels would otherwise be instantiated in every test file.
#include "plait/cpu/memory.hpp"
#include "plait/runtime/backend.hpp"

namespace plait {
const backend& test_backend();
}  // namespace plait
