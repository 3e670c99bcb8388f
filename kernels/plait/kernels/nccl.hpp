#pragma once
// Ranks with a GPU each, as threads of one process or as processes, and their collectives through NCCL. Host code.
#include <memory>
#include <string>

#include "plait/comm/rank_fabric.hpp"
#include "plait/process/run_process.hpp"

namespace plait::inline v0_1 {

/// Null if NCCL can be used, else what it takes, in one line.
const char* nccl_missing();
/// Of the library that is loaded, such as "2.28.9".
std::string nccl_version();

/// How many GPUs this process sees; 0 without CUDA.
int gpu_count();
/// What this thread does from here on, it does on that GPU.
void use_gpu(int device);
/// A name that no other GPU has, on whatever machine.
std::string gpu_identity(int device);

/// Who adds. `rank_order`: blocks are exchanged and each rank adds its share itself, in the order of ranks and with float32 sums: the
/// same bits as ranks that share one GPU, whatever NCCL's algorithm and the machine's wiring. `library`: NCCL's reductions (ring), which
/// take less memory and, between machines, less traffic; bf16 sums are then rounded after every addition.
enum class nccl_sums : unsigned char { rank_order, library };

struct nccl_options {
  double limit = 300;  // seconds that one operation may take
  nccl_sums sums = nccl_sums::rank_order;
  void (*last_resort)(const char* why) = nullptr;  // when communicators cannot be aborted: must end the process
};

/// Rank r is a thread on GPU r. The mesh must not have more ranks than there are GPUs. A fabric serves one run: make another for the next.
std::unique_ptr<rank_fabric> nccl_threads(const mesh_shape& mesh, nccl_options options = {});
/// This process's rank on GPU `device`. All processes must make it at the same place: they compare their GPUs and NCCL's versions.
std::unique_ptr<rank_fabric> nccl_processes(process_world& world, const mesh_shape& mesh, int device, nccl_options options = {},
                                            std::function<int(std::exception_ptr)> exit_code_of = {});

}  // namespace plait::inline v0_1
