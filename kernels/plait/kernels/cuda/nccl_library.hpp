#pragma once
// NCCL's functions, loaded when they are first needed: a program that has no use for them starts without the library, and says what is
// missing where it has.
#include <nccl.h>

#include <string>

namespace plait::inline v0_1::cuda {

struct nccl_library {
  std::string missing;
  int version = 0;
#define PLAIT_NCCL_FUNCTIONS(X) \
  X(GetVersion) X(GetUniqueId) X(CommInitRankConfig) X(CommFinalize) X(CommDestroy) X(CommAbort) X(CommGetAsyncError) X(GetErrorString) \
  X(GetLastError) X(AllGather) X(AllReduce) X(ReduceScatter) X(Send) X(Recv) X(GroupStart) X(GroupEnd)
#define PLAIT_NCCL(name) decltype(&::nccl##name) name = nullptr;
  PLAIT_NCCL_FUNCTIONS(PLAIT_NCCL)
#undef PLAIT_NCCL

  nccl_library();
};

const nccl_library& nccl();

}  // namespace plait::inline v0_1::cuda
