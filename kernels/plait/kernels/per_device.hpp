#pragma once
// What CUDA keeps for each device (a kernel's attributes, a library's handle) is set up once for each that is used.
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace plait::inline v0_1::kernels {

inline constexpr int most_devices = 64;

inline int this_device() {
  int device = 0;
  return cudaGetDevice(&device) == cudaSuccess && device < most_devices ? device : 0;
}

/// Is the variable of the environment set, and not to 0?
inline bool switched_on(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}
/// PLAIT_PORTABLE_KERNELS=1: only kernels that every device from compute capability 8.0 on can run, to try them on a Hopper.
inline bool portable_only() {
  static const bool set = switched_on("PLAIT_PORTABLE_KERNELS");
  return set;
}

/// Calls prepare() unless it has succeeded on this device. Each call site has its own memory; doing it twice must do no harm.
template <class Prepare>
cudaError_t once_a_device(Prepare prepare) {
  static std::atomic<bool> done[most_devices] = {};
  std::atomic<bool>& here = done[this_device()];
  if (here.load(std::memory_order_acquire)) return cudaSuccess;
  const cudaError_t error = prepare();
  if (error == cudaSuccess) here.store(true, std::memory_order_release);
  return error;
}

}  // namespace plait::inline v0_1::kernels
