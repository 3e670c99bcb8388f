#if __has_include(<nccl.h>)
#include "plait/kernels/cuda/nccl_library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <type_traits>

#ifndef PLAIT_CUDA_LIBRARY_DIR
#define PLAIT_CUDA_LIBRARY_DIR "/usr/local/cuda/lib64"
#endif
#ifndef PLAIT_NCCL_LIBRARY_DIR
#define PLAIT_NCCL_LIBRARY_DIR PLAIT_CUDA_LIBRARY_DIR
#endif

namespace plait::inline v0_1::cuda {

nccl_library::nccl_library() {
  // NVLink multicast gains nothing here and has put machines out of service; sums of NCCL's own come in one order only with the ring.
  ::setenv("NCCL_NVLS_ENABLE", "0", 1);
  ::setenv("NCCL_ALGO", "Ring", 0);
  // Its service for questions from outside opens a port and has crashed programs that nobody asked (NVIDIA/nccl#1996); here runs are watched.
  ::setenv("NCCL_RAS_ENABLE", "0", 0);
  const std::string name = "libnccl.so." + std::to_string(NCCL_MAJOR);
  void* opened = nullptr;
  std::string why;
  for (const std::string& path : {name, std::string(PLAIT_NCCL_LIBRARY_DIR) + "/" + name, std::string(PLAIT_CUDA_LIBRARY_DIR) + "/" + name}) {
    if (opened == nullptr) opened = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr && why.empty()) why = dlerror();
  }
  if (opened == nullptr) {
    missing = "NCCL cannot be loaded (" + why + "); install it (apt: libnccl2, pip: nvidia-nccl-cu13) and put its folder into LD_LIBRARY_PATH";
    return;
  }
#define PLAIT_NCCL(symbol)                                                                    \
  symbol = reinterpret_cast<std::decay_t<decltype(symbol)>>(dlsym(opened, "nccl" #symbol)); \
  if (symbol == nullptr && missing.empty()) missing = name + " has no nccl" #symbol "; install NCCL 2.18 or later";
  PLAIT_NCCL_FUNCTIONS(PLAIT_NCCL)
#undef PLAIT_NCCL
  if (missing.empty() && GetVersion(&version) != ncclSuccess) missing = name + " does not answer";
  if (missing.empty() && version < 21800) missing = name + " is older than 2.18, which this program needs; install a later one";
}

const nccl_library& nccl() {
  static const nccl_library one;
  return one;
}

}  // namespace plait::inline v0_1::cuda
#endif
