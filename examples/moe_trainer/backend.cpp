// The backends, instantiated once, and the JSON parser behind plait/io.
#include "plait/cpu/backend.hpp"

#include "plait/io/implementation.hpp"
#include "session.hpp"
#if defined(PLAIT_HAS_CUDA)
#include "plait/kernels/cuda_backend.hpp"
#endif

const plait::backend& trainer::backend(const std::string& wanted) {
  if (wanted == "cpu") return plait::cpu_backend();
#if defined(PLAIT_HAS_CUDA)
  const char* const missing = plait::cuda_missing();
  if (missing == nullptr) return plait::cuda_backend();
#else
  const char* const missing = "this program was built without CUDA; build it where nvcc is found";
#endif
  if (wanted == "cuda") throw usage_error(std::string("--backend cuda: ") + missing + "; or use --backend cpu");
  return plait::cpu_backend();
}
