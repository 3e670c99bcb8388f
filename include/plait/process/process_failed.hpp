#pragma once
// The error by which the end of one process ends the others.
#include <stdexcept>
#include <string>

namespace plait::inline v0_1 {

/// Another process is gone, silent or has failed, or a wait has passed its limit. `exit_code` is what the failed one ends with.
struct process_failed : std::runtime_error {
  explicit process_failed(const std::string& what, int code = 1) : std::runtime_error(what), exit_code(code) {}
  int exit_code;
};

}  // namespace plait::inline v0_1
