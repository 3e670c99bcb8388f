#include "gpus.hpp"

#include <unistd.h>

#include <cstdio>

#include "processes.hpp"
#if defined(PLAIT_HAS_CUDA)
#include "plait/kernels/nccl.hpp"
#include "plait/process/world.hpp"
#endif

namespace trainer {

#if defined(PLAIT_HAS_CUDA)
namespace {

bool on_gpu(const options& o) { return std::string(backend(o.backend).name) == "cuda"; }
bool one_each(const options& o) {
  return on_gpu(o) && (o.world != nullptr || (o.mesh.ranks() > 1 && o.mesh.ranks() <= plait::gpu_count() && plait::nccl_missing() == nullptr));
}
int device_of(int local_rank) {
  const int count = plait::gpu_count();
  return count > 0 ? local_rank % count : 0;  // a launcher that shows each process its own GPU only: that one
}

}  // namespace

void take_gpu(const options& o, int local_rank) {
  if (o.launch.several() && o.backend != "cpu" && plait::gpu_count() > 0) plait::use_gpu(device_of(local_rank >= 0 ? local_rank : o.launch.rank));
}

std::unique_ptr<plait::rank_fabric> gpu_fabric(const options& o) {
  if (!one_each(o)) return nullptr;
  plait::nccl_options n;
  n.limit = o.deadline;
  n.sums = o.nccl_sums ? plait::nccl_sums::library : plait::nccl_sums::rank_order;
  n.last_resort = [](const char* why) {
    std::fprintf(stderr, "moe_trainer: %s\n", why);
    ::_exit(1);
  };
  if (o.world == nullptr) return plait::nccl_threads(o.mesh, n);
  return plait::nccl_processes(*o.world, o.mesh, device_of(o.world->local_rank()), n, exit_code_of);
}

std::string gpu_text(const options& o) {
  if (!on_gpu(o) || o.mesh.ranks() == 1) return "";
  return one_each(o) ? ", a GPU each (NCCL " + plait::nccl_version() + ")" : ", sharing one GPU";
}

std::string gpu_note(const options& o) {
  if (!on_gpu(o) || o.world != nullptr || o.mesh.ranks() == 1 || plait::gpu_count() < 2 || one_each(o)) return "";
  const std::string share = "the ranks share one of " + std::to_string(plait::gpu_count()) + " GPUs: ";
  if (o.mesh.ranks() > plait::gpu_count()) return share + "there are " + std::to_string(o.mesh.ranks()) + " ranks";
  return share + plait::nccl_missing();
}
#else
void take_gpu(const options&, int) {}
std::unique_ptr<plait::rank_fabric> gpu_fabric(const options&) { return nullptr; }
std::string gpu_text(const options&) { return ""; }
std::string gpu_note(const options&) { return ""; }
#endif

}  // namespace trainer
